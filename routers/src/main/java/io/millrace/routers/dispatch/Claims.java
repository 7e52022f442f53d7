package io.millrace.routers.dispatch;

import io.lettuce.core.SetArgs;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.codec.StringCodec;
import io.millrace.routers.redis.RedisLink;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * Claims on paid calls: {@code SET millrace:claim:<id>:<attempt> NX EX}. Two workers that hold the same work, after a redelivery, do
 * not both pay. Redis down means that a duplicate is possible, and that it is counted, not that nobody is answered.
 */
public final class Claims implements AutoCloseable {
    private static final Duration TIMEOUT = Duration.ofMillis(300);

    /** Longer than any deadline. */
    public static final Duration KEEP = Duration.ofHours(2);

    /** What came of a claim. */
    enum Claim {
        MINE,
        TAKEN,
        UNKNOWN
    }

    private final RedisLink<String> link;

    /** @param url {@code redis://…} */
    public Claims(String url) {
        link = new RedisLink<>(url, StringCodec.UTF8, TIMEOUT, "paid calls go out without a claim");
    }

    /** Redis key of an attempt's claim. */
    public static String key(String interactionId, int attempt) {
        return "millrace:claim:" + interactionId + ":" + attempt;
    }

    /** Begins to claim, without waiting for anything; empty when there is no open connection. */
    Optional<Future<String>> begin(String interactionId, int attempt, String worker) {
        try {
            return link.ifOpen().map(redis -> claim(redis, interactionId, attempt, worker));
        } catch (RuntimeException e) {
            link.failed(e);
            return Optional.empty();
        }
    }

    /**
     * Claims an attempt for a worker; waits 300 ms at most.
     *
     * @param begun the claim that was begun before
     */
    Claim claim(String interactionId, int attempt, String worker, Optional<Future<String>> begun)
            throws InterruptedException {
        try {
            Future<String> set;
            if (begun.isPresent()) {
                set = begun.get();
            } else {
                Optional<StatefulRedisConnection<String, String>> redis = link.get();
                if (redis.isEmpty()) {
                    return Claim.UNKNOWN;
                }
                set = claim(redis.get(), interactionId, attempt, worker);
            }
            String answer = set.get(TIMEOUT.toMillis(), TimeUnit.MILLISECONDS);
            link.answered();
            return "OK".equals(answer) ? Claim.MINE : Claim.TAKEN;
        } catch (ExecutionException | TimeoutException | RuntimeException e) {
            link.failed(e);
            return Claim.UNKNOWN;
        }
    }

    private static Future<String> claim(
            StatefulRedisConnection<String, String> redis, String interactionId, int attempt, String worker) {
        return redis.async()
                .set(key(interactionId, attempt), worker, SetArgs.Builder.nx().ex(KEEP));
    }

    @Override
    public void close() {
        link.close();
    }
}
