package io.millrace.routers.backend;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.millrace.config.MillraceConfig.Deployment;
import io.millrace.log.ClientConfig;
import io.millrace.log.Vocabulary.FailureReason;
import io.millrace.schema.Answer;
import io.millrace.schema.Dispatch;
import io.millrace.text.Prompts;
import java.io.IOException;
import java.io.InputStream;
import java.net.ConnectException;
import java.net.URI;
import java.net.http.HttpTimeoutException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * A model behind an OpenAI-compatible API: llama.cpp's server, or any remote.
 *
 * <p>Blocking, for virtual threads; an interrupt ends the request upstream. The request is the client's own body: only the model name,
 * the context and {@code stream_options} are touched, and deltas are passed on as they come.
 *
 * <p>Context goes into the first system message, or becomes one: many chat templates (Gemma, Mistral, Qwen) refuse a system message
 * anywhere else, and none refuses it there.
 */
public final class ChatModel implements AutoCloseable {
    /** An answer larger than this is no chat answer. */
    private static final int MAX_BODY = 32 * 1024 * 1024;

    /** An answer is one record of the log: its text, and beside that the body or the message that it is in. The rest is for evidence. */
    private static final int MAX_ANSWER = ClientConfig.MAX_RECORD_BYTES - 4 * 1024 * 1024;

    /** One chunk may hold a whole answer, or an image; it then travels through the log in one record. */
    private static final int MAX_LINE = 8 * 1024 * 1024;

    /** Between the finish reason and the end of a stream only usage comes. Some servers leave the connection open. */
    private static final Duration AFTER_FINISH = Duration.ofSeconds(2);

    /** Errors are quoted to the client; this much says what is wrong. */
    private static final int MAX_ERROR = 500;

    private static final int MAX_ERROR_BODY = 16 * 1024;
    private static final long RETRY_AFTER_MS = 5_000;

    private static final ObjectMapper JSON = new ObjectMapper();

    /** Fields of a message that the text of an answer stands for. */
    private static final Set<String> IN_TEXT = Set.of("role", "content");

    /** Fields of a delta that are put together apart. */
    private static final Set<String> JOINED = Set.of("role", "content", "refusal", "tool_calls", "function_call");

    private volatile @Nullable Upstream upstream;

    /** Receives the pieces of a streamed answer. */
    @FunctionalInterface
    public interface Deltas {
        /**
         * One chunk, verbatim.
         *
         * @param data SSE data payload
         * @param hasContent whether it carries more than a role: content, reasoning, a tool call
         */
        void accept(String data, boolean hasContent) throws InterruptedException;
    }

    /** A streamed answer, with the chunks that must not leave before it is acknowledged: from the one with a finish reason on. */
    public record Streamed(Answer answer, List<String> last) {
        public Streamed {
            last = List.copyOf(last);
        }
    }

    /**
     * Asks for a whole answer.
     *
     * @param timeout until the head of the response; whoever calls bounds the whole by an interrupt
     * @throws BackendException typed, when there is none
     * @throws InterruptedException when the attempt is aborted
     */
    public Answer ask(Dispatch dispatch, Deployment deployment, Duration timeout)
            throws BackendException, InterruptedException {
        ObjectNode request = request(dispatch, deployment);
        request.put("stream", false);
        request.remove("stream_options");
        try (InputStream in = open(request, deployment, timeout)) {
            byte[] body = in.readNBytes(MAX_BODY + 1);
            if (body.length > MAX_BODY) {
                throw garbage("the answer is longer than " + MAX_BODY + " bytes");
            }
            return parse(new String(body, StandardCharsets.UTF_8), request, deployment);
        } catch (IOException e) {
            throw broken(e);
        }
    }

