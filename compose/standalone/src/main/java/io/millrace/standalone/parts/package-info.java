/** The standing parts, embedded: broker, registry, Postgres, Redis. */
@NullMarked
package io.millrace.standalone.parts;

import org.jspecify.annotations.NullMarked;
