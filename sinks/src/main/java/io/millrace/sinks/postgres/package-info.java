/** Postgres as a projection of the log. */
@NullMarked
package io.millrace.sinks.postgres;

import org.jspecify.annotations.NullMarked;
