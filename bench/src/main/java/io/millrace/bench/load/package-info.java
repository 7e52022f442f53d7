/** Requests over HTTP, and what became of them. */
@NullMarked
package io.millrace.bench.load;

import org.jspecify.annotations.NullMarked;
