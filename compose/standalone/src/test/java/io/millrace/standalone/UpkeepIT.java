package io.millrace.standalone;

import static io.millrace.standalone.Live.JSON;
import static io.millrace.standalone.Live.await;
import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.millrace.standalone.parts.Endpoints;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.Statement;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What an instance does by itself, made to be due soon, and the limit of those who fill it. */
class UpkeepIT {
    private static final Duration PATIENCE = Duration.ofSeconds(90);

    @TempDir
    static Path folder;

    private static Live live;

    @BeforeAll
    static void start() {
        live = Live.start(
                folder.resolve("data"),
                Map.of("limits.document-requests", "20", "knowledge.gc-every", "2s", "knowledge.gc-after", "40s"));
    }

    @AfterAll
    static void stop() {
        live.close();
    }

    @Test
    void shouldDeleteWhatNobodyUsedWhenItIsTimeAndTellIt() throws Exception {
        assertThat(add("used.md", "The fulling stocks of Neukloster are lifted by Irmela Sasse.")
                        .statusCode())
                .isEqualTo(200);
        assertThat(add("unused.md", "Nobody asks for the colour of the miller's hat.")
                        .statusCode())
                .isEqualTo(200);
        assertThat(live.post("/search", "{\"query\":\"Who lifts the fulling stocks of Neukloster?\",\"limit\":1}")
                        .body())
                .contains("used.md");

        await(
                PATIENCE,
                () -> live.sql("SELECT string_agg(path, ',') FROM documents WHERE path IN ('used.md', 'unused.md')")
                        .equals("used.md"));

        await(
                PATIENCE,
                () -> Integer.parseInt(live.sql("SELECT count(*) FROM telemetry WHERE event_type = 'garbage_collected'"
                                + " AND attributes ->> 'why' = 'timer' AND attributes ->> 'unused' <> '0'"))
                        > 0);
        await(
                PATIENCE,
                () -> !live.post("/search", "{\"query\":\"colour of the miller's hat\"}")
                        .body()
                        .contains("unused.md"));
        // it is not deleted later either: it was used
        String rounds = live.sql("SELECT begun_at FROM upkeep");
        await(PATIENCE, () -> !live.sql("SELECT begun_at FROM upkeep").equals(rounds));
        assertThat(live.post("/search", "{\"query\":\"Who lifts the fulling stocks of Neukloster?\"}")
                        .body())
                .contains("used.md");
    }

    /** What is used and not counted yet would be deleted as unused. */
    @Test
    void shouldNotLookForUnusedDocumentsWhenPostgresIsBehindTheLog() throws Exception {
        assertThat(add("behind.md", "Wendelin Brake oils the hursting of the upper stone.")
                        .statusCode())
                .isEqualTo(200);
        Endpoints at = live.standalone().endpoints();
        try (Connection sinkStands = DriverManager.getConnection(at.jdbcUrl(), at.user(), at.password());
                Statement lock = sinkStands.createStatement()) {
            sinkStands.setAutoCommit(false);
            lock.execute("LOCK TABLE sink_offsets IN EXCLUSIVE MODE");
            assertThat(live.post("/search", "{\"query\":\"Who oils the hursting?\",\"limit\":1}")
                            .body())
                    .contains("behind.md");

            await(PATIENCE, () -> gc().statusCode() == 503);

            assertThat(JSON.readTree(gc().body()).path("code").asText()).isEqualTo("projection_behind");
            sinkStands.rollback();
        }
        AtomicReference<String> collected = new AtomicReference<>("");
        await(PATIENCE, () -> {
            HttpResponse<String> response = gc();
            collected.set(response.body());
            return response.statusCode() == 200;
        });
        assertThat(collected.get()).doesNotContain("behind.md");
    }

    private static HttpResponse<String> gc() throws Exception {
        return live.post("/gc", "{\"dry_run\":true,\"older_than_days\":0}");
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
        HttpResponse<String> taken = live.post("/documents/batch", batch.toString());
        assertThat(taken.statusCode()).as(taken.body()).isEqualTo(202);
        assertThat(JSON.readTree(taken.body()).path("document_ids")).hasSize(1_000);

        HttpResponse<String> last = taken;
        for (int i = 0; i < 40 && last.statusCode() != 429; i++) {
            last = live.post(
                    "/documents",
                    "{\"project\":\"single\",\"relative_path\":\"one.md\",\"content\":\"One sack of oats.\"}");
        }

        assertThat(last.statusCode()).isEqualTo(429);
        assertThat(last.headers().firstValueAsLong("Retry-After").orElse(0)).isBetween(1L, 3L);
        JsonNode problem = JSON.readTree(last.body());
        assertThat(problem.path("code").asText()).isEqualTo("rate_limited");
        assertThat(problem.path("detail").asText()).contains("20 requests a minute");
        assertThat(live.get("/metrics").body()).contains("millrace_gateway_limited_total{limit=\"documents\"");
        // queries go on, and so do documents after the time that was told
        assertThat(live.post("/search", "{\"query\":\"rye\"}").statusCode()).isEqualTo(200);
        Thread.sleep(Duration.ofSeconds(
                last.headers().firstValueAsLong("Retry-After").orElse(0)));
        assertThat(add("after.md", "One more sack.").statusCode()).isEqualTo(200);
    }

    private static HttpResponse<String> add(String path, String content) throws Exception {
        ObjectNode body = JSON.createObjectNode()
                .put("project", "upkeep")
                .put("relative_path", path)
                .put("content", content);
        HttpResponse<String> last = live.post("/documents?wait=true", body.toString());
        while (last.statusCode() == 429) {
            Thread.sleep(Duration.ofSeconds(
                    last.headers().firstValueAsLong("Retry-After").orElse(1)));
            last = live.post("/documents?wait=true", body.toString());
        }
        return last;
    }
}
