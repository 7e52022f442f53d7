/** Commands that talk to a running instance. */
@NullMarked
package io.millrace.standalone.cli;

import org.jspecify.annotations.NullMarked;
