package io.millrace.standalone;

import static io.millrace.standalone.Stack.await;
import static org.assertj.core.api.Assertions.assertThat;

import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisURI;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.codec.ByteArrayCodec;
import io.lettuce.core.codec.RedisCodec;
import io.lettuce.core.codec.StringCodec;
import io.millrace.bench.stub.StubUpstream;
import io.millrace.schema.Interaction;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A rejected answer is not served again, whatever else happens at that moment. Redis is waited for, so that a busy machine makes no miss of a hit. */
class RejectionIT {
    private static final List<String> THINGS = List.of(
            "learn to play the violin",
            "sharpen a kitchen knife",
            "clean a cast iron pan",
            "get rid of ants",
            "delete my account",
            "clean a camera lens");

    @TempDir
    static Path folder;

    private static StubUpstream remote;
    private static Stack stack;
    private static RedisClient client;
    private static StatefulRedisConnection<String, byte[]> redis;

    @BeforeAll
    static void start() throws Exception {
        remote = new StubUpstream("remote", 8, 5).start(0);
        stack = Stack.ofCaches(folder, remote, "1s");
        stack.run("all", Roles.ALL);
        client = client();
        redis = connect();
    }

    private static RedisClient client() {
        RedisURI uri = RedisURI.create(stack.parts().endpoints().redisUrl());
        uri.setTimeout(Duration.ofSeconds(60));
        return RedisClient.create(uri);
    }

    private static StatefulRedisConnection<String, byte[]> connect() {
        return client.connect(RedisCodec.of(StringCodec.UTF8, ByteArrayCodec.INSTANCE));
    }

    @AfterAll
    static void stop() {
        client.shutdown();
        stack.close();
        remote.close();
    }

    private static HttpResponse<String> ask(String model, String question) throws Exception {
        HttpResponse<String> response = stack.cacheable(model, question, "");
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return response;
    }

    private static String reason(HttpResponse<String> response) {
        return response.headers().firstValue("x-millrace-reason").orElse("");
    }

    /** The first answer that comes for this reason; Redis may take too long for some. */
    private static HttpResponse<String> askUntil(String reason, String model, String question) {
        List<HttpResponse<String>> last = new ArrayList<>();
        await(reason, () -> {
            last.add(ask(model, question));
            return reason(last.getLast()).equals(reason);
        });
        return last.getLast();
    }

    private static String firstOf(HttpResponse<String> cached) throws Exception {
        return stack.trace(cached).interaction().getCachedInteractionId();
    }

    private static double heard(String kind) {
        return stack.group("all")
                .log()
                .metrics()
                .counter("millrace.response.cache.feedback", "kind", kind, "verdict", "rejected")
                .count();
    }

    /** The answer of an attempt that was slow, or ran twice, is kept after somebody said that it is bad. */
    @Test
    void shouldNotServeAnAnswerThatWasKeptAfterItWasRejected() throws Exception {
        String question = "What turns the mill?";
        HttpResponse<String> cached = askUntil("cache_exact", "plain", question);
        String first = firstOf(cached);
        Map<String, byte[]> entries = new HashMap<>();
        for (String key : redis.sync().keys("millrace:response:*")) {
            entries.put(key, redis.sync().get(key));
        }
        double before = heard("exact");
        stack.rate(cached, "\"rating\":-1");
        await("the rejection to be heard", () -> heard("exact") > before);

        entries.forEach((key, value) -> redis.sync().set(key, value));

        assertThat(reason(ask("plain", question))).isNotIn("cache_exact", "cache_semantic");
        assertThat(firstOf(askUntil("cache_exact", "plain", question)))
                .as("the next answer is kept")
                .isNotEqualTo(first);
    }

