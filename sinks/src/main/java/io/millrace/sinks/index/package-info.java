/** The vector index as a projection of passages. */
@NullMarked
package io.millrace.sinks.index;

import org.jspecify.annotations.NullMarked;
