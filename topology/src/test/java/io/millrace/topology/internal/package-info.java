/** Tests. */
@NullMarked
package io.millrace.topology.internal;

import org.jspecify.annotations.NullMarked;
