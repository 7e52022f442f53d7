package io.millrace.gateway;

import static io.millrace.gateway.GatewayHarness.CHAT;
import static io.millrace.gateway.GatewayHarness.json;
import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import io.millrace.gateway.IdempotencyKeys.Holder;
import io.millrace.id.Ids;
import io.millrace.schema.Query;
import io.vertx.core.json.JsonArray;
import io.vertx.core.json.JsonObject;
import java.io.IOException;
import java.net.http.HttpResponse;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.TopicPartition;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Repeats of a key that another gateway took, or this one long ago: all that is left of the first is its id in Redis and its record. */
class KeysElsewhereTest {
    private static final String CHAT_BODY = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    private static final TopicPartition INTERACTIONS = new TopicPartition("interactions", 0);

    private static TestProjection projection;
    private static TestRedis redis;
    private static RedisKeyStore keys;
    private static GatewayHarness harness;

    @BeforeAll
    static void start() throws IOException, SQLException {
        projection = new TestProjection();
        redis = new TestRedis();
        keys = new RedisKeyStore(redis.url(), GatewayHarness.PATIENCE);
        harness = new GatewayHarness(
                GatewayHarness.config(Duration.ofSeconds(20), 64),
                new Gateway.Surroundings(projection.url(), "postgres", "", Map::of, List::of, Map.of(), redis.url()));
        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.answer(query, 0, "anew"));
        // both are connected when a key that was taken here is known there
        await().until(() -> {
            String key = "warm " + System.nanoTime();
            hold(key, Ids.next());
            return post(CHAT, CHAT_BODY, key).statusCode() == 409;
        });
    }

    @AfterAll
    static void stop() throws IOException {
        harness.close();
        keys.close();
        redis.close();
        projection.close();
    }

    @BeforeEach
    void projectionIsThere() throws SQLException {
        harness.wire.offsets = Map.of(INTERACTIONS, 7L);
        projection.sql("delete from sink_offsets");
        projection.sql("insert into sink_offsets values ('interactions', 0, 7)");
    }

    /** As a gateway does before it sends its query. */
    private static void hold(String key, String id) {
        Query query = Query.newBuilder().setIdempotencyKey(key).build();
        keys.claim(IdempotencyKeys.of(query), new Holder(id, ""))
                .toCompletableFuture()
                .join();
    }

    private static void record(String id, boolean stored) throws SQLException {
        record(id, stored, stored ? "kept" : "");
    }

    private static void record(String id, boolean stored, String text) throws SQLException {
        JsonObject record = new JsonObject()
                .put("interaction_id", id)
                .put("outcome", "answered")
                .put("stored", stored)
                .put("route", "local")
                .put("backend", "llama")
                .put("attempts", new JsonArray().add(new JsonObject()).add(new JsonObject()))
                .put("search", new JsonObject().put("used", new JsonArray().add("p1")))
                .put("answer", new JsonObject().put("text", text).put("message", ""));
        projection.sql("insert into interactions values ('" + id + "', now(), '" + record.encode() + "')");
    }

    private static HttpResponse<String> post(String path, String body, String key, String... more) {
        String[] headers = new String[more.length + 2];
        headers[0] = "Idempotency-Key";
        headers[1] = key;
        System.arraycopy(more, 0, headers, 2, more.length);
        return harness.post(path, body, headers);
    }

    private static int asked() {
        return harness.wire.sent(Query.class).size();
    }

    private static void assertNotKept(HttpResponse<String> response, String id) {
        assertThat(response.statusCode()).as(response.body()).isEqualTo(410);
        assertThat(response.body()).contains("answer_not_kept").contains(id);
        assertThat(response.headers().firstValue("x-millrace-interaction-id")).hasValue(id);
    }

    /** Code with another password in it is another answer. */
    @Test
    void shouldNotAnswerAgainWithWhatWasRedacted() throws SQLException {
        String id = Ids.next();
        record(id, true, "mysql --password=[REDACTED:password]");
        hold("redacted", id);

        assertNotKept(post(CHAT, CHAT_BODY, "redacted"), id);
    }

    @Test
    void shouldAnswerAgainWhenTheRecordHoldsTheWholeAnswer() throws SQLException {
        String id = Ids.next();
        record(id, true);
        hold("chat", id);
        hold("route", id);
        int before = asked();

        assertThat(post(CHAT, CHAT_BODY, "chat").body()).contains("\"content\":\"kept\"");
        JsonObject routed = json(post("/route", "{\"query\":\"hi\"}", "route"));

        assertThat(routed.getString("response")).isEqualTo("kept");
        assertThat(routed.getJsonObject("decision").getInteger("attempt")).isEqualTo(2);
        assertThat(routed.getJsonObject("decision").getBoolean("context_added")).isTrue();
        assertThat(asked()).isEqualTo(before);
    }

    @Test
    void shouldSayThatTheAnswerIsNotKeptWhenItsTextIsNot() throws SQLException {
        String id = Ids.next();
        record(id, false);
        hold("not stored", id);
        hold("not stored, streamed", id);
        String body = CHAT_BODY.replace("}]}", "}],\"store\":false}");

        assertNotKept(post(CHAT, body, "not stored"), id);
        assertNotKept(post(CHAT, body.replace("false}", "false,\"stream\":true}"), "not stored, streamed"), id);
    }

    @Test
    void shouldSayThatTheAnswerIsNotKeptWhenItsHitsOrChoicesAreNot() throws SQLException {
        String id = Ids.next();
        record(id, true);
        List.of("search", "augment", "context", "choices").forEach(key -> hold(key, id));

        assertNotKept(post("/query", "{\"query\":\"pin nixpkgs\"}", "search"), id);
        assertNotKept(post("/augment_query", "{\"query\":\"pin nixpkgs\"}", "augment"), id);
        assertNotKept(post("/context/multi_turn", "{\"query\":\"pin nixpkgs\",\"session_id\":\"s\"}", "context"), id);
        assertNotKept(post(CHAT, CHAT_BODY.replace("}]}", "}],\"n\":3}"), "choices"), id);
    }

    @Test
    void shouldSayWhereTheAnswerIsWhenTheClientDoesNotWait() throws SQLException {
        String id = Ids.next();
        record(id, true);
        hold("async", id);

        HttpResponse<String> response = post("/query", "{\"query\":\"hi\"}", "async", "Prefer", "respond-async");

        assertThat(response.statusCode()).isEqualTo(202);
        assertThat(response.headers().firstValue("Location")).hasValue("/interactions/" + id);
    }

    /** A gateway that died between Redis and the log left a key that was refused for a day. */
    @Test
    void shouldTakeAKeyOverWhenItsQueryNeverReachedTheLog() {
        String gone = Ids.first(System.currentTimeMillis() - 3_600_000);
        hold("lost", gone);
        int before = asked();

        HttpResponse<String> first = post(CHAT, CHAT_BODY, "lost");

        assertThat(first.statusCode()).as(first.body()).isEqualTo(200);
        assertThat(first.body()).contains("anew");
        assertThat(post(CHAT, CHAT_BODY, "lost").body()).isEqualTo(first.body());
        assertThat(asked()).isEqualTo(before + 1);
        String now = harness.wire.sent(Query.class).getLast().getInteractionId();
        Query query = Query.newBuilder().setIdempotencyKey("lost").build();
        assertThat(keys.replace(IdempotencyKeys.of(query), new Holder(gone, ""), new Holder("another", ""))
                        .toCompletableFuture()
                        .join())
                .map(Holder::id)
                .hasValue(now);
    }

    @Test
    void shouldNotTakeAKeyOverWhileTheFirstQueryMayStillCome() throws SQLException {
        int before = asked();
        hold("young", Ids.next());
        assertThat(post(CHAT, CHAT_BODY, "young").statusCode()).isEqualTo(409);

        projection.sql("update sink_offsets set next_offset = 6");
        hold("behind", Ids.first(System.currentTimeMillis() - 3_600_000));
        HttpResponse<String> behind = post(CHAT, CHAT_BODY, "behind");
        assertThat(behind.statusCode()).as(behind.body()).isEqualTo(503);
        assertThat(behind.body()).contains("projection_behind");
        assertThat(behind.headers().firstValue("Retry-After")).isPresent();

        // it has all ends that there are, but the ledger may be away: what was decided is not there yet
        projection.sql("update sink_offsets set next_offset = 7");
        harness.wire.offsets = Map.of(INTERACTIONS, 7L, new TopicPartition("decisions", 0), 3L);
        assertThat(post(CHAT, CHAT_BODY, "behind").statusCode()).isEqualTo(503);
        harness.wire.offsets = Map.of(INTERACTIONS, 7L);

        // its deadline was an hour, and so is that of the repeat
        hold("slow", Ids.first(System.currentTimeMillis() - 3_600_000));
        assertThat(post("/query", "{\"query\":\"hi\",\"llm_timeout_s\":3600}", "slow")
                        .statusCode())
                .isEqualTo(409);
        assertThat(asked()).isEqualTo(before);
    }
}
