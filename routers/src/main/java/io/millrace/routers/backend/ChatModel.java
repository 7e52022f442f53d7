package io.millrace.routers.backend;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.millrace.config.MillraceConfig.Deployment;
import io.millrace.log.Vocabulary.FailureReason;
import io.millrace.schema.Answer;
import io.millrace.schema.Dispatch;
import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.ConnectException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpConnectTimeoutException;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpTimeoutException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Executors;

/**
 * A model behind an OpenAI-compatible API: llama.cpp's server, or any remote.
 *
 * <p>Blocking, for virtual threads; an interrupt ends the request upstream. The request is the client's own body: only the model name,
 * the context and {@code stream_options} are touched, and deltas are passed on as they come.
 */
public final class ChatModel {
    /** A body larger than this is no chat answer. */
    private static final int MAX_BODY = 32 * 1024 * 1024;

    /** Errors are quoted to the client; this much says what is wrong. */
    private static final int MAX_ERROR = 500;

    private static final ObjectMapper JSON = new ObjectMapper();

    private final HttpClient http = HttpClient.newBuilder()
            .executor(Executors.newVirtualThreadPerTaskExecutor())
            .version(HttpClient.Version.HTTP_1_1)
            .connectTimeout(Duration.ofSeconds(2))
            .followRedirects(HttpClient.Redirect.NEVER)
            .build();

    /** Receives the pieces of a streamed answer. */
    @FunctionalInterface
    public interface Deltas {
        /**
         * One chunk, verbatim.
         *
         * @param data SSE data payload
         * @param hasContent whether it carries content or a tool call
         */
        void accept(String data, boolean hasContent) throws InterruptedException;
    }

    /** An answer, with the chunks that must not leave before it is acknowledged; empty when it was not streamed. */
    public record Result(Answer answer, List<String> last) {
        public Result {
            last = List.copyOf(last);
        }
    }

    /**
     * Asks for a whole answer.
     *
     * @throws BackendException typed, when there is none
     * @throws InterruptedException when the attempt is aborted
     */
    public Result ask(Dispatch dispatch, Deployment deployment, Duration timeout)
            throws BackendException, InterruptedException {
        ObjectNode request = request(dispatch, deployment);
        request.put("stream", false);
        request.remove("stream_options");
        try (InputStream in = open(request, deployment, timeout)) {
            String body = new String(readBounded(in), StandardCharsets.UTF_8);
            return new Result(parse(body, deployment), List.of());
        } catch (IOException e) {
            throw broken(e);
        }
    }

    /**
     * Asks for a stream. Chunks from the one with a finish reason on are held back and returned as {@link Result#last}.
     *
     * @throws BackendException typed, when it fails or breaks
     * @throws InterruptedException when the attempt is aborted
     */
    public Result stream(Dispatch dispatch, Deployment deployment, Duration timeout, Deltas deltas)
            throws BackendException, InterruptedException {
        ObjectNode request = request(dispatch, deployment);
        boolean usageWanted =
                request.path("stream_options").path("include_usage").asBoolean(false);
        request.put("stream", true);
        request.putObject("stream_options").put("include_usage", true);
        Stream state = new Stream(usageWanted);
        try (InputStream in = new BufferedInputStream(open(request, deployment, timeout))) {
            boolean done = false;
            for (String line = readLine(in); line != null && !done; line = done ? null : readLine(in)) {
                if (!line.startsWith("data:")) {
                    continue;
                }
                String data = line.substring("data:".length()).strip();
                done = data.equals("[DONE]");
                if (!done) {
                    state.chunk(data, deltas);
                }
            }
        } catch (IOException e) {
            throw broken(e);
        }
        if (state.finish.isEmpty()) {
            throw new BackendException(
                    FailureReason.STREAM_BROKEN, "the stream ended without a finish reason", 502, true);
        }
        return new Result(state.answer(deployment, request), state.last);
    }

