package io.millrace.standalone;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.millrace.config.ConfigLoader;
import io.millrace.knowledge.QdrantDouble;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The running system with its passages on a Qdrant server: a double of it, or the one that MILLRACE_TEST_QDRANT_URL names. */
class QdrantIT {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final HttpClient HTTP = HttpClient.newHttpClient();

    @TempDir
    Path folder;

    @Test
    void shouldKeepPassagesOnTheServerAndFindThemAfterARestart() throws Exception {
        try (QdrantDouble server = new QdrantDouble()) {
            String url = Optional.ofNullable(System.getenv("MILLRACE_TEST_QDRANT_URL"))
                    .orElse("http://127.0.0.1:" + server.port());
            Path config = folder.resolve("millrace.yaml");
            Files.writeString(
                    config,
                    "knowledge: {index: qdrant, qdrant-url: \"" + url + "\", qdrant-prefix: \"it-" + System.nanoTime()
                            + "-\"}\n");
            try (Standalone first = start(config)) {
                add(first, "lock.md", "A canal lock lifts barges between two levels of water.");
                add(first, "mill.md", "The mill grinds wheat with two stones.");
                for (String mode : List.of("keyword", "semantic", "hybrid", "tree", "auto")) {
                    assertThat(paths(first, mode, "\"language\":\"en\""))
                            .as(mode)
                            .startsWith("lock.md");
                    assertThat(paths(first, mode, "\"language\":\"fr\""))
                            .as(mode)
                            .isEmpty();
                }
            }
            try (Standalone second = start(config)) {
                assertThat(paths(second, "hybrid", "\"language\":\"en\"")).startsWith("lock.md");
            }
        }
    }

    private Standalone start(Path config) {
        return Standalone.start(
                ConfigLoader.load(Optional.of(config), Map.of(), Map.of("listen.port", "0")),
                folder.resolve("data"),
                List.of(),
                line -> {});
    }

    private static void add(Standalone standalone, String path, String text) throws Exception {
        HttpResponse<String> response = post(
                standalone,
                "/documents?wait=true",
                JSON.createObjectNode()
                        .put("project", "it")
                        .put("relative_path", path)
                        .put("content", text)
                        .set("metadata", JSON.createObjectNode().put("language", "en"))
                        .toString());
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
    }

    private static List<String> paths(Standalone standalone, String mode, String filter) throws Exception {
        HttpResponse<String> response = post(
                standalone,
                "/search",
                "{\"query\":\"how does a canal lock lift barges\",\"mode\":\"" + mode + "\",\"filters\":{" + filter
                        + "}}");
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return JSON.readTree(response.body()).path("results").findValuesAsText("path");
    }

    private static HttpResponse<String> post(Standalone standalone, String path, String body) throws Exception {
        return HTTP.send(
                HttpRequest.newBuilder(URI.create(standalone.url() + path))
                        .timeout(Duration.ofSeconds(40))
                        .header("Content-Type", "application/json")
                        .POST(HttpRequest.BodyPublishers.ofString(body))
                        .build(),
                HttpResponse.BodyHandlers.ofString());
    }
}
