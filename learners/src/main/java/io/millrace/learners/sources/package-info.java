/** Knowledge sources: what the user declared, kept running in Kafka Connect. */
@NullMarked
package io.millrace.learners.sources;

import org.jspecify.annotations.NullMarked;