    private static final class Stream {
        private final boolean usageWanted;
        private final StringBuilder text = new StringBuilder();
        private final List<String> last = new ArrayList<>();
        private final ArrayNode toolCalls = JSON.createArrayNode();
        private String finish = "";
        private String model = "";
        private int tokensIn = -1;
        private int tokensOut = -1;

        Stream(boolean usageWanted) {
            this.usageWanted = usageWanted;
        }

        void chunk(String data, Deltas deltas) throws BackendException, InterruptedException {
            JsonNode chunk = json(data);
            if (chunk.has("error")) {
                String message = chunk.path("error").path("message").asText(data);
                throw new BackendException(FailureReason.BACKEND_ERROR, shorten(message), 502, true);
            }
            model = chunk.path("model").asText(model);
            JsonNode usage = chunk.path("usage");
            if (usage.isObject()) {
                tokensIn = usage.path("prompt_tokens").asInt();
                tokensOut = usage.path("completion_tokens").asInt();
            }
            JsonNode choice = chunk.path("choices").path(0);
            if (choice.isMissingNode()) {
                if (usageWanted) {
                    last.add(data);
                }
                return;
            }
            JsonNode delta = choice.path("delta");
            String content = delta.path("content").asText("");
            text.append(content);
            JsonNode calls = delta.path("tool_calls");
            calls.forEach(toolCalls::add);
            String reason = choice.path("finish_reason").asText("");
            if (!choice.path("finish_reason").isNull() && !reason.isEmpty()) {
                finish = reason;
            }
            if (finish.isEmpty()) {
                deltas.accept(data, !content.isEmpty() || !calls.isEmpty());
            } else {
                last.add(data);
            }
        }

        Answer answer(Deployment deployment, ObjectNode request) {
            boolean estimated = tokensOut < 0;
            int in = estimated ? estimate(request.toString()) : tokensIn;
            int out = estimated ? estimate(text.toString()) : tokensOut;
            return Answer.newBuilder()
                    .setText(text.toString())
                    .setMessage(toolCalls.isEmpty() ? "" : toolCalls.toString())
                    .setFinishReason(finish)
                    .setModel(model)
                    .setTokensIn(in)
                    .setTokensOut(out)
                    .setTokensEstimated(estimated)
                    .setCostUsd(cost(deployment, in, out))
                    .build();
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
            request.remove("model");
        } else {
            request.put("model", deployment.model());
        }
        if (!dispatch.getContext().isEmpty() && request.path("messages") instanceof ArrayNode messages) {
            // right before the question: models weigh what is near, and a system prompt of the client stays first
            ObjectNode context = JSON.createObjectNode()
                    .put("role", "system")
                    .put(
                            "content",
                            "Use these passages where they help, and cite them as [n]:\n\n" + dispatch.getContext());
            messages.insert(Math.max(0, messages.size() - 1), context);
        }
        return request;
    }

