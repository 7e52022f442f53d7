/** The archive of topics that expire. */
@NullMarked
package io.millrace.sinks.archive;

import org.jspecify.annotations.NullMarked;
