package io.millrace.gateway;

import io.millrace.schema.Query;
import io.millrace.schema.Reply;
import io.vertx.core.Context;
import io.vertx.core.Vertx;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.http.HttpHeaders;
import io.vertx.core.http.HttpServerResponse;
import java.util.ArrayDeque;
import java.util.Queue;

/**
 * Server-sent events. The head waits for the first content, so that an attempt that fails before it is still answered with a status.
 * What a slow reader has not taken is held up to a bound; beyond it the connection is closed.
 */
final class StreamClient implements Client {
    private static final Buffer DONE = Buffer.buffer("data: [DONE]\n\n");

    /** What a reader has for the events that are held when the answer is complete. */
    private static final long LAST_PATIENCE_MS = 30_000;

    private final HttpServerResponse response;
    private final Query query;
    private final int mostHeld;
    private final boolean replay;
    private Runnable tooSlow = () -> {};
    private final Queue<Buffer> held = new ArrayDeque<>();
    private boolean sent;
    private boolean ending;
    private boolean dropped;

    /**
     * @param mostHeld events held for a slow reader
     * @param replay only the end will come, of a stream that another client got
     */
    StreamClient(HttpServerResponse response, Query query, int mostHeld, boolean replay) {
        this.response = response;
        this.query = query;
        this.mostHeld = mostHeld;
        this.replay = replay;
    }

    /** @param action done before the connection is closed because the reader is too slow */
    void whenTooSlow(Runnable action) {
        tooSlow = action;
    }

    @Override
    public boolean streams() {
        return true;
    }

    @Override
    public void delta(Reply reply) {
        head(reply);
        write(event(reply.getData()));
    }

    @Override
    public void ended(Outcome outcome) {
        if (dropped || response.closed()) {
            return;
        }
        switch (outcome) {
            case Outcome.Answered(Reply reply) -> {
                if (!replay && !reply.getData().isEmpty()) {
                    head(reply);
                    reply.getData().lines().forEach(payload -> write(event(payload)));
                } else if (!sent) {
                    head(reply);
                    Face.chunks(query, Face.answerOf(reply)).forEach(payload -> write(event(payload)));
                }
                write(DONE);
                finish();
            }
            case Outcome.Failed failed -> {
                if (sent) {
                    write(event(Errors.OPENAI
                            .body(failed.problem(), query.getInteractionId())
                            .encode()));
                    finish();
                } else {
                    failed.reply().ifPresent(reply -> Headers.decided(response, reply));
                    Errors.OPENAI.write(response, failed.problem(), query.getInteractionId());
                }
            }
        }
    }

    private void head(Reply reply) {
        if (sent) {
            return;
        }
        sent = true;
        response.setChunked(true)
                .putHeader(HttpHeaders.CONTENT_TYPE, "text/event-stream")
                .putHeader(HttpHeaders.CACHE_CONTROL, "no-cache")
                // nginx would collect the events otherwise
                .putHeader("X-Accel-Buffering", "no");
        Headers.decided(response, reply);
        response.drainHandler(nothing -> drain());
    }

    private void write(Buffer event) {
        if (dropped || response.closed()) {
            return;
        }
        if (held.isEmpty() && !response.writeQueueFull()) {
            response.write(event);
            return;
        }
        held.add(event);
        if (held.size() > mostHeld) {
            drop();
        }
    }

    private void drain() {
        while (!held.isEmpty() && !response.writeQueueFull()) {
            response.write(held.remove());
        }
        if (held.isEmpty() && ending) {
            response.end();
        }
    }

    private void finish() {
        ending = true;
        if (dropped || response.closed()) {
            return;
        }
        if (held.isEmpty()) {
            response.end();
            return;
        }
        Context context = Vertx.currentContext();
        if (context != null) {
            context.owner().setTimer(LAST_PATIENCE_MS, timer -> {
                if (!response.ended()) {
                    drop();
                }
            });
        }
    }

    private void drop() {
        dropped = true;
        held.clear();
        tooSlow.run();
        response.reset();
    }

    private static Buffer event(String payload) {
        Buffer event = Buffer.buffer(payload.length() + 16);
        if (payload.indexOf('\n') < 0) {
            return event.appendString("data: ").appendString(payload).appendString("\n\n");
        }
        // a payload of several lines is one event of several data lines
        payload.lines()
                .forEach(line -> event.appendString("data: ").appendString(line).appendString("\n"));
        return event.appendString("\n");
    }
}
