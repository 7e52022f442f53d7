/** Tests of the knowledge library. */
@NullMarked
package io.millrace.knowledge;

import org.jspecify.annotations.NullMarked;
