package io.millrace.routers.redis;

import io.lettuce.core.ClientOptions;
import io.lettuce.core.KeyValue;
import io.lettuce.core.Range;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisFuture;
import io.lettuce.core.RedisURI;
import io.lettuce.core.ScriptOutputType;
import io.lettuce.core.SetArgs;
import io.lettuce.core.SocketOptions;
import io.lettuce.core.StreamMessage;
import io.lettuce.core.XAddArgs;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.api.async.RedisAsyncCommands;
import io.lettuce.core.codec.ByteArrayCodec;
import io.lettuce.core.codec.RedisCodec;
import io.lettuce.core.codec.StringCodec;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Values that may be there. A read waits 100 ms at most; after a failure Redis is left alone for a second, so that its absence costs a
 * timeout a second and not one a query. Thread-safe.
 */
public final class RedisValues implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(RedisValues.class);
    private static final Duration TIMEOUT = Duration.ofMillis(100);
    private static final Duration CONNECT = Duration.ofSeconds(1);
    private static final long REST_NANOS = TimeUnit.SECONDS.toNanos(1);

    private static final String DELETE =
            "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0";

    private final String what;
    private final @Nullable RedisClient client;
    private @Nullable StatefulRedisConnection<String, byte[]> connection;
    private volatile long restUntil = System.nanoTime();
    private volatile boolean down;

    /**
     * @param url {@code redis://…}; empty for a memory that holds nothing
     * @param what is kept there, for the log line that says it is not
     */
    public RedisValues(String url, String what) {
        this.what = what;
        if (url.isEmpty()) {
            client = null;
            return;
        }
        RedisURI uri = RedisURI.create(url);
        uri.setTimeout(CONNECT);
        client = RedisClient.create(uri);
        client.setOptions(ClientOptions.builder()
                .disconnectedBehavior(ClientOptions.DisconnectedBehavior.REJECT_COMMANDS)
                .socketOptions(SocketOptions.builder().connectTimeout(CONNECT).build())
                .build());
    }

    /** Whether Redis failed the last time it was asked. */
    public boolean isDown() {
        return down;
    }

    /** The values of these keys, in one round trip; empty when Redis cannot be asked. */
    public Optional<List<Optional<byte[]>>> get(String... keys) throws InterruptedException {
        if (client == null || System.nanoTime() - restUntil < 0) {
            return Optional.empty();
        }
        try {
            List<KeyValue<String, byte[]>> values =
                    connection(client).async().mget(keys).get(TIMEOUT.toMillis(), TimeUnit.MILLISECONDS);
            down = false;
            return Optional.of(values.stream()
                    .map(value -> Optional.ofNullable(value.getValueOrElse(null)))
                    .toList());
        } catch (ExecutionException | TimeoutException | RuntimeException e) {
            failed(e);
            return Optional.empty();
        }
    }

    /** Keeps a value. Nobody waits for it: the next read tells whether it worked. */
    public void set(String key, byte[] value, Duration keep) {
        if (client == null || System.nanoTime() - restUntil < 0) {
            return;
        }
        try {
            connection(client).async().set(key, value, SetArgs.Builder.ex(keep));
        } catch (RuntimeException e) {
            failed(e);
        }
    }

    /**
     * Keeps a value and waits for it.
     *
     * @return false when Redis did not take it
     */
    public boolean setNow(String key, byte[] value, Duration keep) throws InterruptedException {
        return done(commands -> commands.set(key, value, SetArgs.Builder.ex(keep)));
    }

    /**
     * Deletes a value if it is still this one, and waits for it.
     *
     * @return false when Redis could not be asked
     */
    public boolean delete(String key, byte[] value) throws InterruptedException {
        return done(commands -> commands.eval(DELETE, ScriptOutputType.INTEGER, new String[] {key}, value));
    }

    private boolean done(Function<RedisAsyncCommands<String, byte[]>, RedisFuture<?>> command)
            throws InterruptedException {
        if (client == null || System.nanoTime() - restUntil < 0) {
            return false;
        }
        try {
            command.apply(connection(client).async()).get(TIMEOUT.toMillis(), TimeUnit.MILLISECONDS);
            down = false;
            return true;
        } catch (ExecutionException | TimeoutException | RuntimeException e) {
            failed(e);
            return false;
        }
    }

    /**
     * What stands in a stream.
     *
     * @param id for {@link #since}
     */
    public record Entry(String id, Map<String, byte[]> fields) {}

    /** Adds to the end of a stream, which keeps about {@code most} entries. Nobody waits for it. */
    public void append(String stream, Map<String, byte[]> fields, int most, Duration keep) {
        if (client == null || System.nanoTime() - restUntil < 0) {
            return;
        }
        try {
            RedisAsyncCommands<String, byte[]> commands = connection(client).async();
            commands.xadd(stream, XAddArgs.Builder.maxlen(most).approximateTrimming(), fields);
            commands.expire(stream, keep);
        } catch (RuntimeException e) {
            failed(e);
        }
    }

    /**
     * What was added to a stream.
     *
     * @param id of the last entry seen; empty for all
     * @return oldest first; empty too when Redis cannot be asked
     */
    public List<Entry> since(String stream, String id) throws InterruptedException {
        if (client == null || System.nanoTime() - restUntil < 0) {
            return List.of();
        }
        Range<String> range =
                id.isEmpty() ? Range.unbounded() : Range.from(Range.Boundary.excluding(id), Range.Boundary.unbounded());
        try {
            List<StreamMessage<String, byte[]>> messages =
                    connection(client).async().xrange(stream, range).get(TIMEOUT.toMillis(), TimeUnit.MILLISECONDS);
            return messages.stream()
                    .map(message -> new Entry(message.getId(), message.getBody()))
                    .toList();
        } catch (ExecutionException | TimeoutException | RuntimeException e) {
            failed(e);
            return List.of();
        }
    }

    private void failed(Exception e) {
        if (!down) {
            LOG.warn("Redis does not answer, {}: {}", what, e.toString());
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
