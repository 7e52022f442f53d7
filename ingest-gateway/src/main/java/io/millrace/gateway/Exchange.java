package io.millrace.gateway;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.millrace.log.Vocabulary.ReplyKind;
import io.millrace.schema.Answer;
import io.millrace.schema.Failure;
import io.millrace.schema.Query;
import io.millrace.schema.Reply;
import io.vertx.core.Context;
import io.vertx.core.http.HttpServerResponse;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BiConsumer;
import org.jspecify.annotations.Nullable;

/**
 * A client that waits for an interaction. Replies come from the tail's thread and are handed to the connection's event loop; from there
 * on everything is single-threaded.
 */
final class Exchange {
    /** What a client was told last. */
    enum State {
        OPEN,
        STREAMING,
        CLOSED
    }

    private final Query query;
    private final HttpServerResponse response;
    private final Context context;
    private final int backlog;
    private final BiConsumer<Exchange, Boolean> onEnd;
    private final BiConsumer<HttpServerResponse, Reply> whole;
    private final AtomicInteger queued = new AtomicInteger();
    private State state = State.OPEN;
    private int attempt;

    /**
     * @param backlog replies that may wait for a slow reader
     * @param whole writes a reply to a client that does not stream
     * @param onEnd told once, with whether the client went away before its answer
     */
    Exchange(
            Query query,
            HttpServerResponse response,
            Context context,
            int backlog,
            BiConsumer<HttpServerResponse, Reply> whole,
            BiConsumer<Exchange, Boolean> onEnd) {
        this.query = query;
        this.response = response;
        this.context = context;
        this.backlog = backlog;
        this.whole = whole;
        this.onEnd = onEnd;
        response.exceptionHandler(error -> gone());
        response.closeHandler(closed -> gone());
    }

    Query query() {
        return query;
    }

    /** Takes a reply; any thread. */
    void accept(Reply reply) {
        queued.incrementAndGet();
        context.runOnContext(v -> {
            queued.decrementAndGet();
            handle(reply);
        });
    }

    private void handle(Reply reply) {
        if (state == State.CLOSED) {
            return;
        }
        // a later attempt may take over until content was forwarded, and never after
        if (state == State.STREAMING && reply.getAttempt() != attempt) {
            return;
        }
        switch (reply.getKind()) {
            case ReplyKind.DELTA -> delta(reply);
            case ReplyKind.FINAL -> close(reply);
            default -> error(reply);
        }
    }

    private void delta(Reply reply) {
        if (!query.getStream()) {
            return;
        }
        head(reply);
        if (response.writeQueueFull() && queued.get() > backlog) {
            response.reset();
            gone();
            return;
        }
        response.write("data: " + reply.getData() + "\n\n");
    }

    private void head(Reply reply) {
        if (state == State.OPEN) {
            state = State.STREAMING;
            attempt = reply.getAttempt();
            headers(response, reply);
            response.setChunked(true)
                    .putHeader("Content-Type", "text/event-stream; charset=utf-8")
                    .putHeader("Cache-Control", "no-cache");
        }
    }

    private void close(Reply reply) {
        if (query.getStream()) {
            head(reply);
            StringBuilder last = new StringBuilder();
            for (String data : reply.getData().split("\n", -1)) {
                if (!data.isEmpty()) {
                    last.append("data: ").append(data).append("\n\n");
                }
            }
            end();
            response.end(last + "data: [DONE]\n\n");
        } else {
            end();
            headers(response, reply);
            whole.accept(response, reply);
        }
    }

    private void error(Reply reply) {
        boolean streaming = state == State.STREAMING;
        end();
        if (streaming) {
            response.end("data: " + openAiError(failure(reply)) + "\n\n");
        } else {
            headers(response, reply);
            whole.accept(response, reply);
        }
    }

    /** Ends with an error that is not from a worker: the deadline, or the gateway stopping. Any thread. */
    void fail(Failure failure) {
        accept(Reply.newBuilder()
                .setInteractionId(query.getInteractionId())
                .setAttempt(attempt)
                .setKind(ReplyKind.ERROR)
                .setFailure(failure)
                .build());
    }

    private void end() {
        state = State.CLOSED;
        onEnd.accept(this, false);
    }

    private void gone() {
        if (state != State.CLOSED) {
            state = State.CLOSED;
            onEnd.accept(this, true);
        }
    }

    private static void headers(HttpServerResponse response, Reply reply) {
        response.putHeader("x-millrace-interaction-id", reply.getInteractionId())
                .putHeader("x-millrace-route", reply.getRoute())
                .putHeader("x-millrace-backend", reply.getBackend())
                .putHeader("x-millrace-reason", reply.getReason())
                .putHeader("x-millrace-cached", reply.getCachedKind().isEmpty() ? "false" : reply.getCachedKind());
        Double confidence = reply.getConfidence();
        if (confidence != null) {
            response.putHeader("x-millrace-confidence", String.valueOf(Math.round(confidence * 1000) / 1000.0));
        }
    }

    static Failure failure(Reply reply) {
        Failure failure = reply.getFailure();
        return failure == null
                ? Failure.newBuilder()
                        .setReason("backend_error")
                        .setMessage("no reason was given")
                        .setHttpStatus(502)
                        .build()
                : failure;
    }

    static String openAiError(Failure failure) {
        ObjectNode error = Fields.JSON.createObjectNode();
        error.putObject("error")
                .put("message", failure.getMessage())
                .put("type", failure.getHttpStatus() >= 500 ? "server_error" : "invalid_request_error")
                .put("code", failure.getReason())
                .putNull("param");
        return error.toString();
    }

    /** An OpenAI completion for an answer that has no upstream body. */
    static String completion(Reply reply, Answer answer, long created) {
        if (!answer.getBody().isEmpty()) {
            return answer.getBody();
        }
        ObjectNode body = Fields.JSON
                .createObjectNode()
                .put("id", "chatcmpl-" + reply.getInteractionId())
                .put("object", "chat.completion")
                .put("created", created / 1000)
                .put("model", answer.getModel());
        ObjectNode choice = body.putArray("choices").addObject().put("index", 0);
        JsonNode message = parsed(answer.getMessage());
        if (message != null && message.isObject()) {
            choice.set("message", message);
        } else {
            choice.putObject("message").put("role", "assistant").put("content", answer.getText());
        }
        choice.put("finish_reason", answer.getFinishReason());
        body.putObject("usage")
                .put("prompt_tokens", answer.getTokensIn())
                .put("completion_tokens", answer.getTokensOut())
                .put("total_tokens", answer.getTokensIn() + answer.getTokensOut());
        return body.toString();
    }

    private static @Nullable JsonNode parsed(String json) {
        if (json.isEmpty()) {
            return null;
        }
        try {
            return Fields.JSON.readTree(json);
        } catch (com.fasterxml.jackson.core.JsonProcessingException e) {
            return null;
        }
    }
}
