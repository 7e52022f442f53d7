/** The command line and what it starts. */
@NullMarked
package io.millrace.standalone;

import org.jspecify.annotations.NullMarked;
