package io.millrace.standalone;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.lettuce.core.RedisClient;
import io.millrace.bench.stub.StubUpstream;
import io.millrace.config.ConfigLoader;
import io.millrace.config.ConfigLoader.Loaded;
import io.millrace.standalone.error.UserException;
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
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Projections that are damaged, dropped and made anew from the log, and what clients see of them afterwards. */
class RebuildIT {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final HttpClient HTTP = HttpClient.newHttpClient();
    private static final int DOCUMENTS = 12;
    private static final Loaded CONFIG = ConfigLoader.load(Optional.empty(), Map.of(), Map.of("listen.port", "0"));

    @TempDir
    Path folder;

    @Test
    void shouldMakeEveryProjectionAnewAsTheLogHasIt() throws Exception {
        String interaction;
        String counts;
        try (Standalone standalone = start()) {
            for (int i = 0; i < DOCUMENTS; i++) {
                post(
                        standalone,
                        "/documents?wait=true",
                        "{\"project\":\"mill\",\"relative_path\":\"%d.md\",\"content\":\"Stone %d of the mill was dressed by Ortrud Nebel.\"}"
                                .formatted(i, i));
            }
            interaction = id(post(standalone, "/query", "{\"query\":\"Who dressed stone 3?\"}"));
            post(
                    standalone,
                    "/feedback",
                    "{\"interaction_id\":\"%s\",\"rating\":1,\"note\":\"good\"}".formatted(interaction));
            await(() -> sql(standalone, "SELECT count(*) FROM feedback").equals("1")
                    && sql(standalone, "SELECT count(*) FROM documents").equals(String.valueOf(DOCUMENTS))
                    && sql(standalone, "SELECT count(*) FROM interactions WHERE NOT synthetic")
                            .equals("1"));
            counts = counts(standalone);
            assertThat(sql(standalone, "SELECT sum(uses) FROM document_usage")).isNotEqualTo("null");

            assertThatThrownBy(() -> rebuild(Rebuild.What.INDEX, new ArrayList<>()))
                    .isInstanceOf(UserException.class);

            // as an operator's slip would
            execute(standalone, "UPDATE document_usage SET uses = 100");
            execute(standalone, "DELETE FROM documents WHERE path < '5'");
            execute(standalone, "UPDATE interactions SET outcome = 'invented'");
            execute(
                    standalone,
                    "INSERT INTO documents SELECT 'nobody', source, path, title, collection, checksum,"
                            + " trust, quarantined, size, modified_at, updated_at, metadata FROM documents LIMIT 1");
            flush(standalone);
        }

        List<String> said = new ArrayList<>();
        Rebuild.Result postgres = rebuild(Rebuild.What.POSTGRES, said);
        Rebuild.Result redis = rebuild(Rebuild.What.REDIS, said);
        Rebuild.Result index = rebuild(Rebuild.What.INDEX, said);

        assertThat(postgres.exact()).as("%s", postgres.counts()).isTrue();
        assertThat(postgres.counts())
                .containsEntry("documents", (long) DOCUMENTS)
                .containsEntry("feedback", 1L);
        assertThat(redis.exact()).as("%s", redis.counts()).isTrue();
        assertThat(redis.counts()).containsEntry("idempotency_keys", 1L);
        assertThat(index.exact()).as("%s", index.counts()).isTrue();
        assertThat(index.counts()).containsEntry("passages", (long) DOCUMENTS);
        assertThat(said)
                .anyMatch(line -> line.contains("documents 12"))
                .anyMatch(line -> line.contains("1 idempotency"));

        try (Standalone standalone = start()) {
            assertThat(sql(standalone, "SELECT count(*) FROM interactions WHERE outcome = 'invented'"))
                    .isEqualTo("0");
            assertThat(sql(standalone, "SELECT count(*) FROM documents WHERE document_id = 'nobody'"))
                    .isEqualTo("0");
            // a start proves itself with one more synthetic query
            await(() -> counts(standalone).equals(counts));
            assertThat(post(standalone, "/search", "{\"query\":\"stone dressed by Ortrud Nebel\",\"limit\":50}")
                            .body())
                    .contains("\"total\":" + DOCUMENTS);
            // the key still means its first interaction
            HttpResponse<String> repeat = post(standalone, "/query", "{\"query\":\"Who dressed stone 3?\"}");
            assertThat(id(repeat)).isEqualTo(interaction);
            assertThat(post(standalone, "/query", "{\"query\":\"Who broke stone 3?\"}")
                            .statusCode())
                    .isEqualTo(422);
        }
    }

