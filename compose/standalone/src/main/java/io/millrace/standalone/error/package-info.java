/** What the person at the terminal is told when something cannot be done. */
@NullMarked
package io.millrace.standalone.error;

import org.jspecify.annotations.NullMarked;
