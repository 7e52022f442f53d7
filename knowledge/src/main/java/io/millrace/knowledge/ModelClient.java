package io.millrace.knowledge;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.millrace.config.Loopback;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpTimeoutException;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** One JSON request to a model's server, one JSON answer, within a time. Retrieval goes on without it: there is no second attempt. */
final class ModelClient implements AutoCloseable {
    private static final ObjectMapper JSON = new ObjectMapper();

    /** The client's own timers come first: they tell a server that is not there from one that is late. */
    private static final Duration TO_TELL = Duration.ofMillis(200);

    private final HttpClient http;
    private final URI url;
    private final String key;
    private final Duration timeout;

    /** Another status than 200. */
    static final class RefusedException extends IOException {
        private static final long serialVersionUID = 1L;
        private final int status;

        RefusedException(int status) {
            super("it answered " + status);
            this.status = status;
        }

        int status() {
            return status;
        }
    }

    /**
     * @param key bearer token; empty for none
     * @param timeout for the whole answer
     */
    ModelClient(URI url, String key, Duration timeout) {
        this.url = url;
        this.key = key;
        this.timeout = timeout;
        this.http = HttpClient.newBuilder()
                .connectTimeout(timeout)
                // its own would refuse, with another error, what begins while this is closed
                .executor(Thread::startVirtualThread)
                .build();
    }

    static ObjectNode object() {
        return JSON.createObjectNode();
    }

    String host() {
        return url.getHost();
    }

    /** Whether the server is on this machine. */
    boolean isLocal() {
        return Loopback.is(url.getHost());
    }

    /** The request's own timeout ends with the head of its response: what falls silent behind that would be waited for without end. */
    private HttpResponse<String> answer(HttpRequest request) throws IOException, InterruptedException {
        CompletableFuture<HttpResponse<String>> answering =
                http.sendAsync(request, HttpResponse.BodyHandlers.ofString());
        try {
            return answering.get(timeout.plus(TO_TELL).toMillis(), TimeUnit.MILLISECONDS);
        } catch (TimeoutException e) {
            throw new HttpTimeoutException("timed out: no whole answer within " + timeout.toMillis() + " ms");
        } catch (ExecutionException e) {
            throw e.getCause() instanceof IOException cause ? cause : new IOException(e.getCause());
        } finally {
            // what is done already is not
            answering.cancel(true);
        }
    }

    /** @throws IOException with a message for people, also when it was interrupted */
    JsonNode post(ObjectNode body) throws IOException {
        HttpRequest.Builder request = HttpRequest.newBuilder(url)
                .timeout(timeout)
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body.toString()));
        if (!key.isEmpty()) {
            request.header("Authorization", "Bearer " + key);
        }
        try {
            HttpResponse<String> response = answer(request.build());
            if (response.statusCode() != 200) {
                throw new RefusedException(response.statusCode());
            }
            return JSON.readTree(response.body());
        } catch (JsonProcessingException e) {
            throw new IOException("it did not answer with JSON", e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IOException("interrupted", e);
        }
    }

    @Override
    public void close() {
        http.shutdownNow();
    }
}