    /** What people rejected must not be served again because Redis was lost. */
    @Test
    void shouldKnowARejectedPairOfQuestionsAgain() throws Exception {
        String knife = "How do I sharpen a kitchen knife?";
        String likeKnife = "How can I sharpen a kitchen knife?";
        try (StubUpstream remote = new StubUpstream("remote", 8, 5).start(0)) {
            Path yaml = Files.writeString(folder.resolve("millrace.yaml"), """
                    cache: {timeout: 5s}
                    backends:
                      remote:
                        kind: openai
                        deployments: [{name: remote, url: "%s", model: big, timeout: 15s}]
                    models:
                      plain: {retrieval: "off", add-context: false}
                    """.formatted(remote.url()));
            Loaded config = ConfigLoader.load(Optional.of(yaml), Map.of(), Map.of("listen.port", "0"));
            try (Standalone standalone = Standalone.start(config, folder.resolve("data"), List.of(), line -> {})) {
                await(() -> reason(chat(standalone, knife)).equals("cache_exact"));
                HttpResponse<String> served = chat(standalone, likeKnife);
                assertThat(reason(served)).isEqualTo("cache_semantic");
                post(standalone, "/feedback", "{\"interaction_id\":\"%s\",\"rating\":-1}".formatted(id(served)));
                await(() -> stats(standalone).path("rejected").asInt() == 1
                        && sql(standalone, "SELECT count(*) FROM interactions WHERE reason = 'cache_semantic'")
                                .equals("1"));
                JsonNode stats = stats(standalone);
                assertThat(stats.path("semantic").asInt()).isEqualTo(1);
                assertThat(stats.path("exact").asInt()).isPositive();
                assertThat(stats.path("asked").asInt())
                        .isGreaterThan(stats.path("exact").asInt() + 1);
                assertThat(stats.path("hit_percentage").asDouble()).isBetween(1.0, 99.0);
                assertThat(stats.path("approved").isIntegralNumber()).isTrue();
                assertThat(stats.path("approved").asInt()
                                + stats.path("evicted").asInt())
                        .isZero();
                flush(standalone);
            }

            List<String> said = new ArrayList<>();
            Rebuild.Result redis = Rebuild.run(config, folder.resolve("data"), Rebuild.What.REDIS, said::add);
            assertThat(redis.exact()).as("%s", redis.counts()).isTrue();
            assertThat(redis.counts()).containsEntry("bans", 1L);
            assertThat(said).anyMatch(line -> line.contains("1 rejections of cached answers"));

            try (Standalone standalone = Standalone.start(config, folder.resolve("data"), List.of(), line -> {})) {
                await(() -> reason(chat(standalone, knife)).equals("cache_exact"));
                await(() -> reason(chat(standalone, "How do I learn to play the violin?"))
                        .equals("cache_exact"));
                assertThat(reason(chat(standalone, "How can I learn to play the violin?")))
                        .as("the cache is at work")
                        .isEqualTo("cache_semantic");
                assertThat(reason(chat(standalone, likeKnife))).isNotEmpty().isNotIn("cache_semantic", "cache_exact");
            }
        }
    }

    private static HttpResponse<String> chat(Standalone standalone, String question) throws Exception {
        return HTTP.send(
                HttpRequest.newBuilder(URI.create(standalone.url() + "/v1/chat/completions"))
                        .header("Content-Type", "application/json")
                        .header("x-millrace-cache", "true")
                        .POST(HttpRequest.BodyPublishers.ofString(Stack.chatBody("plain", question, "")))
                        .build(),
                HttpResponse.BodyHandlers.ofString());
    }

    private static String reason(HttpResponse<String> response) {
        return response.headers().firstValue("x-millrace-reason").orElse("");
    }

    private static JsonNode stats(Standalone standalone) throws Exception {
        HttpRequest request =
                HttpRequest.newBuilder(URI.create(standalone.url() + "/stats")).build();
        return json(HTTP.send(request, HttpResponse.BodyHandlers.ofString())).path("cache");
    }

    private static void flush(Standalone standalone) {
        RedisClient client = RedisClient.create(standalone.endpoints().redisUrl());
        client.connect().sync().flushall();
        client.shutdown();
    }

    private Standalone start() {
        return Standalone.start(CONFIG, folder.resolve("data"), List.of(), line -> {});
    }

    private Rebuild.Result rebuild(Rebuild.What what, List<String> said) {
        return Rebuild.run(CONFIG, folder.resolve("data"), what, said::add);
    }

    private static String counts(Standalone standalone) throws SQLException {
        return sql(standalone, """
                SELECT (SELECT count(*) FROM documents) || ' ' || (SELECT count(*) FROM feedback) || ' '
                    || (SELECT count(*) FROM interactions WHERE NOT synthetic) || ' '
                    || (SELECT count(*) FROM decisions WHERE NOT synthetic) || ' '
                    || (SELECT coalesce(sum(uses), 0) FROM document_usage)
                """);
    }

    private static String id(HttpResponse<String> response) throws Exception {
        return response.headers()
                .firstValue("x-millrace-interaction-id")
                .orElse(json(response).path("interaction_id").asText());
    }

    private static JsonNode json(HttpResponse<String> response) throws Exception {
        return JSON.readTree(response.body());
    }

    private static HttpResponse<String> post(Standalone standalone, String path, String body) throws Exception {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(standalone.url() + path))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body));
        if (path.equals("/query")) {
            request.header("Idempotency-Key", "stone-3");
        }
        return HTTP.send(request.build(), HttpResponse.BodyHandlers.ofString());
    }

    private static String sql(Standalone standalone, String select) throws SQLException {
        var at = standalone.endpoints();
        try (var connection = DriverManager.getConnection(at.jdbcUrl(), at.user(), at.password());
                var rows = connection.createStatement().executeQuery(select)) {
            return rows.next() ? String.valueOf(rows.getString(1)) : "";
        }
    }

    private static void execute(Standalone standalone, String statement) throws SQLException {
        var at = standalone.endpoints();
        try (var connection = DriverManager.getConnection(at.jdbcUrl(), at.user(), at.password());
                var run = connection.createStatement()) {
            run.execute(statement);
        }
    }

    private static void await(java.util.concurrent.Callable<Boolean> condition) {
        Awaitility.await()
                .atMost(Duration.ofSeconds(60))
                .pollInterval(Duration.ofMillis(100))
                .ignoreExceptions()
                .until(condition);
    }
}
