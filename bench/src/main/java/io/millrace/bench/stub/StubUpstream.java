package io.millrace.bench.stub;

import io.vertx.core.Vertx;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.http.HttpServer;
import io.vertx.core.http.HttpServerRequest;
import io.vertx.core.http.HttpServerResponse;
import io.vertx.core.json.JsonArray;
import io.vertx.core.json.JsonObject;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * A model server that says what it is told: an OpenAI-compatible API and llama.cpp's own paths, with faults. For benchmarks, where it
 * costs next to nothing, and for tests, where it remembers what it was asked.
 */
public final class StubUpstream implements AutoCloseable {
    /** Requests remembered; a load test makes millions. */
    private static final int REMEMBERED = 1_000;

    private static final String[] WORDS = "the stub answers with these words and no other ones at all".split(" ");

    /** What it does with a chat request. */
    public enum Mode {
        OK,
        ERROR_500,
        RATE_LIMITED,
        PAYMENT_REQUIRED,
        BAD_REQUEST,
        LOADING,
        HANG,
        GARBAGE,
        EMPTY,
        REFUSAL,
        TRUNCATED,
        RESET_MID_STREAM
    }

    /** A chat request as it came. */
    public record Seen(String authorization, JsonObject body) {}

    private final String name;
    private final int deltas;
    private final long deltaMs;
    private final Vertx vertx = Vertx.vertx();
    private final List<Seen> seen = new CopyOnWriteArrayList<>();
    private final AtomicInteger aborted = new AtomicInteger();
    private final AtomicInteger asked = new AtomicInteger();
    private volatile Mode mode = Mode.OK;
    private volatile String text;
    private volatile int port;

    /**
     * @param name what its answers begin with, and its model name
     * @param deltas pieces of a stream, at least 1
     * @param deltaMs time between them, milliseconds; 0 sends them at once
     */
    public StubUpstream(String name, int deltas, long deltaMs) {
        this.name = name;
        this.deltas = deltas;
        this.deltaMs = deltaMs;
        StringBuilder fixed = new StringBuilder(name).append(": ");
        for (int i = 0; fixed.length() < 400; i++) {
            fixed.append(WORDS[i % WORDS.length]).append(' ');
        }
        this.text = fixed.toString().strip();
    }

    /** Runs one until it is killed: {@code StubUpstream NAME PORT [DELTAS DELTA_MS]}. */
    public static void main(String[] arguments) {
        int deltas = arguments.length > 2 ? Integer.parseInt(arguments[2]) : 64;
        long ms = arguments.length > 3 ? Long.parseLong(arguments[3]) : 20;
        // the event loops are not daemons, so the process lives on
        StubUpstream stub = new StubUpstream(arguments[0], deltas, ms).start(Integer.parseInt(arguments[1]));
        System.out.println(stub.url());
    }

