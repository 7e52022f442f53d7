package io.millrace.gateway;

import io.vertx.core.Handler;
import io.vertx.core.Vertx;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.http.HttpHeaders;
import io.vertx.core.http.HttpServerRequest;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * {@code POST /v1/chat/completions}, without router and contract validator: it is the hot path, and both cost more than the rest of it
 * together.
 */
final class ChatHandler implements Handler<HttpServerRequest> {
    private static final Logger LOG = LoggerFactory.getLogger(ChatHandler.class);

    /** What a client that sends too much has to read the answer, before the connection is cut. */
    private static final long CUT_AFTER_MS = 500;

    private final Queries queries;
    private final QueryDesk desk;
    private final LoopInbox inbox;
    private final Room room;
    private final long mostBytes;
    private final Vertx vertx;

    /**
     * @param room for bodies on their way in
     * @param mostBytes largest body
     */
    ChatHandler(Vertx vertx, Queries queries, QueryDesk desk, LoopInbox inbox, Room room, long mostBytes) {
        this.vertx = vertx;
        this.queries = queries;
        this.desk = desk;
        this.inbox = inbox;
        this.room = room;
        this.mostBytes = mostBytes;
    }

    @Override
    public void handle(HttpServerRequest request) {
        try {
            Headers.requireJson(request);
        } catch (Problem problem) {
            Errors.OPENAI.write(request.response(), problem, "");
            return;
        }
        Room.Share memory = room.share();
        request.exceptionHandler(error -> {
            memory.close();
            LOG.debug("a request broke off", error);
            // mostly there is nobody left to be answered
            if (!request.response().closed() && !request.response().headWritten()) {
                refuse(request, Problem.invalid("body", "the body cannot be read: " + error.getMessage()));
            }
        });
        Buffer body = Buffer.buffer();
        request.handler(part -> {
            try {
                long length = (long) body.length() + part.length();
                if (length > mostBytes) {
                    throw Problem.field(413, "too_large", "body", "the body is larger than " + mostBytes + " bytes");
                }
                if (length > Room.SMALL_BYTES) {
                    memory.hold(length);
                }
                body.appendBuffer(part);
            } catch (Problem problem) {
                memory.close();
                refuse(request, problem);
            }
        });
        request.endHandler(nothing -> {
            // the query takes its own from here
            memory.close();
            if (!request.response().headWritten()) {
                accept(request, body);
            }
        });
    }

    private void refuse(HttpServerRequest request, Problem problem) {
        // what still comes is thrown away for a moment: a connection that is cut at once takes the answer with it
        request.handler(part -> {});
        request.endHandler(nothing -> {});
        request.response().putHeader(HttpHeaders.CONNECTION, "close");
        Errors.OPENAI.write(request.response(), problem, "");
        vertx.setTimer(CUT_AFTER_MS, timer -> request.connection().close());
    }

    private void accept(HttpServerRequest request, Buffer body) {
        try {
            String text = Utf8.decode(body.getBytes());
            ChatRequest chat = ChatRequest.parse(text);
            desk.submit(request, queries.chat(request, chat, text), Face.CHAT, false, inbox);
        } catch (Problem problem) {
            Errors.OPENAI.write(request.response(), problem, "");
        } catch (RuntimeException e) {
            LOG.error("a chat request failed", e);
            Errors.OPENAI.write(
                    request.response(),
                    Problem.of(500, "internal", "this should not have happened; it is in the log"),
                    "");
        }
    }
}
