/** End-to-end tests on the real parts. */
@NullMarked
package io.millrace.standalone;

import org.jspecify.annotations.NullMarked;
