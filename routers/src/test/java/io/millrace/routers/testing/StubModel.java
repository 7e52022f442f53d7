package io.millrace.routers.testing;

import io.vertx.core.Vertx;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.http.HttpServerRequest;
import io.vertx.core.http.HttpServerResponse;
import io.vertx.core.json.JsonArray;
import io.vertx.core.json.JsonObject;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicInteger;

/** A model server on loopback that does what the test says, over real sockets. */
public final class StubModel implements AutoCloseable {
    /** What it does with a chat request. */
    public enum Mode {
        OK,
        NO_USAGE,
        ERROR_500,
        RATE_LIMITED,
        UNPAID,
        UNAUTHORIZED,
        BAD_REQUEST,
        LOADING,
        SLOW,
        GARBAGE,
        GARBAGE_CHUNK,
        ERROR_IN_200,
        REDIRECT,
        TOOL_CALL,
        EMPTY_THINKING,
        THINKING,
        TWO_CHOICES,
        EMPTY_CALL,
        FUNCTION_CALL,
        RESET_BEFORE_CONTENT,
        RESET_MID_STREAM,
        HANG_MID_STREAM,
        HANG_AFTER_FINISH,
        ONLY_DONE,
        NO_FINISH
    }

    private final Vertx vertx = Vertx.vertx();
    private final List<JsonObject> seen = Collections.synchronizedList(new ArrayList<>());
    private final List<String> keys = Collections.synchronizedList(new ArrayList<>());
    private final AtomicInteger aborted = new AtomicInteger();
    private final int port;
    private volatile Mode mode = Mode.OK;
    private volatile String text = "The mill stands by the river and grinds all day.";
    private volatile int modelsStatus = 200;

    public StubModel() {
        port = vertx.createHttpServer()
                .requestHandler(this::handle)
                .listen(0, "127.0.0.1")
                .toCompletionStage()
                .toCompletableFuture()
                .join()
                .actualPort();
    }

    public String url() {
        return "http://127.0.0.1:" + port;
    }

    public void mode(Mode next) {
        mode = next;
    }

    public void text(String next) {
        text = next;
    }

    public void modelsStatus(int next) {
        modelsStatus = next;
    }

    /** Bodies of the chat requests. */
    public List<JsonObject> seen() {
        return List.copyOf(seen);
    }

    /** Authorization headers of all requests. */
    public List<String> keys() {
        return List.copyOf(keys);
    }

    /** Chat requests whose client went away before they were answered. */
    public int aborted() {
        return aborted.get();
    }

    private void handle(HttpServerRequest request) {
        keys.add(Objects.requireNonNullElse(request.getHeader("Authorization"), ""));
        boolean loading = mode == Mode.LOADING;
        switch (Objects.requireNonNull(request.path())) {
            case "/health" ->
                request.response().setStatusCode(loading ? 503 : 200).end(loading ? LOADING : "{\"status\":\"ok\"}");
            case "/props" ->
                request.response()
                        .end("{\"model_path\":\"stub.gguf\",\"total_slots\":2,"
                                + "\"default_generation_settings\":{\"n_ctx\":4096}}");
            case "/slots" -> request.response().end("[{\"is_processing\":true},{\"is_processing\":false}]");
            case "/v1/models" -> request.response().setStatusCode(modelsStatus).end("{\"data\":[]}");
            default -> request.bodyHandler(body -> chat(request.response(), body));
        }
    }

    private static final String LOADING =
            "{\"error\":{\"message\":\"Loading model\",\"type\":\"unavailable_error\",\"code\":503,\"progress\":0.25}}";

    private void chat(HttpServerResponse response, Buffer body) {
        JsonObject request = body.toJsonObject();
        seen.add(request);
        boolean stream = request.getBoolean("stream", false);
        switch (mode) {
            case ERROR_500 -> refuse(response, 500, "it broke");
            case RATE_LIMITED -> refuse(response.putHeader("Retry-After", "7"), 429, "slow down");
            case UNPAID -> refuse(response, 402, "no credit");
            case UNAUTHORIZED -> refuse(response, 401, "bad key");
            case BAD_REQUEST -> refuse(response, 422, "messages: too many");
            case LOADING -> response.setStatusCode(503).end(LOADING);
            case SLOW -> response.closeHandler(closed -> aborted.incrementAndGet());
            case GARBAGE -> response.end("<html>hello</html>");
            case ERROR_IN_200 -> response.end("{\"error\":{\"message\":\"upstream of upstream\"}}");
            case REDIRECT ->
                response.setStatusCode(307)
                        .putHeader("Location", url() + "/elsewhere")
                        .end();
            default -> {
                if (stream) {
                    stream(response, request);
                } else {
                    response.end(whole());
                }
            }
        }
    }

    private static void refuse(HttpServerResponse response, int status, String message) {
        response.setStatusCode(status).end("{\"error\":{\"message\":\"" + message + "\"}}");
    }