    /**
     * Asks for a stream.
     *
     * @param timeout until the head of the response; whoever calls bounds the whole by an interrupt
     * @throws BackendException typed, when it fails or breaks
     * @throws InterruptedException when the attempt is aborted
     */
    public Streamed stream(Dispatch dispatch, Deployment deployment, Duration timeout, Deltas deltas)
            throws BackendException, InterruptedException {
        ObjectNode request = request(dispatch, deployment);
        boolean usageWanted =
                request.path("stream_options").path("include_usage").asBoolean(false);
        request.put("stream", true);
        // without it most servers tell no tokens for a stream, and so no cost
        request.withObject("/stream_options").put("include_usage", true);
        Stream state = new Stream(usageWanted, request.path("n").asInt(1), deltas);
        try (Upstream.Body in = open(request, deployment, timeout)) {
            SseLines lines = new SseLines(in, MAX_LINE, MAX_BODY);
            for (String line = lines.next(); line != null; line = lines.next()) {
                if (!state.line(line)) {
                    in.drain();
                    break;
                }
                if (state.isFinished()) {
                    in.endWithin(AFTER_FINISH);
                }
            }
        } catch (IOException e) {
            throw broken(e);
        }
        return state.end(request, deployment);
    }

    private static final class Stream {
        private final boolean usageWanted;
        private final Deltas deltas;
        private final StringBuilder text = new StringBuilder();
        private final StringBuilder refusal = new StringBuilder();
        private final Map<Integer, ObjectNode> calls = new TreeMap<>();
        private final ObjectNode function = JSON.createObjectNode();

        /** What else a message may have in pieces of text, such as the reasoning of a thinking model, by field. */
        private final Map<String, StringBuilder> more = new LinkedHashMap<>();

        private final int choices;
        private final Set<Integer> finished = new HashSet<>();
        private final List<String> last = new ArrayList<>();
        private String noEvent = "";
        private boolean events;
        private boolean done;
        private String finish = "";
        private String model = "";
        private int tokensIn = -1;
        private int tokensOut = -1;

        Stream(boolean usageWanted, int choices, Deltas deltas) {
            this.usageWanted = usageWanted;
            this.choices = Math.max(1, choices);
            this.deltas = deltas;
        }

        /** Whether to go on reading. */
        boolean line(String line) throws BackendException, InterruptedException {
            if (line.startsWith("data:")) {
                events = true;
                String data = line.substring("data:".length()).strip();
                done = data.equals("[DONE]");
                if (!done && !data.isEmpty()) {
                    chunk(data);
                }
            } else if (!events && noEvent.length() < MAX_ERROR && !line.startsWith(":")) {
                noEvent += line;
            }
            return !done;
        }

        /** Whether all content of all choices is there; usage and the end of the stream may follow. */
        boolean isFinished() {
            return finished.size() >= choices;
        }

        private void chunk(String data) throws BackendException, InterruptedException {
            JsonNode chunk = json(data);
            throwError(chunk, data);
            model = chunk.path("model").asText(model);
            JsonNode usage = chunk.path("usage");
            if (usage.isObject()) {
                tokensIn = usage.path("prompt_tokens").asInt();
                tokensOut = usage.path("completion_tokens").asInt();
            }
            JsonNode choice = chunk.path("choices").path(0);
            if (choice.isMissingNode() && usage.isObject() && !usageWanted) {
                // we asked for it, the client did not
                return;
            }
            JsonNode delta = choice.path("delta");
            int index = choice.path("index").asInt(0);
            if (index == 0) {
                text.append(contentOf(delta));
                refusal.append(delta.path("refusal").asText(""));
                delta.path("tool_calls").forEach(this::call);
                JsonNode called = delta.path("function_call");
                // some servers send every field that they know
                if (called.isObject() && !called.isEmpty()) {
                    join(function, called);
                }
                delta.properties().forEach(field -> {
                    if (!JOINED.contains(field.getKey())
                            && field.getValue().isTextual()
                            && !field.getValue().asText().isEmpty()) {
                        more.computeIfAbsent(field.getKey(), name -> new StringBuilder())
                                .append(field.getValue().asText());
                    }
                });
            }
            String reason = choice.path("finish_reason").asText("");
            if (!reason.isEmpty()) {
                finished.add(index);
                if (index == 0 || choices == 1) {
                    finish = reason;
                }
            }
            // a server that knows of one choice only finishes none but that
            boolean ends = !reason.isEmpty() || (choice.isMissingNode() && !last.isEmpty());
            if (ends || isFinished()) {
                last.add(data);
            } else {
                deltas.accept(data, hasContent(delta));
            }
        }

