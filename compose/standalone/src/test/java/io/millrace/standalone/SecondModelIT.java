package io.millrace.standalone;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.millrace.bench.stub.StubUpstream;
import java.io.File;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.stream.Collectors;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** An installation whose second embedding model cannot be loaded: in a process of its own, since a model is loaded once in a process. */
class SecondModelIT {
    private static final String MODEL = "bge-small-en-v1.5-q";
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final HttpClient HTTP = HttpClient.newHttpClient();

    @TempDir
    private Path folder;

    @ParameterizedTest
    @ValueSource(strings = {"missing", "damaged"})
    void shouldServeNothingByMeaningAndSaySoWhileAllElseGoesOn(String model) throws Exception {
        Path data = folder.resolve("data");
        try (StubUpstream remote = new StubUpstream("remote", 8, 5).start(0)) {
            Path config = Files.writeString(folder.resolve("millrace.yaml"), """
                    cache: {timeout: 5s}
                    backends:
                      remote:
                        kind: openai
                        deployments: [{name: remote, url: "%s", model: big, timeout: 15s}]
                    models:
                      plain: {retrieval: "off", add-context: false}
                    """.formatted(remote.url()));
            Process up = Millrace.startWith(
                    classPath(model),
                    folder,
                    "up",
                    "up",
                    "--port",
                    "0",
                    "--data",
                    data.toString(),
                    "--config",
                    config.toString());
            try {
                degrades(Millrace.awaitReady(up, folder, "up"));
            } finally {
                Millrace.stop(up);
            }
        }
        assertThat(Files.readString(data.resolve("logs/millrace.log")).lines())
                .filteredOn(line -> line.contains("nothing is served by meaning"))
                .as("told once")
                .hasSize(1)
                .allMatch(line -> line.contains("the second embedding model cannot be loaded"));
    }

    private void degrades(String url) throws Exception {
        String first = "How do I learn to play the violin?";
        String near = "How can I learn to play the violin?";
        assertThat(reason(url, first)).isNotEqualTo("cache_exact");
        Awaitility.await("the answer to be kept")
                .atMost(Duration.ofSeconds(60))
                .until(() -> reason(url, first).equals("cache_exact"));
        assertThat(health(url, "/services/retrieval/details").has("semantic_cache"))
                .as("nobody needed it yet")
                .isFalse();

        assertThat(reason(url, near)).isNotIn("cache_semantic", "cache_exact");
        assertThat(reason(url, "How can I learn to play a violin?")).isNotIn("cache_semantic", "cache_exact");

        assertThat(health(url, "/status").asText()).isEqualTo("degraded");
        assertThat(health(url, "/services/retrieval/details/semantic_cache").asText())
                .startsWith("off: the second embedding model cannot be loaded");
        assertThat(reason(url, first)).isEqualTo("cache_exact");
    }

    private static JsonNode health(String url, String pointer) throws Exception {
        return JSON.readTree(HTTP.send(
                                HttpRequest.newBuilder(URI.create(url + "/health/detailed"))
                                        .build(),
                                HttpResponse.BodyHandlers.ofString())
                        .body())
                .at(pointer);
    }

    /** Why a query that was answered was answered as it was. */
    private static String reason(String url, String question) throws Exception {
        HttpResponse<String> response = HTTP.send(
                HttpRequest.newBuilder(URI.create(url + "/v1/chat/completions"))
                        .timeout(Duration.ofSeconds(60))
                        .header("Content-Type", "application/json")
                        .header("x-millrace-cache", "true")
                        .POST(HttpRequest.BodyPublishers.ofString(Stack.chatBody("plain", question, "")))
                        .build(),
                HttpResponse.BodyHandlers.ofString());
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return response.headers().firstValue("x-millrace-reason").orElse("");
    }

    private String classPath(String model) throws Exception {
        String whole = System.getProperty("java.class.path");
        if (model.equals("missing")) {
            String rest = Arrays.stream(whole.split(File.pathSeparator))
                    .filter(entry -> !entry.contains("bge-small-en-v15-q"))
                    .collect(Collectors.joining(File.pathSeparator));
            assertThat(rest).isNotEqualTo(whole);
            return rest;
        }
        Path junk = Files.createDirectories(folder.resolve("junk"));
        Files.write(junk.resolve(MODEL + ".onnx"), new byte[1_000]);
        return junk + File.pathSeparator + whole;
    }
}
