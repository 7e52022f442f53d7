/** Keeping the knowledge small: documents that nobody uses. */
@NullMarked
package io.millrace.sinks.upkeep;

import org.jspecify.annotations.NullMarked;
