package io.millrace.gateway;

import static io.millrace.gateway.GatewayHarness.CHAT;
import static io.millrace.gateway.GatewayHarness.json;
import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import io.millrace.id.Ids;
import io.millrace.schema.Query;
import io.vertx.core.json.JsonObject;
import java.io.IOException;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import org.apache.kafka.common.TopicPartition;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Interactions by id, on a real Postgres with the columns that the gateway reads. */
class InteractionsTest {
    private static TestProjection projection;
    private static GatewayHarness harness;

    @BeforeAll
    static void start() throws IOException, SQLException {
        projection = new TestProjection();
        harness = new GatewayHarness(
                GatewayHarness.config(Duration.ofSeconds(20), 64),
                new Gateway.Surroundings(
                        projection.url(),
                        "postgres",
                        "",
                        Map::of,
                        List::of,
                        Map.of("postgres", projection.url(), "redis", "redis://127.0.0.1:1")));
        // the first connection may take longer than a request waits for it
        await().until(() -> harness.get("/interactions/" + Ids.next()).statusCode() == 404);
    }

    @AfterAll
    static void stop() throws IOException {
        harness.close();
        projection.close();
    }

    private static void store(String id, String outcome) throws SQLException {
        String record = new JsonObject()
                .put("interaction_id", id)
                .put("outcome", outcome)
                .put("route", "local")
                .put("backend", "llama")
                .put("confidence", 0.5)
                .put("answer", new JsonObject().put("text", "kept").put("tokens_in", 1))
                .encode();
        projection.sql("insert into interactions values ('" + id + "', now(), '" + record + "')");
    }

    private static void decide(String id, int attempt) throws SQLException {
        projection.sql("insert into decisions values ('" + id + "', " + attempt + ", '{\"attempt\":" + attempt + "}')");
    }

    @Test
    void shouldShowTheRecordWithDecisionsInOrderAndFeedback() throws SQLException {
        String id = Ids.next();
        store(id, "answered");
        decide(id, 2);
        decide(id, 1);
        projection.sql("insert into feedback values ('" + Ids.next() + "', '" + id + "', '{\"rating\":1}')");

        HttpResponse<String> response = harness.get("/interactions/" + id);

        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        JsonObject body = json(response);
        assertThat(body.getJsonObject("interaction").getString("outcome")).isEqualTo("answered");
        assertThat(body.getJsonArray("decisions").getJsonObject(0).getInteger("attempt"))
                .isEqualTo(1);
        assertThat(body.getJsonArray("decisions")).hasSize(2);
        assertThat(body.getJsonArray("feedback").getJsonObject(0).getInteger("rating"))
                .isEqualTo(1);
    }

    @Test
    void shouldSay404WhenNobodyKnowsTheId() {
        assertThat(harness.get("/interactions/" + Ids.next()).statusCode()).isEqualTo(404);
    }

    /** A sink that is behind made answers that were given long ago unknown, and their ratings slips of the pen. */
    @Test
    void shouldSayThatTheProjectionIsBehindBeforeItSaysThatNobodyKnowsTheRatedId() throws SQLException {
        String id = Ids.first(System.currentTimeMillis() - 3_600_000);
        harness.wire.offsets =
                Map.of(new TopicPartition("interactions", 0), 5L, new TopicPartition("interactions", 1), 2L);
        projection.sql(
                "insert into sink_offsets values ('interactions', 0, 4), ('interactions', 1, 2), ('queries', 0, 9)");

        HttpResponse<String> behind = harness.post("/feedback/" + id, "{\"rating\":1}");

        assertThat(behind.statusCode()).as(behind.body()).isEqualTo(503);
        assertThat(json(behind).getString("code")).isEqualTo("projection_behind");
        assertThat(behind.headers().firstValue("Retry-After")).hasValue("1");
        projection.sql("update sink_offsets set next_offset = 5 where topic = 'interactions' and partition = 0");
        assertThat(harness.post("/feedback/" + id, "{\"rating\":1}").statusCode())
                .isEqualTo(404);
        store(id, "answered");
        assertThat(harness.post("/feedback/" + id, "{\"rating\":1}").statusCode())
                .isEqualTo(200);
    }

    @Test
    void shouldSay202WhenItIsDecidedButHasNotEnded() throws SQLException {
        String id = Ids.next();
        decide(id, 1);

        HttpResponse<String> response = harness.get("/interactions/" + id);

        assertThat(response.statusCode()).isEqualTo(202);
        assertThat(json(response).getString("status")).isEqualTo("in_progress");
    }

    @Test
    void shouldSay202WhenThisGatewayTookItAndTheProjectionLags() {
        HttpResponse<String> accepted = harness.post("/route", "{\"query\":\"x\"}", "Prefer", "respond-async");
        String location = accepted.headers().firstValue("location").orElseThrow();
        assertThat(harness.get(location).statusCode()).isEqualTo(202);

        Query query = harness.wire.sent(Query.class).getLast();
        harness.wire.reply(FakeWire.answer(query, 0, "done"));

        assertThat(harness.get(location).statusCode()).isEqualTo(202);
    }

    @Test
    void shouldWaitForTheEndWhenAskedTo() throws Exception {
        String id = Ids.next();
        decide(id, 1);
        CompletableFuture<HttpResponse<String>> waiting = harness.http()
                .sendAsync(
                        HttpRequest.newBuilder(harness.uri("/hybrid/interactions/" + id + "?wait=10"))
                                .build(),
                        BodyHandlers.ofString());
        // it has looked, and not found it
        Thread.sleep(500);
        assertThat(waiting).isNotDone();

        store(id, "answered");

        assertThat(waiting.join().statusCode()).isEqualTo(200);
    }

    @Test
    void shouldAnswerFromTheProjectionWhenTheKeyBelongsToAnInteractionOfAnotherProcess() throws SQLException {
        String id = Ids.next();
        store(id, "answered");
        InteractionStore store = new InteractionStore(projection.url(), "postgres", "");
        try (store) {
            InteractionStore.Found found = store.find(id);

            assertThat(found)
                    .isInstanceOfSatisfying(
                            InteractionStore.Found.Ended.class,
                            ended -> assertThat(ended.outcome())
                                    .isInstanceOfSatisfying(Outcome.Answered.class, answered -> {
                                        assertThat(answered.reply().getInteractionId())
                                                .isEqualTo(id);
                                        assertThat(Face.answerOf(answered.reply())
                                                        .getText())
                                                .isEqualTo("kept");
                                        assertThat(answered.reply().getConfidence())
                                                .isEqualTo(0.5);
                                    }));
        }
    }

    @Test
    void shouldSayWhichPartsAnswerInItsStatus() {
        JsonObject status = json(harness.get("/status"));

        assertThat(status.getJsonObject("reachable").getBoolean("postgres")).isTrue();
        assertThat(status.getJsonObject("reachable").getBoolean("redis")).isFalse();
        assertThat(status.getJsonObject("services").getBoolean("gateway")).isTrue();
        assertThat(status.getJsonObject("local_llm").getString("status")).isEqualTo("unknown");
        assertThat(harness.post(CHAT, "{}").statusCode()).isEqualTo(400);
    }
}