        private static boolean hasContent(JsonNode delta) {
            return delta.properties().stream()
                    .anyMatch(field -> !field.getKey().equals("role") && !isBlank(field.getValue()));
        }

        /** Joins the pieces of a tool call: its name comes first, its arguments bit by bit. */
        private void call(JsonNode piece) {
            ObjectNode call =
                    calls.computeIfAbsent(piece.path("index").asInt(calls.size()), index -> JSON.createObjectNode());
            for (String field : List.of("id", "type")) {
                if (piece.hasNonNull(field)) {
                    call.set(field, piece.get(field));
                }
            }
            join(call.withObject("/function"), piece.path("function"));
        }

        private static void join(ObjectNode function, JsonNode added) {
            if (added.hasNonNull("name")) {
                function.set("name", added.get("name"));
            }
            function.put(
                    "arguments",
                    function.path("arguments").asText("")
                            + added.path("arguments").asText(""));
        }

        Streamed end(ObjectNode request, Deployment deployment) throws BackendException {
            if (!events) {
                throwError(json(noEvent), noEvent);
                throw garbage("no stream was sent: " + noEvent);
            }
            if (finish.isEmpty() && !done) {
                throw new BackendException(
                        FailureReason.STREAM_BROKEN, "the stream ended without a finish reason", 502, true);
            }
            String message = message();
            if (finish.isEmpty() && text.isEmpty() && message.isEmpty()) {
                throw garbage("the stream ended without an answer");
            }
            boolean estimated = tokensOut < 0;
            int in = estimated ? estimate(request.path("messages").toString()) : tokensIn;
            int out = estimated ? estimate(message.isEmpty() ? text.toString() : message) : tokensOut;
            Answer answer = Answer.newBuilder()
                    .setText(text.toString())
                    .setMessage(message)
                    .setFinishReason(finish.isEmpty() ? "stop" : finish)
                    .setModel(model.isEmpty() ? deployment.model() : model)
                    .setTokensIn(in)
                    .setTokensOut(out)
                    .setTokensEstimated(estimated)
                    .setCostUsd(cost(deployment, in, out))
                    .build();
            return new Streamed(loggable(answer), last);
        }

        private String message() {
            if (calls.isEmpty() && function.isEmpty() && refusal.isEmpty() && more.isEmpty()) {
                return "";
            }
            ObjectNode message =
                    JSON.createObjectNode().put("role", "assistant").put("content", text.toString());
            if (!refusal.isEmpty()) {
                message.put("refusal", refusal.toString());
            }
            if (!calls.isEmpty()) {
                message.putArray("tool_calls").addAll(calls.values());
            }
            if (!function.isEmpty()) {
                message.set("function_call", function);
            }
            more.forEach((field, pieces) -> message.put(field, pieces.toString()));
            return message.toString();
        }
    }

    /** The client's request with model and context; a body that is no JSON object is the client's fault. */
    private static ObjectNode request(Dispatch dispatch, Deployment deployment) throws BackendException {
        JsonNode body;
        try {
            body = JSON.readTree(dispatch.getQuery().getBody());
        } catch (JsonProcessingException e) {
            throw new BackendException(FailureReason.BACKEND_REJECTED, "the request is no JSON", 400, false);
        }
        if (!(body instanceof ObjectNode request)) {
            throw new BackendException(FailureReason.BACKEND_REJECTED, "the request is no JSON object", 400, false);
        }
        if (deployment.model().isEmpty()) {
            // the client's is a name of ours, which no server knows
            request.remove("model");
        } else {
            request.put("model", deployment.model());
        }
        if (!dispatch.getContext().isEmpty() && request.path("messages") instanceof ArrayNode messages) {
            inject(messages, Prompts.CONTEXT + dispatch.getContext());
        }
        return request;
    }

