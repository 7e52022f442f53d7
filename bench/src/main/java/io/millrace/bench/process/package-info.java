/** Processes under test. */
@NullMarked
package io.millrace.bench.process;

import org.jspecify.annotations.NullMarked;
