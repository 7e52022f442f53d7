package io.millrace.learners.sources;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;

/** Connect's REST API, as far as it is needed here. */
final class ConnectApi implements AutoCloseable {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Duration PATIENCE = Duration.ofSeconds(30);

    private final HttpClient http = HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1)
            .connectTimeout(Duration.ofSeconds(3))
            // its own would refuse, with another error, what begins while this is closed
            .executor(Thread::startVirtualThread)
            .build();

    /** Connect does not do what it is asked for, or is away. */
    static final class ConnectException extends Exception {
        private static final long serialVersionUID = 1L;

        ConnectException(String message) {
            super(message);
        }
    }

    /**
     * A connector as Connect sees it.
     *
     * @param state RUNNING, FAILED, PAUSED, STOPPED or UNASSIGNED; FAILED when a task is
     * @param trace first line of why it failed
     */
    record Status(String state, String trace) {}

    /** All connectors by name. */
    Map<String, Status> connectors(URI base) throws ConnectException, InterruptedException {
        JsonNode all = send(base, "GET", "/connectors?expand=status", "");
        Map<String, Status> found = new HashMap<>();
        all.properties()
                .forEach(entry ->
                        found.put(entry.getKey(), status(entry.getValue().path("status"))));
        return found;
    }

    private static Status status(JsonNode status) {
        String state = status.at("/connector/state").asText();
        String trace = status.at("/connector/trace").asText("");
        for (JsonNode task : status.path("tasks")) {
            if (task.path("state").asText().equals("FAILED")) {
                state = "FAILED";
                trace = task.path("trace").asText("");
            }
        }
        return new Status(state, reason(trace));
    }

    /** The innermost cause of a stack trace, one line. */
    private static String reason(String trace) {
        return trace.lines()
                .filter(line -> line.startsWith("Caused by: "))
                .reduce((first, second) -> second)
                .map(line -> line.substring("Caused by: ".length()))
                .orElse(trace.lines().findFirst().orElse(""));
    }

    void put(URI base, String name, Map<String, String> config) throws ConnectException, InterruptedException {
        send(base, "PUT", path(name, "/config"), JSON.valueToTree(config).toString());
    }

    void restart(URI base, String name) throws ConnectException, InterruptedException {
        send(base, "POST", path(name, "/restart?includeTasks=true"), "");
    }

    /** Deletes a connector with what it remembers of its source. */
    void forget(URI base, String name) throws ConnectException, InterruptedException {
        send(base, "PUT", path(name, "/stop"), "");
        send(base, "DELETE", path(name, "/offsets"), "");
        delete(base, name);
    }

    void delete(URI base, String name) throws ConnectException, InterruptedException {
        send(base, "DELETE", path(name, ""), "");
    }

    private static String path(String name, String below) {
        return "/connectors/" + URLEncoder.encode(name, StandardCharsets.UTF_8) + below;
    }

    private JsonNode send(URI base, String method, String path, String body)
            throws ConnectException, InterruptedException {
        HttpRequest.BodyPublisher publisher =
                body.isEmpty() ? HttpRequest.BodyPublishers.noBody() : HttpRequest.BodyPublishers.ofString(body);
        String root = base.toString().replaceAll("/$", "");
        HttpRequest request = HttpRequest.newBuilder(URI.create(root + path))
                .timeout(PATIENCE)
                .header("Content-Type", "application/json")
                .method(method, publisher)
                .build();
        try {
            HttpResponse<String> response = http.send(request, HttpResponse.BodyHandlers.ofString());
            JsonNode answer = response.body().isBlank() ? JSON.createObjectNode() : JSON.readTree(response.body());
            if (response.statusCode() >= 400) {
                String message = answer.path("message").asText("HTTP " + response.statusCode());
                throw new ConnectException(
                        message.lines().limit(3).reduce((a, b) -> a + " " + b).orElse(""));
            }
            return answer;
        } catch (IOException e) {
            throw new ConnectException("Kafka Connect at " + root + " does not answer: " + e.getMessage());
        }
    }

    @Override
    public void close() {
        http.shutdownNow();
    }
}
