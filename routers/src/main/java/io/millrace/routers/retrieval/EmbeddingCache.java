package io.millrace.routers.retrieval;

import io.micrometer.core.instrument.Counter;
import io.micrometer.core.instrument.MeterRegistry;
import io.millrace.id.Ids;
import io.millrace.knowledge.Embedder;
import io.millrace.knowledge.Vectors;
import io.millrace.routers.redis.RedisValues;
import io.millrace.service.RedisKeys;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/**
 * Embeddings of questions, cached in Redis for seven days under a key that names model, variant and text, with the epoch of the caches that
 * they were made in: an entry is never wrong and never needs to be deleted, and all of them end when the epoch moves. A failure is not cached. Redis down costs an embedding, not an answer.
 */
public final class EmbeddingCache implements AutoCloseable {
    private static final Duration KEEP = Duration.ofDays(7);
    private static final byte[] NO_EPOCH = {'0'};
    private static final byte END = '|';

    private final RedisValues redis;
    private final Counter hits;
    private final Counter misses;

    /**
     * @param url {@code redis://…}; empty for no cache
     * @param timeout of a look
     */
    public EmbeddingCache(String url, Duration timeout, MeterRegistry metrics) {
        this.redis = new RedisValues(url, timeout, "embeddings are made anew");
        this.hits = counter(metrics, "hit");
        this.misses = counter(metrics, "miss");
    }

    private static Counter counter(MeterRegistry metrics, String result) {
        return Counter.builder("millrace.embedding.cache")
                .description("Questions whose embedding was looked for in the cache")
                .tag("result", result)
                .register(metrics);
    }

    /** Whether Redis failed the last time it was asked. */
    boolean isDown() {
        return redis.isDown();
    }

    /** The vector of a text, from the cache or from the model. */
    float[] embed(Embedder embedder, String variant, String text) throws InterruptedException {
        String key = "millrace:embedding:" + embedder.fingerprint() + ":v" + (variant.isEmpty() ? "0" : variant) + ":"
                + Ids.checksum(text);
        Optional<List<Optional<byte[]>>> values = redis.get(RedisKeys.CACHE_EPOCH, key);
        byte[] epoch = values.flatMap(List::getFirst).orElse(NO_EPOCH);
        Optional<byte[]> cached = values.flatMap(List::getLast);
        // the epoch goes before the vector and not into the key, so that both are read in one round trip
        int start = epoch.length + 1;
        if (cached.isPresent()
                && cached.get().length == start + embedder.dimension() * Float.BYTES
                && cached.get()[epoch.length] == END
                && Arrays.equals(epoch, Arrays.copyOf(cached.get(), epoch.length))) {
            hits.increment();
            return Vectors.fromBytes(ByteBuffer.wrap(cached.get(), start, cached.get().length - start)
                    .slice());
        }
        misses.increment();
        float[] vector = embedder.embed(List.of(text)).get(0);
        if (values.isPresent()) {
            byte[] bytes = Vectors.toBytes(vector).array();
            redis.set(
                    key,
                    ByteBuffer.allocate(start + bytes.length)
                            .put(epoch)
                            .put(END)
                            .put(bytes)
                            .array(),
                    KEEP);
        }
        return vector;
    }

    @Override
    public void close() {
        redis.close();
    }
}