    private InputStream open(ObjectNode body, Deployment deployment, Duration timeout)
            throws BackendException, InterruptedException {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(deployment.base() + "/v1/chat/completions"))
                .timeout(timeout)
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body.toString()));
        if (deployment.key().isPresent()) {
            request.header("Authorization", "Bearer " + deployment.key().value());
        }
        HttpResponse<InputStream> response;
        try {
            response = http.send(request.build(), HttpResponse.BodyHandlers.ofInputStream());
        } catch (HttpConnectTimeoutException | ConnectException e) {
            throw new BackendException(
                    FailureReason.BACKEND_UNREACHABLE, deployment.name() + " cannot be reached", 502, true);
        } catch (HttpTimeoutException e) {
            throw new BackendException(
                    FailureReason.BACKEND_TIMEOUT, deployment.name() + " did not answer in time", 504, true);
        } catch (IOException e) {
            throw broken(e);
        }
        if (response.statusCode() == 200) {
            return response.body();
        }
        throw refused(response, deployment);
    }

    private static BackendException refused(HttpResponse<InputStream> response, Deployment deployment) {
        int status = response.statusCode();
        String message;
        try (InputStream in = response.body()) {
            String body = new String(in.readNBytes(16 * 1024), StandardCharsets.UTF_8);
            message = shorten(deployment.name() + " answered HTTP " + status + ": " + errorMessage(body));
        } catch (IOException e) {
            message = deployment.name() + " answered HTTP " + status;
        }
        long retryAfter = response.headers()
                        .firstValue("Retry-After")
                        .map(ChatModel::seconds)
                        .orElse(0L)
                * 1000;
        return switch (status) {
            case 429, 503 ->
                new BackendException(
                        FailureReason.OVERLOADED, message, 503, retryAfter == 0 ? 5_000 : retryAfter, true);
            // another deployment has another key and another bill; the client's request is fine
            case 401, 402, 403 -> new BackendException(FailureReason.BACKEND_REJECTED, message, 502, true);
            default ->
                status >= 500
                        ? new BackendException(FailureReason.BACKEND_ERROR, message, 502, true)
                        : new BackendException(
                                FailureReason.BACKEND_REJECTED, message, status >= 400 ? status : 502, false);
        };
    }

    private static Answer parse(String body, Deployment deployment) throws BackendException {
        JsonNode json = json(body);
        JsonNode choice = json.path("choices").path(0);
        JsonNode message = choice.path("message");
        if (!message.isObject()) {
            throw new BackendException(
                    FailureReason.BACKEND_GARBAGE, "the answer has no message: " + shorten(body), 502, true);
        }
        JsonNode usage = json.path("usage");
        boolean estimated = !usage.isObject();
        String text = message.path("content").asText("");
        int in = usage.path("prompt_tokens").asInt(0);
        int out = estimated ? estimate(text) : usage.path("completion_tokens").asInt();
        return Answer.newBuilder()
                .setText(text)
                .setMessage(message.has("tool_calls") ? message.toString() : "")
                .setFinishReason(choice.path("finish_reason").asText("stop"))
                .setModel(json.path("model").asText(deployment.model()))
                .setTokensIn(in)
                .setTokensOut(out)
                .setTokensEstimated(estimated)
                .setCostUsd(cost(deployment, in, out))
                .setBody(body)
                .build();
    }

    private static JsonNode json(String text) throws BackendException {
        try {
            return JSON.readTree(text);
        } catch (JsonProcessingException e) {
            throw new BackendException(FailureReason.BACKEND_GARBAGE, "not JSON: " + shorten(text), 502, true);
        }
    }

    private static BackendException broken(IOException e) throws InterruptedException {
        if (Thread.interrupted() || e.getCause() instanceof InterruptedException) {
            throw new InterruptedException("aborted");
        }
        return new BackendException(FailureReason.STREAM_BROKEN, "the connection broke: " + e.getMessage(), 502, true);
    }

    private static byte[] readBounded(InputStream in) throws IOException {
        byte[] bytes = in.readNBytes(MAX_BODY + 1);
        if (bytes.length > MAX_BODY) {
            throw new IOException("the answer is larger than " + MAX_BODY + " bytes");
        }
        return bytes;
    }

    private static @org.jspecify.annotations.Nullable String readLine(InputStream in) throws IOException {
        ByteArrayOutputStream line = new ByteArrayOutputStream(256);
        int b = in.read();
        if (b < 0) {
            return null;
        }
        while (b >= 0 && b != '\n') {
            if (b != '\r') {
                line.write(b);
            }
            if (line.size() > MAX_BODY) {
                throw new IOException("a line is larger than " + MAX_BODY + " bytes");
            }
            b = in.read();
        }
        return line.toString(StandardCharsets.UTF_8);
    }

    private static String errorMessage(String body) {
        try {
            JsonNode error = JSON.readTree(body).path("error");
            return error.isTextual() ? error.asText() : error.path("message").asText(body);
        } catch (JsonProcessingException e) {
            return body;
        }
    }

    private static long seconds(String retryAfter) {
        try {
            return Math.clamp(Long.parseLong(retryAfter.strip()), 0, 3_600);
        } catch (NumberFormatException e) {
            // an HTTP date: rare, and a default serves as well
            return 0;
        }
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
}
