package io.millrace.standalone;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.millrace.config.ConfigLoader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What an instance does by itself, made to be due soon, and the limit of those who fill it. */
class UpkeepIT {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final HttpClient HTTP = HttpClient.newHttpClient();

    @TempDir
    static Path folder;

    private static Standalone standalone;

    @BeforeAll
    static void start() {
        standalone = Standalone.start(
                ConfigLoader.load(
                        Optional.empty(),
                        Map.of(),
                        Map.of(
                                "listen.port",
                                "0",
                                "limits.document-requests",
                                "20",
                                "knowledge.gc-every",
                                "2s",
                                "knowledge.gc-after",
                                "15s")),
                folder.resolve("data"),
                List.of(),
                line -> {});
    }

    @AfterAll
    static void stop() {
        standalone.close();
    }

    @Test
    void shouldDeleteWhatNobodyUsedWhenItIsTimeAndTellIt() throws Exception {
        assertThat(add("used.md", "The fulling stocks of Neukloster are lifted by Irmela Sasse.")
                        .statusCode())
                .isEqualTo(200);
        assertThat(add("unused.md", "Nobody asks for the colour of the miller's hat.")
                        .statusCode())
                .isEqualTo(200);
        assertThat(post("/search", "{\"query\":\"Who lifts the fulling stocks of Neukloster?\",\"limit\":1}")
                        .body())
                .contains("used.md");

        await(() -> sql("SELECT string_agg(path, ',') FROM documents WHERE source = 'upkeep'")
                .equals("used.md"));

        await(() -> sql("SELECT attributes ->> 'unused' FROM telemetry WHERE event_type = 'garbage_collected'"
                        + " AND attributes ->> 'why' = 'timer' AND attributes ->> 'unused' <> '0' LIMIT 1")
                .equals("1"));
        await(() -> !post("/search", "{\"query\":\"colour of the miller's hat\"}")
                .body()
                .contains("unused.md"));
        // it is not deleted later either: it was used
        String rounds = sql("SELECT begun_at FROM upkeep");
        await(() -> !sql("SELECT begun_at FROM upkeep").equals(rounds));
        assertThat(post("/search", "{\"query\":\"Who lifts the fulling stocks of Neukloster?\"}")
                        .body())
                .contains("used.md");
    }

    @Test
    void shouldTakeAThousandDocumentsAtOnceAndRefuseTooManyRequests() throws Exception {
        ObjectNode batch = JSON.createObjectNode();
        ArrayNode documents = batch.putArray("documents");
        for (int i = 0; i < 1_000; i++) {
            documents
                    .addObject()
                    .put("project", "batch")
                    .put("relative_path", i + ".md")
                    .put("content", "Sack number " + i + " holds rye.");
        }
        HttpResponse<String> taken = post("/documents/batch", batch.toString());
        assertThat(taken.statusCode()).as(taken.body()).isEqualTo(202);
        assertThat(JSON.readTree(taken.body()).path("document_ids")).hasSize(1_000);

        HttpResponse<String> last = taken;
        for (int i = 0; i < 40 && last.statusCode() != 429; i++) {
            last = post(
                    "/documents",
                    "{\"project\":\"single\",\"relative_path\":\"one.md\",\"content\":\"One sack of oats.\"}");
        }

        assertThat(last.statusCode()).isEqualTo(429);
        assertThat(last.headers().firstValueAsLong("Retry-After").orElse(0)).isBetween(1L, 3L);
        JsonNode problem = JSON.readTree(last.body());
        assertThat(problem.path("code").asText()).isEqualTo("rate_limited");
        assertThat(problem.path("detail").asText()).contains("20 requests a minute");
        assertThat(get("/metrics").body()).contains("millrace_gateway_limited_total{limit=\"documents\"");
        // queries go on, and so do documents after the time that was told
        assertThat(post("/search", "{\"query\":\"rye\"}").statusCode()).isEqualTo(200);
        Thread.sleep(Duration.ofSeconds(
                last.headers().firstValueAsLong("Retry-After").orElse(0)));
        assertThat(add("after.md", "One more sack.").statusCode()).isEqualTo(200);
    }

    private static HttpResponse<String> add(String path, String content) throws Exception {
        ObjectNode body = JSON.createObjectNode()
                .put("project", "upkeep")
                .put("relative_path", path)
                .put("content", content);
        HttpResponse<String> last = post("/documents?wait=true", body.toString());
        while (last.statusCode() == 429) {
            Thread.sleep(Duration.ofSeconds(
                    last.headers().firstValueAsLong("Retry-After").orElse(1)));
            last = post("/documents?wait=true", body.toString());
        }
        return last;
    }

    private static HttpResponse<String> post(String path, String body) throws Exception {
        return HTTP.send(
                HttpRequest.newBuilder(URI.create(standalone.url() + path))
                        .header("Content-Type", "application/json")
                        .POST(HttpRequest.BodyPublishers.ofString(body))
                        .build(),
                HttpResponse.BodyHandlers.ofString());
    }

    private static HttpResponse<String> get(String path) throws Exception {
        return HTTP.send(
                HttpRequest.newBuilder(URI.create(standalone.url() + path)).build(),
                HttpResponse.BodyHandlers.ofString());
    }

    private static String sql(String select) throws SQLException {
        io.millrace.standalone.parts.Endpoints at = standalone.endpoints();
        try (var connection = DriverManager.getConnection(at.jdbcUrl(), at.user(), at.password());
                var rows = connection.createStatement().executeQuery(select)) {
            return rows.next() ? String.valueOf(rows.getString(1)) : "";
        }
    }

    private static void await(java.util.concurrent.Callable<Boolean> condition) {
        Awaitility.await()
                .atMost(Duration.ofSeconds(90))
                .pollInterval(Duration.ofMillis(200))
                .ignoreExceptions()
                .until(condition);
    }
}
