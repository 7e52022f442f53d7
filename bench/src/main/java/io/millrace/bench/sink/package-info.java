/** How fast the log gets into PostgreSQL. */
@NullMarked
package io.millrace.bench.sink;

import org.jspecify.annotations.NullMarked;
