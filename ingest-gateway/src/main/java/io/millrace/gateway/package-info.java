/**
 * The gateway: HTTP in, events out, and answers back from the log to whoever asked.
 *
 * <p>{@link io.millrace.gateway.Gateway} is the service, {@link io.millrace.gateway.GatewayPorts} what it needs from others. A request is
 * read by a handler, becomes an {@code Exchange} that waits for replies, and is written to the log by {@code Wire}; what the client
 * gets is made by the {@code Face} of the contract that it spoke.
 */
@NullMarked
package io.millrace.gateway;

import org.jspecify.annotations.NullMarked;
