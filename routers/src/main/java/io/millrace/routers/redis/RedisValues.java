package io.millrace.routers.redis;

import io.lettuce.core.KeyValue;
import io.lettuce.core.Range;
import io.lettuce.core.RedisFuture;
import io.lettuce.core.ScriptOutputType;
import io.lettuce.core.SetArgs;
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

/**
 * Values that may be there. A command waits for a given time at most, and none while Redis is away. Thread-safe.
 */
public final class RedisValues implements AutoCloseable {
    private static final Duration CONNECT = Duration.ofSeconds(1);

    private static final String DELETE =
            "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0";

    private final RedisLink<byte[]> link;
    private final long timeout;

    /**
     * @param url {@code redis://…}; empty for a memory that holds nothing
     * @param timeout of a command
     * @param what is kept there, for the log line that says it is not
     */
    public RedisValues(String url, Duration timeout, String what) {
        this.timeout = timeout.toMillis();
        link = new RedisLink<>(url, RedisCodec.of(StringCodec.UTF8, ByteArrayCodec.INSTANCE), CONNECT, what);
    }

    /** Whether Redis failed the last time it was asked. */
    public boolean isDown() {
        return link.isDown();
    }

    /** The values of these keys, in one round trip; empty when Redis cannot be asked. */
    public Optional<List<Optional<byte[]>>> get(String... keys) throws InterruptedException {
        try {
            Optional<StatefulRedisConnection<String, byte[]>> redis = link.get();
            if (redis.isEmpty()) {
                return Optional.empty();
            }
            List<KeyValue<String, byte[]>> values =
                    redis.get().async().mget(keys).get(timeout, TimeUnit.MILLISECONDS);
            link.answered();
            return Optional.of(values.stream()
                    .map(value -> Optional.ofNullable(value.getValueOrElse(null)))
                    .toList());
        } catch (ExecutionException | TimeoutException | RuntimeException e) {
            link.failed(e);
            return Optional.empty();
        }
    }

    /** Keeps a value. Nobody waits for it: the next read tells whether it worked. */
    public void set(String key, byte[] value, Duration keep) {
        try {
            link.get().ifPresent(redis -> redis.async().set(key, value, SetArgs.Builder.ex(keep)));
        } catch (RuntimeException e) {
            link.failed(e);
        }
    }

    /**
     * Keeps a value and waits for it.
     *
     * @return false when Redis did not take it
     */
    public boolean setNow(String key, byte[] value, Duration keep) throws InterruptedException {
        return answer(commands -> commands.set(key, value, SetArgs.Builder.ex(keep)))
                .isPresent();
    }

    /**
     * Deletes a value if it is still this one, and waits for it.
     *
     * @return false when Redis could not be asked
     */
    public boolean delete(String key, byte[] value) throws InterruptedException {
        return answer(commands -> commands.eval(DELETE, ScriptOutputType.INTEGER, new String[] {key}, value))
                .isPresent();
    }

    /**
     * Runs a script that returns a string, in one step for all who ask Redis.
     *
     * @return empty when Redis could not be asked, or does not do it
     */
    public Optional<byte[]> eval(String script, String[] keys, byte[]... arguments) throws InterruptedException {
        return answer(commands -> commands.eval(script, ScriptOutputType.VALUE, keys, arguments));
    }

    private <T> Optional<T> answer(Function<RedisAsyncCommands<String, byte[]>, RedisFuture<T>> command)
            throws InterruptedException {
        try {
            Optional<StatefulRedisConnection<String, byte[]>> redis = link.get();
            if (redis.isEmpty()) {
                return Optional.empty();
            }
            T answer = command.apply(redis.get().async()).get(timeout, TimeUnit.MILLISECONDS);
            link.answered();
            return Optional.of(answer);
        } catch (ExecutionException | TimeoutException | RuntimeException e) {
            link.failed(e);
            return Optional.empty();
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
        try {
            link.get().ifPresent(redis -> {
                redis.async().xadd(stream, XAddArgs.Builder.maxlen(most).approximateTrimming(), fields);
                redis.async().expire(stream, keep);
            });
        } catch (RuntimeException e) {
            link.failed(e);
        }
    }

    /**
     * What was added to a stream.
     *
     * @param id of the last entry seen; empty for all
     * @return oldest first; empty too when Redis cannot be asked
     */
    public List<Entry> since(String stream, String id) throws InterruptedException {
        Range<String> range =
                id.isEmpty() ? Range.unbounded() : Range.from(Range.Boundary.excluding(id), Range.Boundary.unbounded());
        try {
            Optional<StatefulRedisConnection<String, byte[]>> redis = link.get();
            if (redis.isEmpty()) {
                return List.of();
            }
            List<StreamMessage<String, byte[]>> messages =
                    redis.get().async().xrange(stream, range).get(timeout, TimeUnit.MILLISECONDS);
            return messages.stream()
                    .map(message -> new Entry(message.getId(), message.getBody()))
                    .toList();
        } catch (ExecutionException | TimeoutException | RuntimeException e) {
            link.failed(e);
            return List.of();
        }
    }

    @Override
    public void close() {
        link.close();
    }
}
