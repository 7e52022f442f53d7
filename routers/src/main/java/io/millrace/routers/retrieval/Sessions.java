package io.millrace.routers.retrieval;

import io.lettuce.core.ClientOptions;
import io.lettuce.core.Limit;
import io.lettuce.core.Range;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisException;
import io.lettuce.core.RedisURI;
import io.lettuce.core.ScoredValue;
import io.lettuce.core.SocketOptions;
import io.lettuce.core.ZAddArgs;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.api.sync.RedisCommands;
import io.millrace.id.Ids;
import io.millrace.schema.Envelope;
import io.millrace.schema.Query;
import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * What was asked and sent before in a session, in Redis, until nobody has asked for an hour. A session belongs to a tenant and a principal: another
 * one's session of the same name is another session.
 *
 * <p>Everything is kept by interaction and by the time of its query, so that a query that is processed twice is one turn and sees what it saw
 * the first time. Redis down makes every question the first of its session, and is said in {@code degraded}.
 */
public final class Sessions implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(Sessions.class);
    private static final Duration TIMEOUT = Duration.ofMillis(300);
    private static final Duration CONNECT = Duration.ofSeconds(1);
    private static final long KEEP_SECONDS = 3_600;

    /** Ids that are remembered as sent: what a context window can hold, and more. */
    private static final long MOST_SENT = 400;

    /** Turns whose questions are kept: a follow-up refers to the one before, and queries of one session may overtake each other. */
    private static final long MOST_TEXTS = 20;

    /** After a failure Redis is left alone this long. */
    private static final long REST_NANOS = TimeUnit.SECONDS.toNanos(1);

    private final @Nullable RedisClient client;
    private @Nullable StatefulRedisConnection<String, String> connection;
    private volatile long restUntil = System.nanoTime();

    /** @param url {@code redis://…}; empty: there are no sessions */
    public Sessions(String url) {
        if (url.isEmpty()) {
            client = null;
            return;
        }
        RedisURI uri = RedisURI.create(url);
        uri.setTimeout(TIMEOUT);
        client = RedisClient.create(uri);
        client.setOptions(ClientOptions.builder()
                .disconnectedBehavior(ClientOptions.DisconnectedBehavior.REJECT_COMMANDS)
                .socketOptions(SocketOptions.builder().connectTimeout(CONNECT).build())
                .build());
    }

    /**
     * Where a query stands in its session.
     *
     * @param turn from 1; 0 when the query has no session or nothing is known of it
     * @param before the question before it; empty when there is none, or its text may not be kept
     * @param sent ids of the passages that were sent before
     * @param known whether Redis told it
     */
    record Turn(int turn, Optional<String> before, Set<String> sent, boolean known) {
        static final Turn NONE = new Turn(0, Optional.empty(), Set.of(), true);
        static final Turn UNKNOWN = new Turn(0, Optional.empty(), Set.of(), false);
    }

    /** Notes the query as a turn of its session. */
    Turn open(Query query) {
        if (query.getSessionId().isEmpty()) {
            return Turn.NONE;
        }
        RedisClient redis = client;
        if (redis == null || System.nanoTime() - restUntil < 0) {
            return Turn.UNKNOWN;
        }
        try {
            return open(connection(redis).sync(), name(query), query);
        } catch (RedisException e) {
            return failed(e);
        }
    }

    private static Turn open(RedisCommands<String, String> redis, String name, Query query) {
        String id = query.getInteractionId();
        long at = query.getEnvelope().getOccurredAt();
        Range<Long> earlier = Range.from(Range.Boundary.unbounded(), Range.Boundary.excluding(at));
        redis.zadd(turns(name), ZAddArgs.Builder.nx(), (double) at, id);
        if (query.getStore()) {
            redis.hset(texts(name), id, query.getText());
            forgetOldTexts(redis, name);
        }
        List<String> last = redis.zrevrangebyscore(turns(name), earlier, Limit.create(0, 1));
        String before = last.isEmpty() ? null : redis.hget(texts(name), last.getFirst());
        Set<String> sent = new HashSet<>(redis.zrangebyscore(sent(name), earlier));
        Long rank = redis.zrank(turns(name), id);
        keep(redis, name);
        return new Turn(rank == null ? 1 : rank.intValue() + 1, Optional.ofNullable(before), sent, true);
    }

    private static void forgetOldTexts(RedisCommands<String, String> redis, String name) {
        List<String> old = redis.zrange(turns(name), -2 * MOST_TEXTS, -MOST_TEXTS - 1);
        if (!old.isEmpty()) {
            redis.hdel(texts(name), old.toArray(String[]::new));
        }
    }

    /** Remembers what was sent to the client of the query. */
    void sent(Query query, List<String> passageIds) {
        RedisClient redis = client;
        if (redis == null
                || query.getSessionId().isEmpty()
                || passageIds.isEmpty()
                || System.nanoTime() - restUntil < 0) {
            return;
        }
        String name = name(query);
        long at = query.getEnvelope().getOccurredAt();
        try {
            RedisCommands<String, String> commands = connection(redis).sync();
            @SuppressWarnings({"unchecked", "rawtypes"})
            ScoredValue<String>[] members = passageIds.stream()
                    .map(id -> ScoredValue.just((double) at, id))
                    .toArray(ScoredValue[]::new);
            commands.zadd(sent(name), ZAddArgs.Builder.nx(), members);
            commands.zremrangebyrank(sent(name), 0, -MOST_SENT - 1);
            keep(commands, name);
        } catch (RedisException e) {
            failed(e);
        }
    }

    private static void keep(RedisCommands<String, String> redis, String name) {
        redis.expire(turns(name), KEEP_SECONDS);
        redis.expire(texts(name), KEEP_SECONDS);
        redis.expire(sent(name), KEEP_SECONDS);
    }

    private static String name(Query query) {
        Envelope envelope = query.getEnvelope();
        return "millrace:session:"
                + Ids.checksum(String.join("\n", envelope.getTenant(), envelope.getPrincipal(), query.getSessionId()));
    }

    private static String turns(String name) {
        return name + ":turns";
    }

    private static String texts(String name) {
        return name + ":texts";
    }

    private static String sent(String name) {
        return name + ":sent";
    }

    private Turn failed(RedisException error) {
        LOG.warn("Redis does not answer, sessions are not known: {}", error.toString());
        restUntil = System.nanoTime() + REST_NANOS;
        return Turn.UNKNOWN;
    }

    private synchronized StatefulRedisConnection<String, String> connection(RedisClient redis) {
        StatefulRedisConnection<String, String> open = connection;
        if (open == null) {
            open = redis.connect();
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
