package io.millrace.gateway;

import io.github.bucket4j.BucketConfiguration;
import io.github.bucket4j.ConsumptionProbe;
import io.github.bucket4j.distributed.ExpirationAfterWriteStrategy;
import io.github.bucket4j.distributed.proxy.AsyncProxyManager;
import io.github.bucket4j.redis.lettuce.Bucket4jLettuce;
import io.lettuce.core.ClientOptions;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisURI;
import io.lettuce.core.ScriptOutputType;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.codec.ByteArrayCodec;
import io.lettuce.core.codec.RedisCodec;
import io.lettuce.core.codec.StringCodec;
import io.millrace.gateway.IdempotencyKeys.Holder;
import io.millrace.service.RedisKeys;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * {@link KeyStore} in Redis: {@code millrace:idempotency:<key>}, for a day, and the token buckets of limits as {@code millrace:limit:<key>}. Redis
 * down means that only this process knows keys and limits.
 */
final class RedisKeyStore implements KeyStore {
    private static final Logger LOG = LoggerFactory.getLogger(RedisKeyStore.class);
    /** For one answer of Redis, which takes a millisecond: a query with a key is late by so much when Redis hangs. */
    static final Duration PATIENCE = Duration.ofMillis(300);

    /** In one step: a holder that lets go between two would have two others take the key. */
    private static final String CLAIM = """
            local now = redis.call('GET', KEYS[1])
            if now then return now end
            redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
            return false
            """;

    private static final String RELEASE =
            "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

    /** In one step, since two gateways may find out at once that nobody has it. */
    private static final String REPLACE = """
            local now = redis.call('GET', KEYS[1])
            if now and now ~= ARGV[1] then return now end
            redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
            return false
            """;

    private final RedisClient client;
    private final RedisURI uri;
    private final Duration patience;
    private CompletableFuture<StatefulRedisConnection<String, String>> connection;
    private CompletableFuture<AsyncProxyManager<String>> buckets;
    private volatile boolean up = true;

    /** @param patience for one answer of Redis; after that it counts as away */
    RedisKeyStore(String url, Duration patience) {
        this.patience = patience;
        this.uri = RedisURI.create(url);
        this.client = RedisClient.create();
        client.setOptions(ClientOptions.builder()
                .disconnectedBehavior(ClientOptions.DisconnectedBehavior.REJECT_COMMANDS)
                .build());
        this.connection = connect();
        this.buckets = connectBuckets();
    }

    private CompletableFuture<StatefulRedisConnection<String, String>> connect() {
        return client.connectAsync(StringCodec.UTF8, uri).toCompletableFuture();
    }

    private CompletableFuture<AsyncProxyManager<String>> connectBuckets() {
        return client.connectAsync(RedisCodec.of(StringCodec.UTF8, ByteArrayCodec.INSTANCE), uri)
                .thenApply(redis -> Bucket4jLettuce.casBasedBuilder(redis)
                        .expirationAfterWrite(ExpirationAfterWriteStrategy.basedOnTimeForRefillingBucketUpToMax(
                                Duration.ofMinutes(1)))
                        .build()
                        .asAsync())
                .toCompletableFuture();
    }

    private synchronized CompletableFuture<AsyncProxyManager<String>> buckets() {
        if (buckets.isCompletedExceptionally()) {
            buckets = connectBuckets();
        }
        return buckets;
    }

    /** The connection; a first attempt that failed is made again, later breaks are mended by the client itself. */
    private synchronized CompletableFuture<StatefulRedisConnection<String, String>> connection() {
        if (connection.isCompletedExceptionally()) {
            connection = connect();
        }
        return connection;
    }

    @Override
    public CompletionStage<Optional<Holder>> claim(String key, Holder holder) {
        return connection()
                .copy()
                .thenCompose(redis -> redis.async()
                        .<@Nullable String>eval(
                                CLAIM,
                                ScriptOutputType.VALUE,
                                new String[] {IdempotencyKeys.redisKey(key)},
                                holder.toString(),
                                String.valueOf(IdempotencyKeys.KEPT.toSeconds())))
                .orTimeout(patience.toMillis(), TimeUnit.MILLISECONDS)
                .handle((first, error) -> {
                    up = error == null;
                    if (error != null) {
                        LOG.warn("redis did not take an idempotency key: {}", error.toString());
                        return Optional.empty();
                    }
                    return Optional.ofNullable(first).map(Holder::parse);
                });
    }

    @Override
    public CompletionStage<Optional<Holder>> replace(String key, Holder gone, Holder holder) {
        return connection()
                .copy()
                .thenCompose(redis -> redis.async()
                        .<@Nullable String>eval(
                                REPLACE,
                                ScriptOutputType.VALUE,
                                new String[] {IdempotencyKeys.redisKey(key)},
                                gone.toString(),
                                holder.toString(),
                                String.valueOf(IdempotencyKeys.KEPT.toSeconds())))
                .orTimeout(patience.toMillis(), TimeUnit.MILLISECONDS)
                .handle((now, error) -> {
                    up = error == null;
                    if (error != null) {
                        LOG.warn("redis did not take an idempotency key over: {}", error.toString());
                        // it may have yet, or do so later, and the query is not sent
                        release(key, holder);
                        return Optional.of(gone);
                    }
                    return Optional.ofNullable(now).map(Holder::parse);
                });
    }

    @Override
    public void release(String key, Holder holder) {
        connection()
                .copy()
                .thenCompose(redis -> redis.async()
                        .<Long>eval(
                                RELEASE,
                                ScriptOutputType.INTEGER,
                                new String[] {IdempotencyKeys.redisKey(key)},
                                holder.toString()))
                .whenComplete((count, error) -> up = error == null);
    }

    @Override
    public CompletionStage<Optional<ConsumptionProbe>> take(String key, int perMinute) {
        BucketConfiguration limit = BucketConfiguration.builder()
                .addLimit(bandwidth -> bandwidth.capacity(perMinute).refillGreedy(perMinute, Duration.ofMinutes(1)))
                .build();
        return buckets()
                .copy()
                // the number of tokens is part of the name: what a bucket holds was counted by its own limit
                .thenCompose(known -> known.builder()
                        .build(
                                "millrace:limit:" + perMinute + ":" + key,
                                () -> CompletableFuture.completedFuture(limit))
                        .tryConsumeAndReturnRemaining(1))
                .orTimeout(patience.toMillis(), TimeUnit.MILLISECONDS)
                .handle((probe, error) -> {
                    up = error == null;
                    if (error != null) {
                        LOG.warn(
                                "redis does not know a limit, which holds for this process only: {}", error.toString());
                        return Optional.empty();
                    }
                    return Optional.of(probe);
                });
    }

    @Override
    public CompletionStage<Long> endCache() {
        return connection()
                .copy()
                .thenCompose(redis -> redis.async().incr(RedisKeys.CACHE_EPOCH))
                .orTimeout(patience.toMillis(), TimeUnit.MILLISECONDS);
    }

    /** Whether the last call got through. Where it did not, asks: nobody else may want anything for long. */
    @Override
    public boolean isUp() {
        if (!up) {
            connection()
                    .copy()
                    .thenCompose(redis -> redis.async().ping())
                    .orTimeout(patience.toMillis(), TimeUnit.MILLISECONDS)
                    .whenComplete((pong, error) -> up = error == null);
        }
        return up;
    }

    @Override
    public void close() {
        client.shutdown(0, 1, TimeUnit.SECONDS);
    }
}
