package io.millrace.gateway;

import static io.millrace.gateway.GatewayHarness.CHAT;
import static io.millrace.gateway.GatewayHarness.json;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.tuple;
import static org.awaitility.Awaitility.await;

import io.millrace.config.ConfigLoader;
import io.millrace.config.MillraceConfig;
import io.millrace.config.MillraceConfig.Listen;
import io.millrace.schema.BackendStatus;
import io.millrace.schema.Command;
import io.millrace.schema.Query;
import io.millrace.schema.RawDocument;
import io.vertx.core.json.JsonArray;
import io.vertx.core.json.JsonObject;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** What operators see. */
class OperationsTest {
    private static final String HI = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";

    private GatewayHarness harness;

    @BeforeEach
    void start() {
        harness = new GatewayHarness();
    }

    @AfterEach
    void stop() {
        harness.close();
    }

    @Test
    void shouldCountWhatItSaw() {
        JsonObject before = json(harness.get("/stats"));
        assertThat(before.getInteger("total_queries")).isZero();
        // nothing is known, which is not 0 %
        assertThat(before.getValue("local_percentage")).isNull();
        assertThat(before.getValue("average_latency_ms")).isNull();

        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.answer(query, 0, "a"));
        harness.post(CHAT, HI);
        harness.post(CHAT, HI);
        harness.wire.onQuery = (wire, query) ->
                wire.reply(FakeWire.answer(query, 0, "a").setBackend("cloud").setRoute("remote"));
        harness.post(CHAT, HI);
        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.error(query, 0, "overloaded", 503));
        harness.post(CHAT, HI);

        JsonObject stats = json(harness.get("/stats"));
        assertThat(stats.getInteger("total_queries")).isEqualTo(4);
        assertThat(stats.getInteger("local_route")).isEqualTo(2);
        assertThat(stats.getInteger("remote_route")).isEqualTo(1);
        assertThat(stats.getDouble("local_percentage")).isEqualTo(66.7);
        assertThat(stats.getDouble("average_latency_ms")).isPositive();
        // 8 tokens at $0.1 each there, $0.25 here, twice
        assertThat(stats.getDouble("total_cost_saved")).isEqualTo(1.1, org.assertj.core.data.Offset.offset(1e-9));
        assertThat(stats.getValue("patterns_learned")).isNull();
        assertThat(stats.getJsonObject("outcomes").getInteger("failed")).isEqualTo(1);
        assertThat(stats.getJsonObject("routes").getInteger("remote")).isEqualTo(1);
    }

    /** Those without a reply were in no route, and those that the log refused in total_queries. */
    @Test
    void shouldCountEveryAcceptedQueryOnceByRouteWhenSomeEndWithoutOne() throws Exception {
        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.answer(query, 0, "a"));
        harness.post(CHAT, HI);
        harness.gateway.probe().get(60, TimeUnit.SECONDS);
        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.error(query, 0, "overloaded", 503));
        harness.post(CHAT, HI);
        harness.wire.onQuery = (wire, query) -> {};
        assertThat(harness.post("/query", "{\"query\":\"x\",\"llm_timeout_s\":1}")
                        .statusCode())
                .isEqualTo(504);
        CompletableFuture<HttpResponse<String>> whole =
                harness.http().sendAsync(chat(HI), HttpResponse.BodyHandlers.ofString());
        await().until(() -> harness.wire.sent(Query.class).size() == 5);
        whole.cancel(true);
        await().until(() -> harness.wire.sent(Command.class).size() == 1);
        harness.wire.onQuery =
                (wire, query) -> wire.reply(FakeWire.delta(query, 0, "{}").setRoute("remote"));
        harness.http()
                .send(chat("{\"stream\":true," + HI.substring(1)), HttpResponse.BodyHandlers.ofInputStream())
                .body()
                .close();
        await().until(() -> harness.wire.sent(Command.class).size() == 2);
        harness.wire.down = true;
        assertThat(harness.post(CHAT, HI).statusCode()).isEqualTo(503);

        JsonObject stats = json(harness.get("/stats"));
        assertThat(stats.getJsonObject("routes").getMap())
                .isEqualTo(Map.<String, Object>of("local", 2, "none", 2, "remote", 1));
        assertThat(stats.getJsonObject("outcomes").getMap())
                .isEqualTo(Map.<String, Object>of("answered", 1, "failed", 2, "cancelled", 2));
        assertThat(stats.getInteger("total_queries")).isEqualTo(5);
        assertThat(harness.get("/metrics").body())
                .contains("millrace_gateway_accepted_total 5.0")
                .contains("hybrid_route_decisions_total{route=\"local\"} 2.0")
                .contains("hybrid_route_decisions_total{route=\"none\"} 2.0")
                .contains("hybrid_route_decisions_total{route=\"remote\"} 1.0");
    }

    private HttpRequest chat(String body) {
        return HttpRequest.newBuilder(harness.uri(CHAT))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build();
    }

    @Test
    void shouldCountCachedAnswersAndWhatWasHeardOfThem() {
        JsonObject before = json(harness.get("/stats")).getJsonObject("cache");
        assertThat(before.getInteger("asked")).isZero();
        assertThat(before.getValue("hit_percentage")).isNull();
        assertThat(before.getValue("rejected")).as("retrieval runs elsewhere").isNull();

        for (String kind : List.of("", "exact", "semantic", "semantic")) {
            harness.wire.onQuery =
                    (wire, query) -> wire.reply(FakeWire.answer(query, 0, "a").setCachedKind(kind));
            harness.post(CHAT, HI, "x-millrace-cache", "true");
        }
        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.answer(query, 0, "a"));
        harness.post(CHAT, HI);

        JsonObject cache = json(harness.get("/stats")).getJsonObject("cache");
        assertThat(cache.getInteger("asked")).isEqualTo(4);
        assertThat(cache.getInteger("exact")).isEqualTo(1);
        assertThat(cache.getInteger("semantic")).isEqualTo(2);
        assertThat(cache.getDouble("hit_percentage")).isEqualTo(75.0);
    }

    @Test
    void shouldExportThePredecessorsMetricsFromTheFirstMoment() {
        HttpResponse<String> response = harness.get("/metrics");

        assertThat(response.headers().firstValue("content-type").orElseThrow()).startsWith("text/plain");
        assertThat(response.body())
                .contains("hybrid_request_latency_seconds_count")
                .contains("hybrid_route_decisions_total{route=\"local\"} 0.0")
                .contains("millrace_gateway_in_flight 0.0");
    }

    @Test
    void shouldShowTheLocalModelsLoading() {
        harness.wire.state(BackendStatus.newBuilder()
                .setDeployment("llama-1")
                .setBackend("llama")
                .setLoading(true)
                .setQueueDepth(2)
                .setModel("qwen")
                .build());

        JsonObject local = json(harness.get("/status")).getJsonObject("local_llm");

        assertThat(local.getString("status")).isEqualTo("loading");
        assertThat(local.getBoolean("loading")).isTrue();
        assertThat(local.getString("model_name")).isEqualTo("qwen");
        assertThat(local.getInteger("queue_depth")).isEqualTo(2);
        assertThat(local.getInteger("queue_max")).isEqualTo(10);
        assertThat(local.getString("url")).isEqualTo("http://127.0.0.1:9");
    }

    @Test
    void shouldListModelsWithAliasesAndBackends() {
        JsonArray data = json(harness.get("/v1/models")).getJsonArray("data");

        assertThat(data.stream().map(JsonObject.class::cast).map(model -> model.getString("id")))
                .contains("millrace", "millrace/local", "gpt", "gpt-4o", "llama", "cloud", "extractive");
    }

    /** Before that, every source would be unknown, and a client could write into one. */
    @Test
    void shouldSayThatItStartsWhileTheSourcesAreNotReadFromTheLog() {
        String document = "{\"project\":\"notes\",\"relative_path\":\"a.md\",\"content\":\"x\"}";
        harness.starting.set(true);

        for (HttpResponse<String> response : List.of(
                harness.get("/sources"),
                harness.post("/sources/notes/sync", ""),
                harness.post("/documents", document))) {
            assertThat(response.statusCode()).as(response.body()).isEqualTo(503);
            assertThat(json(response).getString("code")).isEqualTo("starting");
            assertThat(response.headers().firstValue("Retry-After")).hasValue("1");
        }

        harness.starting.set(false);
        assertThat(json(harness.get("/sources")).getJsonArray("sources")).hasSize(1);
        assertThat(harness.post("/sources/notes/sync", "").statusCode()).isEqualTo(202);
        assertThat(harness.post("/sources/nobody/sync", "").statusCode()).isEqualTo(404);
        assertThat(harness.post("/documents", document).statusCode()).isEqualTo(409);
    }

    /** A browser sends a POST without a body, or with a form's, to another origin without asking first. */
    @Test
    void shouldReadNoSourceForAPageOfAnotherOrigin() {
        String sync = "/sources/notes/sync";
        String[] page = {"Origin", "https://evil.example", "Content-Type", "text/plain"};

        HttpResponse<String> refused = harness.post(sync, "", page);

        assertThat(refused.statusCode()).as(refused.body()).isEqualTo(415);
        assertThat(harness.wire.sent(Command.class)).isEmpty();
        assertThat(harness.post(sync, "", "Content-Type", "text/plain").statusCode())
                .isEqualTo(202);
        page[3] = "application/json";
        assertThat(harness.post(sync, "{}", page).statusCode()).isEqualTo(202);
        assertThat(harness.wire.sent(Command.class)).hasSize(2);
    }

    /** Its path is stored without the secret that it had, and names no document. */
    @Test
    void shouldDeleteADocumentByItsIdAloneAndNameTheParameterThatIsWrong() {
        String id = "0123456789abcdef0123456789abcdef";
        harness.places.put(id, new SearchPort.Place("wiki", "dir/[REDACTED:api_key].md"));
        harness.places.put("f".repeat(32), new SearchPort.Place("notes", "a.md"));

        HttpResponse<String> deleted = harness.delete("/documents?id=" + id);

        assertThat(deleted.statusCode()).as(deleted.body()).isEqualTo(202);
        assertThat(json(deleted).getJsonArray("document_ids")).containsExactly(id);
        harness.delete("/documents?project=wiki&relative_path=b.md");
        assertThat(harness.wire.sent(RawDocument.class))
                .extracting(RawDocument::getSource, RawDocument::getDocumentId, RawDocument::getDeleted)
                .containsExactly(tuple("wiki", id, true), tuple("wiki", "", true));
        Map.of(
                        "id=" + id + "&relative_path=a.md",
                        "400 id",
                        "id=" + id + "&project=wiki",
                        "400 id",
                        "id=nonsense",
                        "400 id",
                        "project=wiki",
                        "400 relative_path",
                        "id=" + "0".repeat(32),
                        "404 id",
                        "id=" + "f".repeat(32),
                        "409 id")
                .forEach((query, expected) -> {
                    HttpResponse<String> refused = harness.delete("/documents?" + query);
                    assertThat(refused.statusCode() + " " + json(refused).getString("field"))
                            .as(query)
                            .isEqualTo(expected);
                });
    }

    @Test
    void shouldServeHealthConfigAndTheContractUnderAllPrefixes() {
        for (String prefix : List.of("", "/aidb", "/hybrid", "/ralph", "/embeddings")) {
            assertThat(json(harness.get(prefix + "/health")).getString("status"))
                    .isEqualTo("healthy");
            assertThat(harness.get(prefix + "/health/live").statusCode()).isEqualTo(200);
            assertThat(harness.get(prefix + "/health/ready").statusCode()).isEqualTo(200);
            assertThat(harness.get(prefix + "/health/startup").statusCode()).isEqualTo(200);
            assertThat(json(harness.get(prefix + "/health/detailed"))
                            .getJsonObject("services")
                            .containsKey("gateway"))
                    .isTrue();
            assertThat(json(harness.get(prefix + "/config"))
                            .getJsonObject("listen.port")
                            .getString("origin"))
                    .isEqualTo("default");
            assertThat(harness.get(prefix + "/openapi.yaml").body())
                    .contains("openapi: \"3.1.0\"")
                    .contains("nixos-docs")
                    .contains("text/event-stream");
        }
    }

    @Test
    void shouldSayInOneLineThatThePortIsTaken() {
        MillraceConfig config = GatewayHarness.config(Duration.ofSeconds(5), 8);
        MillraceConfig same = listening(config, "127.0.0.1", harness.gateway.port());

        assertThatThrownBy(() -> new GatewayHarness(same))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("port " + harness.gateway.port() + " is taken")
                .message()
                .hasLineCount(1);
    }

    @Test
    void shouldRefuseAnAddressThatIsNotLoopback() {
        MillraceConfig config = GatewayHarness.config(Duration.ofSeconds(5), 8);

        assertThatThrownBy(() -> new GatewayHarness(listening(config, "0.0.0.0", 0)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("loopback");
    }

    /** What a client would read there was the default of this repository, whatever the configuration said. */
    @Test
    void shouldSayInTheContractWhatTheConfigurationSays() {
        MillraceConfig config = ConfigLoader.load(
                        Optional.empty(), Map.of(), Map.of("retrieval.limit", "7", "knowledge.gc-after", "30d"))
                .config();
        try (GatewayHarness other = new GatewayHarness(listening(config, "127.0.0.1", 0))) {
            assertThat(other.get("/openapi.yaml").body())
                    .containsPattern("(?s)keyword_limit:.{0,200}default: 7\n")
                    .containsPattern("(?s)older_than_days:.{0,200}default: 30\n")
                    .doesNotContain("default: 5\n")
                    .doesNotContain("default: 180\n");
        }
    }

    /** It said 0, with which everything would go. */
    @Test
    void shouldSayNoNumberOfDaysWhenTheConfigurationSaysHours() {
        MillraceConfig config = ConfigLoader.load(Optional.empty(), Map.of(), Map.of("knowledge.gc-after", "36h"))
                .config();
        try (GatewayHarness other = new GatewayHarness(listening(config, "127.0.0.1", 0))) {
            assertThat(other.get("/openapi.yaml").body())
                    .containsPattern(
                            "older_than_days:\\s+type: \"integer\"\\s+minimum: 0\\s+maximum: 36500\\s+description");
        }
    }

    /** A whole batch of documents comes at once: with a small limit it never got through. */
    @Test
    void shouldHaveRoomForBatchesWhateverIsInFlight() {
        assertThat(Gateway.backlog(GatewayHarness.config(Duration.ofSeconds(20), 64)))
                .isGreaterThanOrEqualTo(2_000);
    }

    private static MillraceConfig listening(MillraceConfig config, String host, int port) {
        return new MillraceConfig(
                new Listen(host, port, List.of()),
                config.kafka(),
                config.retention(),
                config.registry(),
                config.postgres(),
                config.redis(),
                config.backends(),
                config.models(),
                config.routing(),
                config.retrieval(),
                config.knowledge(),
                config.cache(),
                config.dispatch(),
                config.limits(),
                config.collections(),
                config.connect());
    }
}
