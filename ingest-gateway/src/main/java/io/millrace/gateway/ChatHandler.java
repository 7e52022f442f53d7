package io.millrace.gateway;

import io.vertx.core.Handler;
import io.vertx.core.Vertx;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.http.HttpServerRequest;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * {@code POST /v1/chat/completions}, without router and contract validator: it is the hot path, and both cost more than the rest of it
 * together.
 */
final class ChatHandler implements Handler<HttpServerRequest> {
    private static final Logger LOG = LoggerFactory.getLogger(ChatHandler.class);

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
            Unread.refuse(vertx, request, Errors.OPENAI, problem);
            return;
        }
        try {
            long declared = Headers.declaredLength(request);
            requireSize(declared);
            room.requireFits(declared);
        } catch (Problem problem) {
            Unread.cut(vertx, request, Errors.OPENAI, problem);
            return;
        }
        Incoming body = new Incoming(request);
        request.exceptionHandler(body::broken);
        request.handler(body::add);
        request.endHandler(nothing -> body.end());
        if (Headers.expectsContinue(request)) {
            request.response().writeContinue();
        }
    }

    private void requireSize(long bytes) {
        if (bytes > mostBytes) {
            throw Problem.bodyTooLarge(mostBytes);
        }
    }

    /** A body on its way in. */
    private final class Incoming {
        private final HttpServerRequest request;
        private final Room.Share memory = room.share();
        private Buffer read = Buffer.buffer();
        private long bytes;

        Incoming(HttpServerRequest request) {
            this.request = request;
        }

        void add(Buffer part) {
            bytes += part.length();
            try {
                requireSize(bytes);
                if (!room.fits(bytes)) {
                    // one that did not say its length is only counted from here: its end shows which of the limits it
                    // is over
                    memory.close();
                    read = Buffer.buffer();
                    return;
                }
                if (bytes > Room.SMALL_BYTES) {
                    memory.hold(bytes);
                }
                read.appendBuffer(part);
            } catch (Problem problem) {
                refuse(problem);
            }
        }

        void end() {
            // the query takes its own from here
            memory.close();
            if (request.response().headWritten()) {
                return;
            }
            try {
                room.requireFits(bytes);
                accept(request, read);
            } catch (Problem problem) {
                Errors.OPENAI.write(request.response(), problem, "");
            }
        }

        void broken(Throwable error) {
            LOG.debug("a request broke off", error);
            // mostly there is nobody left to be answered
            if (request.response().closed() || request.response().headWritten()) {
                memory.close();
            } else {
                refuse(Problem.invalid("body", "the body cannot be read: " + error.getMessage()));
            }
        }

        private void refuse(Problem problem) {
            memory.close();
            // what comes behind it is waited for
            read = Buffer.buffer();
            Unread.cut(vertx, request, Errors.OPENAI, problem);
        }
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
