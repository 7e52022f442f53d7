/** The learning application: what the traffic says about the knowledge. */
@NullMarked
package io.millrace.topology.learning;

import org.jspecify.annotations.NullMarked;
