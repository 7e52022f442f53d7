/**
 * The log: its topics, the wire format of its values, and the few clients through which services read and write it.
 *
 * <p>Topics are named once, in {@link io.millrace.log.Topics}. Everything that depends on a deployment (prefix, partition count,
 * brokers) is in {@link io.millrace.log.LogSettings}.
 */
@NullMarked
package io.millrace.log;

import org.jspecify.annotations.NullMarked;
