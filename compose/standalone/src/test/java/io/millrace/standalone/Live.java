package io.millrace.standalone;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.millrace.config.ConfigLoader;
import io.millrace.standalone.parts.Endpoints;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import org.awaitility.Awaitility;

/** A whole instance with a client, for tests that take nothing of it away. */
final class Live implements AutoCloseable {
    static final ObjectMapper JSON = new ObjectMapper();

    private static final HttpClient HTTP = HttpClient.newHttpClient();

    private final Standalone standalone;
    private final Path data;

    private Live(Path data, Optional<Path> config, Map<String, String> flags) {
        this.data = data;
        this.standalone = Standalone.start(ConfigLoader.load(config, Map.of(), flags), data, List.of(), line -> {});
    }

    /** @param flags without the port */
    static Live start(Path data, Map<String, String> flags) {
        Map<String, String> all = new java.util.HashMap<>(flags);
        all.put("listen.port", "0");
        return new Live(data, Optional.empty(), all);
    }

    /** @param yaml the configuration */
    static Live start(Path data, String yaml) throws IOException {
        Path config = data.resolveSibling(data.getFileName() + ".yaml");
        Files.writeString(config, yaml);
        return new Live(data, Optional.of(config), Map.of("listen.port", "0"));
    }

    Standalone standalone() {
        return standalone;
    }

    Path data() {
        return data;
    }

    String url() {
        return standalone.url();
    }

    HttpResponse<String> send(String method, String path, String body) throws Exception {
        return HTTP.send(
                HttpRequest.newBuilder(URI.create(url() + path))
                        .timeout(Duration.ofSeconds(60))
                        .header("Content-Type", "application/json")
                        .method(
                                method,
                                body.isEmpty()
                                        ? HttpRequest.BodyPublishers.noBody()
                                        : HttpRequest.BodyPublishers.ofString(body))
                        .build(),
                HttpResponse.BodyHandlers.ofString());
    }

    HttpResponse<String> post(String path, String body) throws Exception {
        return send("POST", path, body);
    }

    HttpResponse<String> get(String path) throws Exception {
        return send("GET", path, "");
    }

    JsonNode json(String path) throws Exception {
        return JSON.readTree(get(path).body());
    }

    /** Adds a document and waits until searches see it. */
    void add(String project, String path, String content) throws Exception {
        HttpResponse<String> response = post(
                "/documents?wait=true",
                JSON.createObjectNode()
                        .put("project", project)
                        .put("relative_path", path)
                        .put("content", content)
                        .toString());
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
    }

    /** The answer to a search that must succeed. */
    JsonNode search(String body) throws Exception {
        HttpResponse<String> response = post("/search", body);
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return JSON.readTree(response.body());
    }

    /** Paths of the first ten hits. */
    List<String> found(String query) throws Exception {
        List<String> paths = new ArrayList<>();
        search(JSON.createObjectNode().put("query", query).put("limit", 10).toString())
                .path("results")
                .forEach(hit -> paths.add(hit.at("/payload/path").asText()));
        return paths;
    }

    /** Declares these sources and no others: entries of the list. */
    void declare(String entries) throws IOException {
        Files.writeString(
                data.resolve("knowledge-sources.yaml"), entries.isEmpty() ? "sources: []\n" : "sources:\n" + entries);
    }

    /** What a source does; missing when there is none of this id. */
    JsonNode source(String id) throws Exception {
        for (JsonNode source : json("/sources").path("sources")) {
            if (source.path("id").asText().equals(id)) {
                return source;
            }
        }
        return JSON.missingNode();
    }

    /** The first column of the first row. */
    String sql(String select) throws SQLException {
        Endpoints at = standalone.endpoints();
        try (var connection = DriverManager.getConnection(at.jdbcUrl(), at.user(), at.password());
                var rows = connection.createStatement().executeQuery(select)) {
            return rows.next() ? String.valueOf(rows.getString(1)) : "";
        }
    }

    void execute(String statement) throws SQLException {
        Endpoints at = standalone.endpoints();
        try (var connection = DriverManager.getConnection(at.jdbcUrl(), at.user(), at.password());
                var run = connection.createStatement()) {
            run.execute(statement);
        }
    }

    static void await(Callable<Boolean> condition) {
        await(Duration.ofSeconds(60), condition);
    }

    static void await(Duration atMost, Callable<Boolean> condition) {
        Awaitility.await()
                .atMost(atMost)
                .pollInterval(Duration.ofMillis(100))
                .ignoreExceptions()
                .until(condition);
    }

    @Override
    public void close() {
        standalone.close();
    }
}
