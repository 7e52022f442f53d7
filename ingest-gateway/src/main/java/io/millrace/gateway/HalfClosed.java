package io.millrace.gateway;

import io.netty.channel.Channel;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelOption;
import io.netty.channel.socket.ChannelInputShutdownEvent;
import io.netty.util.AttributeKey;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.http.HttpConnection;
import io.vertx.core.http.HttpServerRequest;
import io.vertx.core.http.HttpServerResponse;
import io.vertx.core.http.HttpVersion;
import io.vertx.core.net.impl.ConnectionBase;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * A client that will say no more. Whether it still listens cannot be seen from that: {@code nc -N} does, one that was killed does not, and
 * its query should be cancelled. So something is written that HTTP clients pass over, an interim response or a comment in the stream: to
 * one that is gone the second of them fails, and the connection closes as if both sides had.
 */
final class HalfClosed extends ChannelInboundHandlerAdapter {
    private static final AttributeKey<HalfClosed> KEY = AttributeKey.valueOf(HalfClosed.class, "half-closed");
    private static final Buffer COMMENT = Buffer.buffer(": \n\n");
    private static final long FIRST_MS = 50;
    private static final long LAST_MS = 800;

    private @Nullable HttpServerRequest current;

    private HalfClosed() {}

    /** Keeps a connection open when its client closes its side. */
    static void watch(HttpConnection connection) {
        Channel channel = ((ConnectionBase) connection).channel();
        HalfClosed watch = new HalfClosed();
        channel.attr(KEY).set(watch);
        channel.config().setOption(ChannelOption.ALLOW_HALF_CLOSURE, true);
        channel.pipeline().addFirst(watch);
    }

    /** This is what the connection serves now. */
    static void serves(HttpServerRequest request) {
        HalfClosed watch =
                ((ConnectionBase) request.connection()).channel().attr(KEY).get();
        if (watch != null) {
            watch.current = request;
        }
    }

    /** Whether a client that has said all that it wanted waits. */
    static boolean owesAnswer(Channel channel) {
        HttpServerRequest request = current(channel);
        return request != null && request.isEnded() && !request.response().ended();
    }

    /** Whether a request that is still coming has got an answer, or the beginning of one. */
    static boolean answers(Channel channel) {
        HttpServerRequest request = current(channel);
        return request != null && !request.isEnded() && request.response().headWritten();
    }

    private static @Nullable HttpServerRequest current(Channel channel) {
        HalfClosed watch = channel.attr(KEY).get();
        return watch == null ? null : watch.current;
    }

    @Override
    public void userEventTriggered(ChannelHandlerContext context, Object event) {
        context.fireUserEventTriggered(event);
        if (event == ChannelInputShutdownEvent.INSTANCE) {
            lookAgain(context, FIRST_MS, false);
        }
    }

    /** @param probe whether it was half closed for a moment already: most answers are there by then */
    private void lookAgain(ChannelHandlerContext context, long wait, boolean probe) {
        HttpServerRequest request = current;
        if (!context.channel().isActive()) {
            return;
        }
        if (request == null || !request.isEnded() || request.response().ended()) {
            context.close();
            return;
        }
        if (probe) {
            probe(request);
        }
        context.executor()
                .schedule(() -> lookAgain(context, Math.min(LAST_MS, 2 * wait), true), wait, TimeUnit.MILLISECONDS);
    }

    private static void probe(HttpServerRequest request) {
        HttpServerResponse response = request.response();
        if (response.headWritten()) {
            response.write(COMMENT);
        } else if (request.version() == HttpVersion.HTTP_1_1) {
            response.writeContinue();
        }
    }
}