    /** A Redis that was killed comes back with what it knew some minutes ago, the mark among it. */
    @Test
    void shouldKnowARejectionThatTheSnapshotOfRedisDoesNotHave() throws Exception {
        HttpResponse<String> exact = askUntil("cache_exact", "plain", "How do I sharpen a pencil?");
        HttpResponse<String> semantic = askUntil("cache_semantic", "plain", "How can I sharpen a pencil?");
        String first = firstOf(exact);
        stack.trace(semantic);
        List<String> kept = redis.sync().keys("millrace:response:*");
        redis.sync().save();
        double before = heard("exact");
        double pairs = heard("semantic");
        stack.rate(semantic, "\"rating\":-1");
        stack.rate(exact, "\"rating\":-1");
        await("the rejections to be heard", () -> heard("exact") > before && heard("semantic") > pairs);

        // it writes no snapshot when it stops, as if it was killed
        redis.sync().configSet("save", "");
        redis.close();
        stack.parts().redis().stop();
        stack.parts().redis().start();
        redis = connect();

        assertThat(redis.sync().keys("millrace:response:*"))
                .as("what the snapshot has, the rejected answer among it")
                .containsAll(kept);
        await("the rejection to be there again", () -> redis.sync().exists("millrace:rejected:" + first) == 1);
        assertThat(firstOf(askUntil("cache_exact", "plain", "How do I sharpen a pencil?")))
                .isNotEqualTo(first);
        assertThat(reason(ask("plain", "How can I sharpen a pencil?"))).isNotIn("cache_semantic", "cache_exact");
    }

    /** Under load, with a Redis that stands still at that moment: from when it goes on, nothing that was rejected is served. */
    @Test
    void shouldServeNothingThatWasRejectedWhileRedisStoodStill() throws Exception {
        Map<String, HttpResponse<String>> rated = new HashMap<>();
        Set<String> answers = new HashSet<>();
        Set<String> pairs = new HashSet<>();
        for (String thing : THINGS) {
            HttpResponse<String> exact = askUntil("cache_exact", "other", "How do I " + thing + "?");
            HttpResponse<String> near = askUntil("cache_semantic", "other", "How can I " + thing + "?");
            pairs.add(stack.trace(near).interaction().getCachedPair());
            rated.put("near " + thing, near);
            // of the others the answer stays, so that it could be served to the near question
            if (answers.size() < THINGS.size() / 2) {
                answers.add(firstOf(exact));
                rated.put(thing, exact);
            }
        }
        AtomicBoolean asking = new AtomicBoolean(true);
        List<Thread> load = new ArrayList<>();
        Queue<Throwable> failed = new ConcurrentLinkedQueue<>();
        for (int i = 0; i < 6; i++) {
            int at = i;
            load.add(Thread.ofVirtual().start(() -> {
                for (int turn = at; asking.get(); turn++) {
                    String thing = THINGS.get(turn % THINGS.size());
                    try {
                        ask("other", (turn % 2 == 0 ? "How can I " : "How do I ") + thing + "?");
                        ask("other", "What is the name of wheel " + at + "?");
                        Thread.sleep(5);
                    } catch (Exception | AssertionError e) {
                        failed.add(e);
                        return;
                    }
                }
            }));
        }
        try {
            redis.sync().clientPause(12_000);
            // some are on their way to Redis when it stops to answer, others come while it is left alone
            for (HttpResponse<String> response : rated.values()) {
                Thread.sleep(400);
                stack.rate(response, "\"rating\":-1");
            }
            // answered when the pause is over: seconds after the last rating, long after it was read from the log
            redis.sync().ping();
            long goesOn = System.currentTimeMillis();
            await("the cache to be at work again", () -> servedSince(goesOn).size() > 50);
            Thread.sleep(4_000);
            assertThat(servedSince(goesOn))
                    .noneMatch(served -> answers.contains(served.getCachedInteractionId())
                            || pairs.contains(served.getCachedPair()));
        } finally {
            asking.set(false);
            for (Thread thread : load) {
                thread.join();
            }
        }
        assertThat(failed).isEmpty();
    }

    /** From a cache, to queries that came then or later. */
    private static List<Interaction> servedSince(long time) {
        return stack.ends().values().stream()
                .map(List::getFirst)
                .filter(end ->
                        end.getAcceptedAt() >= time && !end.getCachedKind().isEmpty())
                .toList();
    }
}