    /** Starts to listen; 0 takes a free port. */
    public StubUpstream start(int listen) {
        HttpServer server = vertx.createHttpServer().requestHandler(this::handle);
        try {
            port = server.listen(listen, "127.0.0.1")
                    .toCompletionStage()
                    .toCompletableFuture()
                    .get(10, TimeUnit.SECONDS)
                    .actualPort();
            return this;
        } catch (ExecutionException | TimeoutException e) {
            throw new IllegalStateException("the stub cannot listen", e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted", e);
        }
    }

    /** Its base URL. */
    public String url() {
        return "http://127.0.0.1:" + port;
    }

    /** Changes what it does. */
    public void mode(Mode next) {
        mode = next;
    }

    /** Changes what it answers. */
    public void text(String next) {
        text = next;
    }

    /** The first chat requests, up to a bound. */
    public List<Seen> seen() {
        return List.copyOf(seen);
    }

    /** Chat requests so far. */
    public int asked() {
        return asked.get();
    }

    /** Chat requests whose client went away first. */
    public int aborted() {
        return aborted.get();
    }

    /** Forgets what it was asked, and is well again. */
    public void reset() {
        seen.clear();
        asked.set(0);
        aborted.set(0);
        mode = Mode.OK;
    }

    private void handle(HttpServerRequest request) {
        switch (java.util.Objects.requireNonNullElse(request.path(), "")) {
            case "/health" -> {
                boolean loading = mode == Mode.LOADING;
                request.response()
                        .setStatusCode(loading ? 503 : 200)
                        .end(loading ? loading().encode() : "{\"status\":\"ok\"}");
            }
            case "/props" ->
                request.response()
                        .end(new JsonObject()
                                .put("model_path", name)
                                .put("total_slots", 4)
                                .put("default_generation_settings", new JsonObject().put("n_ctx", 8192))
                                .encode());
            case "/slots" -> request.response().end("[]");
            case "/v1/models" ->
                request.response()
                        .end(new JsonObject()
                                .put("object", "list")
                                .put("data", new JsonArray().add(new JsonObject().put("id", name)))
                                .encode());
            case "/v1/chat/completions" -> request.bodyHandler(body -> chat(request, body));
            default -> request.response().setStatusCode(404).end();
        }
    }

    private void chat(HttpServerRequest request, Buffer body) {
        JsonObject json = body.toJsonObject();
        asked.incrementAndGet();
        if (seen.size() < REMEMBERED) {
            String authorization = request.getHeader("Authorization");
            seen.add(new Seen(authorization == null ? "" : authorization, json));
        }
        HttpServerResponse response = request.response();
        response.putHeader("Content-Type", "application/json");
        boolean stream = json.getBoolean("stream", false);
        switch (mode) {
            case ERROR_500 -> response.setStatusCode(500).end(error("the stub fails"));
            case RATE_LIMITED ->
                response.setStatusCode(429).putHeader("Retry-After", "7").end(error("slow down"));
            case PAYMENT_REQUIRED -> response.setStatusCode(402).end(error("no credit"));
            // as some servers do, with what it was asked
            case BAD_REQUEST -> response.setStatusCode(400).end(error("unknown parameter in " + question(json)));
            case LOADING -> response.setStatusCode(503).end(loading().encode());
            case HANG -> response.closeHandler(closed -> aborted.incrementAndGet());
            case GARBAGE -> response.end("<html>not what you wanted</html>");
            default -> {
                if (stream) {
                    stream(response, json);
                } else {
                    response.end(completion());
                }
            }
        }
    }

    private static String question(JsonObject request) {
        JsonArray messages = request.getJsonArray("messages", new JsonArray());
        return messages.isEmpty()
                ? ""
                : messages.getJsonObject(messages.size() - 1).getString("content", "");
    }

    private String answer() {
        return switch (mode) {
            case EMPTY -> "";
            case REFUSAL -> "I'm sorry, I cannot help with that request at all.";
            default -> text;
        };
    }

    private String finish() {
        return mode == Mode.TRUNCATED ? "length" : "stop";
    }

    private String completion() {
        return new JsonObject()
                .put("id", "chatcmpl-stub")
                .put("object", "chat.completion")
                .put("created", 1)
                .put("model", name)
                .put(
                        "choices",
                        new JsonArray()
                                .add(new JsonObject()
                                        .put("index", 0)
                                        .put(
                                                "message",
                                                new JsonObject()
                                                        .put("role", "assistant")
                                                        .put("content", answer()))
                                        .put("finish_reason", finish())))
                .put("usage", usage())
                .encode();
    }

    private void stream(HttpServerResponse response, JsonObject request) {
        response.setChunked(true).putHeader("Content-Type", "text/event-stream");
        AtomicInteger next = new AtomicInteger();
        response.closeHandler(closed -> {
            if (next.get() <= deltas) {
                aborted.incrementAndGet();
            }
        });
        boolean usage =
                request.getJsonObject("stream_options", new JsonObject()).getBoolean("include_usage", false);
        if (deltaMs == 0) {
            while (next.get() <= deltas) {
                piece(response, next.getAndIncrement(), usage);
            }
        } else {
            vertx.setPeriodic(1, deltaMs, timer -> {
                if (response.closed() || response.ended() || next.get() > deltas) {
                    vertx.cancelTimer(timer);
                } else {
                    piece(response, next.getAndIncrement(), usage);
                }
            });
        }
    }

    /** Numbered, so that a reader sees what is lost or reordered. */
    private void piece(HttpServerResponse response, int number, boolean usage) {
        if (mode == Mode.RESET_MID_STREAM && number == 3) {
            response.reset();
            return;
        }
        boolean last = number == deltas;
        JsonObject delta =
                last ? new JsonObject() : new JsonObject().put("content", number == 0 ? name + ": 0 " : number + " ");
        JsonObject chunk = new JsonObject()
                .put("id", "chatcmpl-stub")
                .put("object", "chat.completion.chunk")
                .put("created", 1)
                .put("model", name)
                .put(
                        "choices",
                        new JsonArray()
                                .add(new JsonObject()
                                        .put("index", 0)
                                        .put("delta", delta)
                                        .put("finish_reason", last ? finish() : null)));
        response.write("data: " + chunk.encode() + "\n\n");
        if (last) {
            if (usage) {
                response.write("data: "
                        + new JsonObject()
                                .put("id", "chatcmpl-stub")
                                .put("object", "chat.completion.chunk")
                                .put("model", name)
                                .put("choices", new JsonArray())
                                .put("usage", usage())
                                .encode()
                        + "\n\n");
            }
            response.end("data: [DONE]\n\n");
        }
    }

    private static JsonObject usage() {
        return new JsonObject()
                .put("prompt_tokens", 12)
                .put("completion_tokens", 80)
                .put("total_tokens", 92);
    }

    private static JsonObject loading() {
        return new JsonObject()
                .put(
                        "error",
                        new JsonObject()
                                .put("message", "Loading model")
                                .put("code", 503)
                                .put("progress", 0.5));
    }

    private static String error(String message) {
        return new JsonObject()
                .put("error", new JsonObject().put("message", message))
                .encode();
    }

    @Override
    public void close() {
        vertx.close().toCompletionStage().toCompletableFuture().join();
    }
}