    private static void inject(ArrayNode messages, String context) {
        String role = messages.path(0).path("role").asText("");
        if (messages.path(0) instanceof ObjectNode first && (role.equals("system") || role.equals("developer"))) {
            if (first.path("content") instanceof ArrayNode parts) {
                parts.addObject().put("type", "text").put("text", context);
            } else {
                first.put("content", first.path("content").asText("") + "\n\n" + context);
            }
        } else {
            messages.insertObject(0).put("role", "system").put("content", context);
        }
    }

    private Upstream.Body open(ObjectNode body, Deployment deployment, Duration timeout)
            throws BackendException, InterruptedException {
        Map<String, String> headers = new HashMap<>(Map.of("Content-Type", "application/json"));
        if (deployment.key().isPresent()) {
            headers.put("Authorization", "Bearer " + deployment.key().value());
        }
        Upstream.Response response;
        try {
            response = upstream()
                    .post(URI.create(deployment.base() + "/v1/chat/completions"), headers, body.toString(), timeout);
        } catch (ConnectException e) {
            throw new BackendException(
                    FailureReason.BACKEND_UNREACHABLE, deployment.name() + " cannot be reached", 502, true);
        } catch (HttpTimeoutException e) {
            throw new BackendException(
                    FailureReason.BACKEND_TIMEOUT, deployment.name() + " did not answer in time", 504, true);
        } catch (IOException e) {
            throw broken(e);
        }
        if (response.status() == 200) {
            return response.body();
        }
        throw refused(response, deployment);
    }

    /** Made when it is first needed: the worker of the built-ins never needs it. */
    private Upstream upstream() {
        Upstream made = upstream;
        if (made == null) {
            synchronized (this) {
                made = upstream;
                if (made == null) {
                    made = new Upstream();
                    upstream = made;
                }
            }
        }
        return made;
    }

    private static BackendException refused(Upstream.Response response, Deployment deployment)
            throws InterruptedException {
        int status = response.status();
        String body;
        try (InputStream in = response.body()) {
            body = new String(in.readNBytes(MAX_ERROR_BODY), StandardCharsets.UTF_8);
        } catch (IOException e) {
            // the status says enough, unless the attempt was aborted
            broken(e);
            body = "";
        }
        long retryAfter = retryAfter(response.retryAfter());
        String message = shorten(deployment.name() + " answered HTTP " + status + ": " + errorMessage(body));
        return switch (status) {
            case 503 ->
                isLoading(body)
                        ? BackendException.loading(message)
                        : new BackendException(FailureReason.OVERLOADED, message, 503, retryAfter, true);
            case 429 -> new BackendException(FailureReason.OVERLOADED, message, 503, retryAfter, true);
            // another deployment has another key and another bill; the client's request is fine
            case 401, 402, 403 -> new BackendException(FailureReason.BACKEND_REJECTED, message, 502, true);
            case 408 -> new BackendException(FailureReason.BACKEND_TIMEOUT, message, 504, true);
            default -> {
                if (status >= 500) {
                    yield new BackendException(FailureReason.BACKEND_ERROR, message, 502, true);
                }
                // below 400: a redirect or an answer of another kind, so the URL is wrong and not the request
                yield status >= 400
                        ? new BackendException(FailureReason.BACKEND_REJECTED, message, status, false)
                        : new BackendException(FailureReason.BACKEND_REJECTED, message, 502, true);
            }
        };
    }

    /** llama-server says {@code {"error":{"message":"Loading model","type":"unavailable_error","code":503}}}. */
    private static boolean isLoading(String body) {
        return errorMessage(body).toLowerCase(Locale.ROOT).startsWith("loading model");
    }

    /** Null, or empty: some servers send every field that they know. */
    private static boolean isBlank(JsonNode value) {
        return value.isNull()
                || (value.isContainerNode() && value.isEmpty())
                || (value.isTextual() && value.asText().isEmpty());
    }

