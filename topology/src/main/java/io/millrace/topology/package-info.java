/** Kafka Streams topologies. Pure: no I/O, no wall clock, no chance; time comes from records. */
@NullMarked
package io.millrace.topology;

import org.jspecify.annotations.NullMarked;
