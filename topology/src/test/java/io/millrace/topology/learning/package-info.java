/** Tests. */
@NullMarked
package io.millrace.topology.learning;

import org.jspecify.annotations.NullMarked;
