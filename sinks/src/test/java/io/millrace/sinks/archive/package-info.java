@NullMarked
package io.millrace.sinks.archive;

import org.jspecify.annotations.NullMarked;
