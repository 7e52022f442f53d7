package io.millrace.gateway;

import io.netty.buffer.Unpooled;
import io.netty.channel.Channel;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.LastHttpContent;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.http.HttpConnection;
import io.vertx.core.net.impl.ConnectionBase;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * How long a client may take to say what it wants. One that connects and says nothing, or sends a request byte by byte, holds a
 * connection, and memory for the body that it announced, from those who would use them. Nothing is timed between two requests, nor
 * while an answer is owed: kept connections and streams last as long as their clients and deadlines want.
 *
 * <p>A request that comes in one piece, as nearly all do, costs two looks at the clock and no timer.
 */
final class RequestTime extends ChannelInboundHandlerAdapter {
    private static final Duration LONGEST_HEAD = Duration.ofSeconds(10);

    private enum Part {
        NONE,
        HEAD,
        BODY
    }

    private final Duration head;
    private final Duration whole;
    private final Runnable late;
    private final Channel channel;

    private Part part = Part.HEAD;
    private boolean silent = true;
    private Errors shape = Errors.PROBLEM;
    /** An answer was owed when its time had passed. */
    private boolean waited;

    /** When the request that is being read began, as of {@link System#nanoTime}. */
    private long began = System.nanoTime();

    private long watched = began;
    private @Nullable ScheduledFuture<?> timer;

    private RequestTime(Channel channel, Duration whole, Runnable late) {
        this.channel = channel;
        this.whole = whole;
        this.head = whole.compareTo(LONGEST_HEAD) < 0 ? whole : LONGEST_HEAD;
        this.late = late;
    }

    /**
     * To be called when the connection is accepted.
     *
     * @param whole for a request with its body; its head has 10 s of it at most
     * @param late told of each connection that is closed for it
     */
    static void watch(HttpConnection connection, Duration whole, Runnable late) {
        Channel channel = ((ConnectionBase) connection).channel();
        RequestTime time = new RequestTime(channel, whole, late);
        channel.pipeline().addFirst(time);
        channel.pipeline().addAfter("httpDecoder", null, time.new Decoded());
        time.lookIn(time.head);
    }

    @Override
    public void channelRead(ChannelHandlerContext context, Object bytes) {
        silent = false;
        if (part == Part.NONE) {
            part = Part.HEAD;
            waited = false;
            began = System.nanoTime();
        }
        context.fireChannelRead(bytes);
        if (part != Part.NONE && watched != began) {
            watched = began;
            lookIn(head);
        }
    }

    @Override
    public void channelInactive(ChannelHandlerContext context) {
        stop();
        context.fireChannelInactive();
    }

    /** Behind the decoder, which tells where a request's parts end. */
    private final class Decoded extends ChannelInboundHandlerAdapter {
        @Override
        public void channelRead(ChannelHandlerContext context, Object message) {
            if (message instanceof HttpRequest request) {
                part = Part.BODY;
                shape = Errors.of(request.uri());
            }
            if (message instanceof LastHttpContent) {
                part = Part.NONE;
            }
            context.fireChannelRead(message);
        }
    }

    private void lookIn(Duration wait) {
        stop();
        timer = channel.eventLoop().schedule(this::look, wait.toNanos(), TimeUnit.NANOSECONDS);
    }

    private void stop() {
        if (timer != null) {
            timer.cancel(false);
        }
    }

    private void look() {
        if (part == Part.NONE || !channel.isActive()) {
            return;
        }
        Duration left = (part == Part.HEAD ? head : whole).minusNanos(System.nanoTime() - began);
        if (left.isPositive()) {
            lookIn(left);
        } else if (HalfClosed.owesAnswer(channel)) {
            // it is the answer that takes its time; what the client sent behind its request is read afterwards
            waited = true;
            lookIn(head);
        } else if (waited) {
            // nor is the client late that finishes when it has its answer
            waited = false;
            began = System.nanoTime();
            watched = began;
            lookIn(head);
        } else {
            end();
        }
    }

    private void end() {
        late.run();
        if (silent || HalfClosed.answers(channel)) {
            channel.close();
            return;
        }
        Problem problem = Problem.of(
                408,
                "request_timeout",
                part == Part.HEAD
                        ? "the head of the request was not whole after " + head.toMillis() + " ms"
                        : "the request was not whole after " + whole.toMillis() + " ms (limits.request-time)");
        Errors told = part == Part.BODY ? shape : Errors.PROBLEM;
        Buffer body = told.body(problem, "").toBuffer();
        String top = "HTTP/1.1 408 Request Timeout\r\ncontent-type: " + told.contentType() + "\r\ncontent-length: "
                + body.length() + "\r\nconnection: close\r\n\r\n";
        // past the encoder, which knows of no answer to a request that is not there
        channel.pipeline()
                .firstContext()
                .writeAndFlush(Unpooled.wrappedBuffer(
                        Unpooled.copiedBuffer(top, StandardCharsets.US_ASCII), Unpooled.wrappedBuffer(body.getBytes())))
                .addListener(ChannelFutureListener.CLOSE);
    }
}
