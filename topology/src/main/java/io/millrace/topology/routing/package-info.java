/** The routing topology: evidence in, decisions and work out. */
@NullMarked
package io.millrace.topology.routing;

import org.jspecify.annotations.NullMarked;
