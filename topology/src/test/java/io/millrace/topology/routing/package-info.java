/** Tests of routing. */
@NullMarked
package io.millrace.topology.routing;

import org.jspecify.annotations.NullMarked;
