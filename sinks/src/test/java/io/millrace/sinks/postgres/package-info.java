@NullMarked
package io.millrace.sinks.postgres;

import org.jspecify.annotations.NullMarked;
