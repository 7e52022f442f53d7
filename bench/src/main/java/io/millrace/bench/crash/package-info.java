/** Processes killed under load, and what the log and the store then hold. */
@NullMarked
package io.millrace.bench.crash;

import org.jspecify.annotations.NullMarked;
