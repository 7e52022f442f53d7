@NullMarked
package io.millrace.sinks.upkeep;

import org.jspecify.annotations.NullMarked;
