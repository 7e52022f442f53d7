/**
 * The projection into PostgreSQL: what people and programs ask by SQL.
 *
 * <p>{@link io.millrace.sinks.postgres.PostgresSink} reads the log, {@code Projection} says what a record is as a row,
 * {@code Database} writes rows and offsets in one transaction.
 */
@NullMarked
package io.millrace.sinks.postgres;

import org.jspecify.annotations.NullMarked;
