package io.millrace.routers.retrieval;

import io.millrace.id.Ids;
import io.millrace.knowledge.Embedder;
import io.millrace.knowledge.Vectors;
import io.millrace.routers.redis.RedisValues;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/**
 * Embeddings of questions, cached in Redis for seven days under a key that names model, epoch, variant and text, so that an entry is
 * never wrong and never needs to be deleted. A failure is not cached. Redis down costs an embedding, not an answer.
 */
public final class EmbeddingCache implements AutoCloseable {
    private static final Duration KEEP = Duration.ofDays(7);

    private final RedisValues redis;

    /** @param url {@code redis://…}; empty for no cache */
    public EmbeddingCache(String url) {
        this.redis = new RedisValues(url, "embeddings are made anew");
    }

    /** Whether Redis failed the last time it was asked. */
    boolean isDown() {
        return redis.isDown();
    }

    /** The vector of a text, from the cache or from the model. */
    float[] embed(Embedder embedder, String variant, String text) throws InterruptedException {
        String key = "millrace:embedding:" + embedder.fingerprint() + ":e1:v" + (variant.isEmpty() ? "0" : variant)
                + ":" + Ids.checksum(text);
        Optional<byte[]> cached = redis.get(key).flatMap(List::getFirst);
        if (cached.isPresent() && cached.get().length == embedder.dimension() * Float.BYTES) {
            return Vectors.fromBytes(ByteBuffer.wrap(cached.get()));
        }
        float[] vector = embedder.embed(List.of(text)).get(0);
        redis.set(key, Vectors.toBytes(vector).array(), KEEP);
        return vector;
    }

    @Override
    public void close() {
        redis.close();
    }
}
