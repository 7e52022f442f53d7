/** Tests of the topologies. */
@NullMarked
package io.millrace.topology;

import org.jspecify.annotations.NullMarked;