    private static Answer parse(String body, ObjectNode request, Deployment deployment) throws BackendException {
        JsonNode json = json(body);
        throwError(json, body);
        JsonNode choice = json.path("choices").path(0);
        JsonNode message = choice.path("message");
        if (!message.isObject()) {
            throw garbage("the answer has no message: " + body);
        }
        String text = contentOf(message);
        boolean more = message.properties().stream()
                .anyMatch(field -> !IN_TEXT.contains(field.getKey()) && !isBlank(field.getValue()));
        JsonNode usage = json.path("usage");
        boolean estimated = !usage.has("completion_tokens");
        int in = estimated
                ? estimate(request.path("messages").toString())
                : usage.path("prompt_tokens").asInt();
        int out = estimated
                ? estimate(more ? message.toString() : text)
                : usage.path("completion_tokens").asInt();
        return loggable(Answer.newBuilder()
                .setText(text)
                .setMessage(more ? message.toString() : "")
                .setFinishReason(choice.path("finish_reason").asText("stop"))
                .setModel(json.path("model").asText(deployment.model()))
                .setTokensIn(in)
                .setTokensOut(out)
                .setTokensEstimated(estimated)
                .setCostUsd(cost(deployment, in, out))
                .setBody(body)
                .build());
    }

    /** What the log cannot take would end nothing: the client would hear of it as late as of a dead worker, and routing ask again. */
    private static Answer loggable(Answer answer) throws BackendException {
        long chars = (long) answer.getText().length()
                + answer.getMessage().length()
                + answer.getBody().length();
        if (3 * chars > MAX_ANSWER) {
            long bytes = List.of(answer.getText(), answer.getMessage(), answer.getBody()).stream()
                    .mapToLong(text -> text.getBytes(StandardCharsets.UTF_8).length)
                    .sum();
            if (bytes > MAX_ANSWER) {
                throw garbage("the answer is larger than the log takes: " + bytes + " bytes");
            }
        }
        return answer;
    }

    /** Content is a text, or a list of parts of which some are. */
    private static String contentOf(JsonNode message) {
        JsonNode content = message.path("content");
        if (!content.isArray()) {
            return content.asText("");
        }
        StringBuilder text = new StringBuilder();
        content.forEach(part -> text.append(part.path("text").asText("")));
        return text.toString();
    }

    /** Some servers say that they failed with status 200. */
    private static void throwError(JsonNode json, String body) throws BackendException {
        if (json.hasNonNull("error")) {
            throw new BackendException(FailureReason.BACKEND_ERROR, shorten(errorMessage(body)), 502, true);
        }
    }

    private static JsonNode json(String text) throws BackendException {
        try {
            return JSON.readTree(text);
        } catch (JsonProcessingException e) {
            throw garbage("not JSON: " + text);
        }
    }

    private static BackendException garbage(String what) {
        return new BackendException(FailureReason.BACKEND_GARBAGE, shorten(what), 502, true);
    }

    private static BackendException broken(IOException e) throws InterruptedException {
        if (Thread.interrupted() || e.getCause() instanceof InterruptedException) {
            throw new InterruptedException("aborted");
        }
        return new BackendException(FailureReason.STREAM_BROKEN, "the connection broke: " + e.getMessage(), 502, true);
    }

    private static String errorMessage(String body) {
        try {
            JsonNode error = JSON.readTree(body).path("error");
            return error.isTextual() ? error.asText() : error.path("message").asText(body);
        } catch (JsonProcessingException e) {
            return body;
        }
    }

    /** Milliseconds, 1 s..1 h. An HTTP date is rare, and the default serves as well. */
    private static long retryAfter(String header) {
        return header.matches("\\d{1,9}") ? Math.clamp(Long.parseLong(header), 1, 3_600) * 1_000L : RETRY_AFTER_MS;
    }

    /** Four characters a token, the usual rule for English. */
    private static int estimate(String text) {
        return (text.length() + 3) / 4;
    }

    private static double cost(Deployment deployment, int in, int out) {
        return (in * deployment.inputPrice() + out * deployment.outputPrice()) / 1e6;
    }

    private static String shorten(String text) {
        return text.length() <= MAX_ERROR ? text : text.substring(0, MAX_ERROR) + "…";
    }

    /** Ends what is in work. */
    @Override
    public void close() {
        Upstream made = upstream;
        if (made != null) {
            made.close();
        }
    }
}
