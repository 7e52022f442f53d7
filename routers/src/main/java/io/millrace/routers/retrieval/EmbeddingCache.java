package io.millrace.routers.retrieval;

import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisURI;
import io.lettuce.core.SetArgs;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.codec.ByteArrayCodec;
import io.lettuce.core.codec.RedisCodec;
import io.lettuce.core.codec.StringCodec;
import io.millrace.id.Ids;
import io.millrace.knowledge.Embedder;
import io.millrace.knowledge.Vectors;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Embeddings of questions, cached in Redis for seven days under a key that names model, epoch, variant and text, so that an entry is
 * never wrong and never needs to be deleted. A failure is not cached. Redis down costs an embedding, not an answer.
 */
public final class EmbeddingCache implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(EmbeddingCache.class);
    private static final Duration TIMEOUT = Duration.ofMillis(100);
    private static final Duration KEEP = Duration.ofDays(7);

    /** After a failure Redis is left alone this long, so that its absence costs a timeout a second and not one a query. */
    private static final long REST_NANOS = TimeUnit.SECONDS.toNanos(1);

    private final @Nullable RedisClient client;
    private @Nullable StatefulRedisConnection<String, byte[]> connection;
    private volatile long restUntil = System.nanoTime();
    private volatile boolean down;

    /** @param url {@code redis://…}; empty for no cache */
    public EmbeddingCache(String url) {
        if (url.isEmpty()) {
            client = null;
            return;
        }
        RedisURI uri = RedisURI.create(url);
        uri.setTimeout(Duration.ofSeconds(1));
        client = RedisClient.create(uri);
    }

    /** Whether Redis failed the last time it was asked. */
    boolean isDown() {
        return down;
    }

    /** The vector of a text, from the cache or from the model. */
    float[] embed(Embedder embedder, String variant, String text) throws InterruptedException {
        String key = "millrace:embedding:" + embedder.fingerprint() + ":e1:v" + (variant.isEmpty() ? "0" : variant)
                + ":" + Ids.checksum(text);
        byte[] cached = get(key);
        if (cached != null && cached.length == embedder.dimension() * Float.BYTES) {
            return Vectors.fromBytes(ByteBuffer.wrap(cached));
        }
        float[] vector = embedder.embed(List.of(text)).get(0);
        put(key, Vectors.toBytes(vector).array());
        return vector;
    }

    private byte @Nullable [] get(String key) throws InterruptedException {
        if (client == null || System.nanoTime() - restUntil < 0) {
            return null;
        }
        try {
            byte[] value = connection(client).async().get(key).get(TIMEOUT.toMillis(), TimeUnit.MILLISECONDS);
            down = false;
            return value;
        } catch (ExecutionException | TimeoutException | RuntimeException e) {
            failed(e);
            return null;
        }
    }

    private void put(String key, byte[] value) {
        if (client == null || System.nanoTime() - restUntil < 0) {
            return;
        }
        try {
            // nobody waits for it: the next question tells whether it worked
            connection(client).async().set(key, value, SetArgs.Builder.ex(KEEP));
        } catch (RuntimeException e) {
            failed(e);
        }
    }

    private void failed(Exception e) {
        if (!down) {
            LOG.warn("Redis does not answer, embeddings are made anew: {}", e.toString());
        }
        down = true;
        restUntil = System.nanoTime() + REST_NANOS;
    }

    private synchronized StatefulRedisConnection<String, byte[]> connection(RedisClient redis) {
        StatefulRedisConnection<String, byte[]> open = connection;
        if (open == null) {
            open = redis.connect(RedisCodec.of(StringCodec.UTF8, ByteArrayCodec.INSTANCE));
            connection = open;
        }
        return open;
    }

    @Override
    public void close() {
        if (client != null) {
            client.shutdown(Duration.ZERO, Duration.ofSeconds(1));
        }
    }
}
