/** How fast knowledge is found and taken in. */
@NullMarked
package io.millrace.bench.knowledge;

import org.jspecify.annotations.NullMarked;
