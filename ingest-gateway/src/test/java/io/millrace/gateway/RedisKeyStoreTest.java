package io.millrace.gateway;

import static io.millrace.gateway.GatewayHarness.CHAT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import io.lettuce.core.RedisClient;
import io.lettuce.core.codec.StringCodec;
import io.lettuce.core.output.StatusOutput;
import io.lettuce.core.protocol.CommandArgs;
import io.lettuce.core.protocol.CommandType;
import io.millrace.schema.Query;
import java.io.IOException;
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

/** Idempotency keys in a real Redis. */
class RedisKeyStoreTest {
    private static final String HI = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";

    private TestRedis redis;
    private String url;

    @BeforeEach
    void start() throws IOException {
        redis = new TestRedis();
        url = redis.url();
    }

    @AfterEach
    void stop() throws IOException {
        redis.close();
    }

    private RedisKeyStore connected(Duration patience) {
        RedisKeyStore keys = new RedisKeyStore(url, patience);
        await().atMost(GatewayHarness.PATIENCE)
                .until(() -> claim(keys, "warm " + System.nanoTime(), "x").isEmpty() && keys.isUp());
        return keys;
    }

    private static Optional<String> claim(KeyStore keys, String key, String id) {
        return keys.claim(key, new IdempotencyKeys.Holder(id, ""))
                .toCompletableFuture()
                .join()
                .map(IdempotencyKeys.Holder::id);
    }

    @Test
    void shouldGiveAKeyToTheFirstAndBackWhenReleased() {
        try (RedisKeyStore here = connected(GatewayHarness.PATIENCE);
                RedisKeyStore there = connected(GatewayHarness.PATIENCE)) {
            assertThat(claim(here, "k", "first")).isEmpty();
            assertThat(claim(there, "k", "second")).hasValue("first");
            here.release("k", new IdempotencyKeys.Holder("first", ""));
            await().until(() -> claim(there, "k", "third").isEmpty());
            assertThat(claim(here, "k", "fourth")).hasValue("third");
        }
    }

    @Test
    void shouldNotReleaseAnothersKey() {
        try (RedisKeyStore keys = connected(GatewayHarness.PATIENCE)) {
            assertThat(claim(keys, "k", "first")).isEmpty();

            keys.release("k", new IdempotencyKeys.Holder("another", ""));

            // commands of one connection come in their order
            assertThat(claim(keys, "k", "third")).hasValue("first");
        }
    }

    /** Its query is refused, and nobody else could have the key for as long as it may take. */
    @Test
    void shouldHoldNoKeyThatItTookOverTooLate() {
        try (RedisKeyStore first = connected(GatewayHarness.PATIENCE);
                RedisKeyStore keys = connected(RedisKeyStore.PATIENCE);
                RedisClient client = RedisClient.create(url);
                var redis = client.connect()) {
            assertThat(claim(first, "k", "gone")).isEmpty();
            // what writes waits, until it is told to go on
            redis.sync()
                    .dispatch(
                            CommandType.CLIENT,
                            new StatusOutput<>(StringCodec.UTF8),
                            new CommandArgs<>(StringCodec.UTF8)
                                    .add("PAUSE")
                                    .add(600_000)
                                    .add("WRITE"));

            assertThat(keys.replace("k", new IdempotencyKeys.Holder("gone", ""), new IdempotencyKeys.Holder("late", ""))
                            .toCompletableFuture()
                            .join()
                            .map(IdempotencyKeys.Holder::id))
                    .hasValue("gone");

            redis.sync()
                    .dispatch(
                            CommandType.CLIENT,
                            new StatusOutput<>(StringCodec.UTF8),
                            new CommandArgs<>(StringCodec.UTF8).add("UNPAUSE"));
            await().until(() -> redis.sync().get(IdempotencyKeys.redisKey("k")) == null);
        }
    }

    @Test
    void shouldGoOnWithoutRedisWhenItIsDown() throws IOException {
        try (RedisKeyStore keys = connected(RedisKeyStore.PATIENCE)) {
            redis.close();
            long started = System.nanoTime();
            assertThat(claim(keys, "k", "first")).isEmpty();
            assertThat(Duration.ofNanos(System.nanoTime() - started)).isLessThan(Duration.ofSeconds(10));
            assertThat(keys.isUp()).isFalse();
        }
    }

