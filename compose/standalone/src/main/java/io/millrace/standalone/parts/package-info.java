/** The servers that a laptop has not got, embedded: Kafka, a schema registry, PostgreSQL, Redis; and the data folder they live in. */
@NullMarked
package io.millrace.standalone.parts;

import org.jspecify.annotations.NullMarked;
