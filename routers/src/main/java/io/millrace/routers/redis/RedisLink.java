package io.millrace.routers.redis;

import io.lettuce.core.ClientOptions;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisURI;
import io.lettuce.core.SocketOptions;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.codec.RedisCodec;
import io.lettuce.core.resource.ClientResources;
import io.netty.util.HashedWheelTimer;
import io.netty.util.concurrent.DefaultThreadFactory;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A connection to a Redis that may be away: opened with its first use, and after a failure left alone for a second, so that its absence
 * costs a timeout a second and not one a query. Thread-safe.
 */
public final class RedisLink<V> implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(RedisLink.class);
    private static final long REST_NANOS = TimeUnit.SECONDS.toNanos(1);

    /** Of all links of the process: each of its own would keep a timer that ticks ten times a second, and threads. */
    private static final class Shared {
        static final ClientResources RESOURCES = ClientResources.builder()
                .timer(new HashedWheelTimer(new DefaultThreadFactory("redis-timer", true)))
                .build();
    }

    private final RedisCodec<String, V> codec;
    private final String what;
    private final @Nullable RedisClient client;
    private volatile @Nullable StatefulRedisConnection<String, V> connection;
    private volatile long restUntil = System.nanoTime();
    private final AtomicBoolean asking = new AtomicBoolean();
    private volatile boolean down;

    /**
     * @param url {@code redis://…}; empty: there is none
     * @param timeout of a command, and of connecting
     * @param what is not done while it is away, for the log line that says so
     */
    public RedisLink(String url, RedisCodec<String, V> codec, Duration timeout, String what) {
        this.codec = codec;
        this.what = what;
        if (url.isEmpty()) {
            client = null;
            return;
        }
        RedisURI uri = RedisURI.create(url);
        uri.setTimeout(timeout);
        client = RedisClient.create(Shared.RESOURCES, uri);
        client.setOptions(ClientOptions.builder()
                // a command that is kept for a Redis that comes back says what was long ago
                .disconnectedBehavior(ClientOptions.DisconnectedBehavior.REJECT_COMMANDS)
                .socketOptions(SocketOptions.builder().connectTimeout(timeout).build())
                .build());
    }

    /**
     * The connection; empty while Redis is left alone.
     *
     * @throws io.lettuce.core.RedisException when there is none to be had; to be told to {@link #failed}
     */
    public Optional<StatefulRedisConnection<String, V>> get() {
        RedisClient redis = client;
        return redis == null || System.nanoTime() - restUntil < 0 ? Optional.empty() : Optional.of(connection(redis));
    }

    /** The connection, if it is open already: for those who must not wait. */
    public Optional<StatefulRedisConnection<String, V>> ifOpen() {
        return System.nanoTime() - restUntil < 0 ? Optional.empty() : Optional.ofNullable(connection);
    }

    private synchronized StatefulRedisConnection<String, V> connection(RedisClient redis) {
        StatefulRedisConnection<String, V> open = connection;
        if (open == null) {
            open = redis.connect(codec);
            connection = open;
        }
        return open;
    }

    /** Leaves Redis alone for a while; says so once. */
    public void failed(Exception e) {
        if (!down) {
            LOG.warn("Redis does not answer, {}: {}", what, e.toString());
        }
        down = true;
        restUntil = System.nanoTime() + REST_NANOS;
    }

    /** Redis has answered. */
    public void answered() {
        down = false;
    }

    /** Whether Redis failed the last time it was asked. Where it did, asks again: nobody else may want anything for long. */
    public boolean isDown() {
        if (down && System.nanoTime() - restUntil >= 0 && asking.compareAndSet(false, true)) {
            Thread.startVirtualThread(this::ask);
        }
        return down;
    }

    private void ask() {
        try {
            get().ifPresent(redis -> {
                redis.sync().ping();
                answered();
            });
        } catch (RuntimeException e) {
            failed(e);
        } finally {
            asking.set(false);
        }
    }

    @Override
    public void close() {
        if (client != null) {
            client.shutdown(Duration.ZERO, Duration.ofSeconds(1));
        }
    }
}