    @Test
    void shouldSendARepeatToTheFirstInteractionWhenAnotherGatewayTookIt() {
        Gateway.Surroundings around = around("jdbc:postgresql://127.0.0.1:1/none");
        try (GatewayHarness one = new GatewayHarness(GatewayHarness.config(Duration.ofSeconds(20), 64), around);
                GatewayHarness other = new GatewayHarness(GatewayHarness.config(Duration.ofSeconds(20), 64), around)) {
            connect(one, other);
            int before = other.wire.sent(Query.class).size();
            assertThat(one.post(CHAT, HI, "Idempotency-Key", "k").body()).contains("one");

            var repeat = other.post(CHAT, HI, "Idempotency-Key", "k");

            // Postgres is away, so all that is known is the id
            assertThat(repeat.statusCode()).isEqualTo(503);
            assertThat(repeat.body()).contains("postgres_unavailable");
            assertThat(repeat.headers().firstValue("x-millrace-interaction-id"))
                    .hasValue(one.wire.sent(Query.class).getLast().getInteractionId());
            assertThat(other.wire.sent(Query.class)).hasSize(before);

            // the order of its fields is not what was asked
            String turned = "{\"temperature\":1,\"messages\":[{\"content\":\"hi\",\"role\":\"user\"}]}";
            String inOrder = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"temperature\":1}";
            assertThat(one.post(CHAT, inOrder, "Idempotency-Key", "k2").statusCode())
                    .isEqualTo(200);
            assertThat(other.post(CHAT, turned, "Idempotency-Key", "k2").statusCode())
                    .isEqualTo(503);
            var another = other.post(CHAT, turned.replace("hi", "ho"), "Idempotency-Key", "k2");
            assertThat(another.statusCode()).isEqualTo(422);
            assertThat(another.body()).contains("was used for another request");
            assertThat(other.post("/query", "{\"query\":\"hi\"}", "Idempotency-Key", "k2")
                            .statusCode())
                    .isEqualTo(422);
            assertThat(other.wire.sent(Query.class)).hasSize(before);
        }
    }

    @Test
    void shouldKeepAKeyWhenItsGatewayStopsBeforeTheAnswer() throws Exception {
        Gateway.Surroundings around = around("jdbc:postgresql://127.0.0.1:1/none");
        try (GatewayHarness other = new GatewayHarness(GatewayHarness.config(Duration.ofSeconds(20), 64), around)) {
            CompletableFuture<HttpResponse<String>> waiting;
            String first;
            try (GatewayHarness one = new GatewayHarness(GatewayHarness.config(Duration.ofSeconds(20), 64), around)) {
                connect(one, other);
                one.wire.onQuery = (wire, query) -> {};
                int before = one.wire.sent(Query.class).size();
                waiting = CompletableFuture.supplyAsync(() -> one.post(CHAT, HI, "Idempotency-Key", "k"));
                await().until(() -> one.wire.sent(Query.class).size() > before);
                first = one.wire.sent(Query.class).getLast().getInteractionId();
                one.gateway.close();
                assertThat(waiting.get(60, TimeUnit.SECONDS).statusCode()).isEqualTo(503);
            }
            int before = other.wire.sent(Query.class).size();

            var repeat = other.post(CHAT, HI, "Idempotency-Key", "k");

            assertThat(repeat.statusCode()).isEqualTo(503);
            assertThat(repeat.body()).contains("postgres_unavailable");
            assertThat(repeat.headers().firstValue("x-millrace-interaction-id")).hasValue(first);
            assertThat(other.wire.sent(Query.class)).hasSize(before);
        }
    }

    private Gateway.Surroundings around(String jdbcUrl) {
        return new Gateway.Surroundings(jdbcUrl, "nobody", "", Map::of, List::of, Map.of(), url);
    }

    /** Both are connected to Redis when a key of one is seen by the other. */
    private static void connect(GatewayHarness one, GatewayHarness other) {
        one.wire.onQuery = (wire, query) -> wire.reply(FakeWire.answer(query, 0, "one"));
        other.wire.onQuery = (wire, query) -> wire.reply(FakeWire.answer(query, 0, "other"));
        await().until(() -> {
            String key = "warm " + System.nanoTime();
            return one.post(CHAT, HI, "Idempotency-Key", key).statusCode() == 200
                    && other.post(CHAT, HI, "Idempotency-Key", key).statusCode() == 503;
        });
    }
}
