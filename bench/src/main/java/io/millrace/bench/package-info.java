/** Benchmarks and what they need. */
@NullMarked
package io.millrace.bench;

import org.jspecify.annotations.NullMarked;
