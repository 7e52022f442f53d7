package io.millrace.standalone.cli;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.millrace.standalone.error.UserException;
import io.millrace.standalone.parts.ProcessMark;
import java.io.IOException;
import java.net.ConnectException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpTimeoutException;
import java.nio.channels.UnresolvedAddressException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.time.format.DateTimeParseException;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** The running instance that a command talks to. */
public final class Instance {
    static final ObjectMapper JSON = new ObjectMapper();

    @Mixin
    private DataOption data = new DataOption();

    @Option(
            names = "--url",
            paramLabel = "URL",
            description = "Where it is. Default: what runs on the data folder, or $MILLRACE_URL.")
    private @Nullable String url;

    /** An answer over HTTP. */
    record Answer(int status, JsonNode body) {}

    DataOption data() {
        return data;
    }

    /** What {@code up} wrote about itself; empty when nothing runs on the data folder. */
    Optional<JsonNode> run() {
        return run(data.folder());
    }

    /** What {@code up} wrote about itself into a data folder; empty when nothing runs on it. */
    static Optional<JsonNode> run(Path folder) {
        Path file = folder.resolve("run.json");
        try {
            if (!Files.exists(file)) {
                return Optional.empty();
            }
            JsonNode run = JSON.readTree(file.toFile());
            // a pid that was given to another process since belongs to one that started later than what is written here
            Instant since = Instant.parse(run.path("started_at").asText());
            boolean alive = ProcessMark.find(
                            run.path("pid").asLong(),
                            run.path("mark").asText(),
                            start -> start.isBefore(since.plusSeconds(2)))
                    .isPresent();
            return alive ? Optional.of(run) : Optional.empty();
        } catch (DateTimeParseException | IOException e) {
            return Optional.empty();
        }
    }

    private String base() {
        if (url != null) {
            return url;
        }
        String named = System.getenv("MILLRACE_URL");
        if (named != null && !named.isEmpty()) {
            return named;
        }
        return run().map(run -> run.path("url").asText())
                .filter(serving -> !serving.isEmpty())
                .orElseThrow(() -> new UserException("no millrace is serving on " + data.folder()
                        + "; start it with ./millrace up, or name one with --url"));
    }

    Answer get(String path) {
        return send(request(path).GET());
    }

    Answer post(String path, JsonNode body) {
        return send(request(path)
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body.toString())));
    }

    /** A request without a body. */
    Answer post(String path) {
        return send(request(path).POST(HttpRequest.BodyPublishers.noBody()));
    }

    Answer delete(String path) {
        return send(request(path).DELETE());
    }

    private HttpRequest.Builder request(String path) {
        try {
            return HttpRequest.newBuilder(URI.create(base() + path));
        } catch (IllegalArgumentException e) {
            throw new UserException(base() + " is no URL such as http://127.0.0.1:8092", e);
        }
    }

    private Answer send(HttpRequest.Builder request) {
        try (HttpClient http =
                HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(3)).build()) {
            HttpResponse<String> response =
                    http.send(request.timeout(Duration.ofMinutes(5)).build(), HttpResponse.BodyHandlers.ofString());
            return new Answer(response.statusCode(), JSON.readTree(response.body()));
        } catch (JsonProcessingException e) {
            throw new UserException(base() + " answers, but not as millrace does", e);
        } catch (IOException e) {
            throw new UserException(base() + " does not answer: " + reason(e), e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new UserException("interrupted");
        }
    }

    /** In words: the exceptions of the JDK's client have no message for what happens most. */
    private static String reason(IOException e) {
        return switch (e) {
            case HttpTimeoutException late -> "nothing came in time";
            case ConnectException unknown
            when unknown.getCause() instanceof UnresolvedAddressException -> "there is no such host";
            case ConnectException refused -> "nothing listens there";
            default -> e.getMessage() == null ? e.getClass().getSimpleName() : e.getMessage();
        };
    }

    /** The body of a good answer; what the server says of a bad one is told as it is. */
    static JsonNode good(Answer answer) {
        if (answer.status() >= 400) {
            String detail = answer.body().path("detail").asText("it answered HTTP " + answer.status());
            // what a client of the API sees as the failure's name
            String code = answer.body().path("code").asText();
            throw new UserException(code.isEmpty() || detail.equals(code) ? detail : detail + " (" + code + ")");
        }
        return answer.body();
    }
}
