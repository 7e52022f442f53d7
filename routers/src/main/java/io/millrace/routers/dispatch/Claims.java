package io.millrace.routers.dispatch;

import io.lettuce.core.ClientOptions;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisURI;
import io.lettuce.core.SetArgs;
import io.lettuce.core.SocketOptions;
import io.lettuce.core.api.StatefulRedisConnection;
import java.time.Duration;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Claims on paid calls: {@code SET millrace:claim:<id>:<attempt> NX EX}. Two workers that hold the same work, after a redelivery, do
 * not both pay. Redis down means that a duplicate is possible, and that it is counted, not that nobody is answered.
 */
public final class Claims implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(Claims.class);
    private static final Duration TIMEOUT = Duration.ofMillis(300);

    /** Longer than any deadline. */
    public static final Duration KEEP = Duration.ofHours(2);

    /** After a failure Redis is left alone this long, so that its absence costs a timeout a second and not one a query. */
    private static final long REST_NANOS = TimeUnit.SECONDS.toNanos(1);

    /** What came of a claim. */
    enum Claim {
        MINE,
        TAKEN,
        UNKNOWN
    }

    private final RedisClient client;
    private @Nullable StatefulRedisConnection<String, String> connection;
    private volatile long restUntil;

    /** @param url {@code redis://…} */
    public Claims(String url) {
        RedisURI uri = RedisURI.create(url);
        uri.setTimeout(TIMEOUT);
        this.client = RedisClient.create(uri);
        client.setOptions(ClientOptions.builder()
                // a command kept for a Redis that comes back would claim what was long called
                .disconnectedBehavior(ClientOptions.DisconnectedBehavior.REJECT_COMMANDS)
                .socketOptions(SocketOptions.builder().connectTimeout(TIMEOUT).build())
                .build());
    }

    /** Redis key of an attempt's claim. */
    public static String key(String interactionId, int attempt) {
        return "millrace:claim:" + interactionId + ":" + attempt;
    }

    /** Claims an attempt for a worker; waits 300 ms at most. */
    Claim claim(String interactionId, int attempt, String worker) throws InterruptedException {
        if (System.nanoTime() - restUntil < 0) {
            return Claim.UNKNOWN;
        }
        try {
            String set = connection()
                    .async()
                    .set(
                            key(interactionId, attempt),
                            worker,
                            SetArgs.Builder.nx().ex(KEEP))
                    .get(TIMEOUT.toMillis(), TimeUnit.MILLISECONDS);
            return "OK".equals(set) ? Claim.MINE : Claim.TAKEN;
        } catch (ExecutionException | TimeoutException | RuntimeException e) {
            LOG.warn("a paid call goes out without a claim, since Redis does not answer: {}", e.toString());
            restUntil = System.nanoTime() + REST_NANOS;
            return Claim.UNKNOWN;
        }
    }

    private synchronized StatefulRedisConnection<String, String> connection() {
        StatefulRedisConnection<String, String> open = connection;
        if (open == null) {
            open = client.connect();
            connection = open;
        }
        return open;
    }

    @Override
    public void close() {
        client.shutdown(Duration.ZERO, Duration.ofSeconds(1));
    }
}