    private String whole() {
        JsonObject message = new JsonObject().put("role", "assistant");
        switch (mode) {
            case TOOL_CALL ->
                message.putNull("content")
                        .put(
                                "tool_calls",
                                new JsonArray().add(call("{\"city\":\"Ulm\"}").put("id", "c1")));
            case THINKING ->
                message.put("content", text)
                        .put("reasoning_content", "hm, hm")
                        .putNull("refusal")
                        .put("annotations", new JsonArray());
            case EMPTY_THINKING -> message.put("content", "").put("reasoning_content", "hm, hm");
            default -> message.put("content", text);
        }
        JsonObject choice = new JsonObject()
                .put("index", 0)
                .put("message", message)
                .put("finish_reason", mode == Mode.TOOL_CALL ? "tool_calls" : "stop");
        JsonObject answer = new JsonObject().put("model", "stub").put("choices", new JsonArray().add(choice));
        if (mode != Mode.NO_USAGE) {
            answer.put("usage", USAGE);
        }
        return answer.encode();
    }

    private static final JsonObject USAGE =
            new JsonObject().put("prompt_tokens", 10).put("completion_tokens", 20);

    private static JsonObject call(String arguments) {
        return new JsonObject()
                .put("index", 0)
                .put("type", "function")
                .put("function", new JsonObject().put("name", "weather").put("arguments", arguments));
    }

    private void stream(HttpServerResponse response, JsonObject request) {
        response.setChunked(true).putHeader("Content-Type", "text/event-stream");
        // comments and the role come first, as servers do it
        response.write(": keep-alive\n\n");
        response.write(event(new JsonObject().put("role", "assistant"), null));
        switch (mode) {
            case RESET_BEFORE_CONTENT -> soon(response::reset);
            case RESET_MID_STREAM -> {
                response.write(event(new JsonObject().put("content", "The "), null));
                soon(response::reset);
            }
            case HANG_MID_STREAM -> {
                response.closeHandler(closed -> aborted.incrementAndGet());
                response.write(event(new JsonObject().put("content", "The "), null));
            }
            case HANG_AFTER_FINISH -> {
                response.closeHandler(closed -> aborted.incrementAndGet());
                response.write(event(new JsonObject().put("content", text), null));
                response.write(event(new JsonObject(), "stop"));
            }
            case ONLY_DONE -> response.end("data: [DONE]\n\n");
            case GARBAGE_CHUNK -> response.end("data: {no json\n\n");
            case TOOL_CALL -> {
                response.write(event(
                        new JsonObject()
                                .put(
                                        "tool_calls",
                                        new JsonArray().add(call("{\"city\":").put("id", "c1"))),
                        null));
                response.write(event(
                        new JsonObject()
                                .put(
                                        "tool_calls",
                                        new JsonArray()
                                                .add(new JsonObject()
                                                        .put("index", 0)
                                                        .put(
                                                                "function",
                                                                new JsonObject().put("arguments", "\"Ulm\"}")))),
                        null));
                finish(response, request, "tool_calls");
            }
            case TWO_CHOICES -> {
                response.write(event(1, new JsonObject().put("content", "No."), null));
                response.write(event(1, new JsonObject(), "length"));
                for (String word : text.split("(?<= )", -1)) {
                    response.write(event(new JsonObject().put("content", word), null));
                }
                finish(response, request, "stop");
            }
            case EMPTY_CALL -> {
                response.write(event(new JsonObject().put("function_call", new JsonObject()), null));
                finish(response, request, "stop");
            }
            case FUNCTION_CALL -> {
                for (String part : List.of("{\"name\":\"weather\",\"arguments\":\"{\"}", "{\"arguments\":\"}\"}")) {
                    response.write(event(new JsonObject().put("function_call", new JsonObject(part)), null));
                }
                finish(response, request, "function_call");
            }
            default -> {
                if (mode == Mode.THINKING) {
                    response.write(event(new JsonObject().put("reasoning_content", "hm, "), null));
                    response.write(event(new JsonObject().put("reasoning_content", "hm"), null));
                }
                for (String word : text.split("(?<= )", -1)) {
                    response.write(event(new JsonObject().put("content", word), null));
                }
                if (mode == Mode.NO_FINISH) {
                    response.end();
                } else {
                    finish(response, request, "stop");
                }
            }
        }
    }

    private void soon(Runnable action) {
        // what was written must be on its way before the connection breaks
        vertx.setTimer(50, timer -> action.run());
    }

    private static void finish(HttpServerResponse response, JsonObject request, String reason) {
        response.write(event(new JsonObject(), reason));
        if (request.getJsonObject("stream_options", new JsonObject()).getBoolean("include_usage", false)) {
            response.write("data: "
                    + new JsonObject()
                            .put("model", "stub")
                            .put("choices", new JsonArray())
                            .put("usage", USAGE)
                            .encode()
                    + "\n\n");
        }
        response.end("data: [DONE]\n\n");
    }

    /** One chunk of a stream as this server sends it. */
    public static String chunk(JsonObject delta, @org.jspecify.annotations.Nullable String finish) {
        return chunk(0, delta, finish);
    }

    private static String chunk(int index, JsonObject delta, @org.jspecify.annotations.Nullable String finish) {
        return new JsonObject()
                .put("model", "stub")
                .put(
                        "choices",
                        new JsonArray()
                                .add(new JsonObject()
                                        .put("index", index)
                                        .put("delta", delta)
                                        .put("finish_reason", finish)))
                .encode();
    }

    private static String event(JsonObject delta, @org.jspecify.annotations.Nullable String finish) {
        return event(0, delta, finish);
    }

    private static String event(int index, JsonObject delta, @org.jspecify.annotations.Nullable String finish) {
        return "data: " + chunk(index, delta, finish) + "\n\n";
    }

    @Override
    public void close() {
        vertx.close().toCompletionStage().toCompletableFuture().join();
    }
}
