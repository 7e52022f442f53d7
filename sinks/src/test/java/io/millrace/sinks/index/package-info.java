@NullMarked
package io.millrace.sinks.index;

import org.jspecify.annotations.NullMarked;
