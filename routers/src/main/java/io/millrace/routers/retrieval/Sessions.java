package io.millrace.routers.retrieval;

import io.lettuce.core.Limit;
import io.lettuce.core.Range;
import io.lettuce.core.RedisException;
import io.lettuce.core.ScoredValue;
import io.lettuce.core.ScriptOutputType;
import io.lettuce.core.ZAddArgs;
import io.lettuce.core.api.sync.RedisCommands;
import io.lettuce.core.codec.StringCodec;
import io.millrace.id.Ids;
import io.millrace.routers.redis.RedisLink;
import io.millrace.schema.Envelope;
import io.millrace.schema.Query;
import io.vertx.core.json.JsonObject;
import java.time.Duration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * What was asked and sent before in a session, in Redis, until nobody has asked for an hour. A session belongs to a tenant and a principal: another
 * one's session of the same name is another session.
 *
 * <p>Everything is kept by interaction and by the time of its query, so that a query that is processed twice is one turn and sees what it saw
 * the first time. Redis down makes every question the first of its session, and is said in {@code degraded}.
 */
public final class Sessions implements AutoCloseable {
    /** A session that is not known costs the client more than a miss in a cache does. */
    private static final Duration LEAST_PATIENCE = Duration.ofMillis(300);

    private static final long KEEP_SECONDS = 3_600;

    /** Ids that are remembered as sent: what a context window can hold, and more. */
    private static final long MOST_SENT = 400;

    /**
     * Turns that are kept one by one; those before them are kept as a sum. A session that never rests would grow for ever, and a query that
     * is processed twice is not as old as that.
     */
    static final int MOST_TURNS = 400;

    /**
     * Sums up the oldest turns. A script, so that no turn is counted twice or lost between two workers.
     *
     * <p>Keys: turns, sizes, totals. Argument: how many turns are kept.
     */
    private static final String SUM_UP = """
            local over = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[1])
            if over <= 0 then return 0 end
            local old = redis.call('ZRANGE', KEYS[1], 0, over - 1, 'WITHSCORES')
            redis.call('HSETNX', KEYS[3], 'first', old[2])
            for i = 1, #old, 2 do
              local size = redis.call('HGET', KEYS[2], old[i])
              if size then
                local passages, tokens = string.match(size, '(%d+) (%d+)')
                redis.call('HINCRBY', KEYS[3], 'passages', passages)
                redis.call('HINCRBY', KEYS[3], 'tokens', tokens)
                redis.call('HDEL', KEYS[2], old[i])
              end
            end
            redis.call('HINCRBY', KEYS[3], 'turns', over)
            redis.call('ZREMRANGEBYRANK', KEYS[1], 0, over - 1)
            return over
            """;

    /** Turns whose questions are kept: a follow-up refers to the one before, and queries of one session may overtake each other. */
    private static final long MOST_TEXTS = 20;

    private final RedisLink<String> link;

    /**
     * @param url {@code redis://…}; empty: there are no sessions
     * @param patience how long a command may take; 300 ms at least
     */
    public Sessions(String url, Duration patience) {
        link = new RedisLink<>(
                url,
                StringCodec.UTF8,
                patience.compareTo(LEAST_PATIENCE) < 0 ? LEAST_PATIENCE : patience,
                "sessions are not known");
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
        try {
            return link.get()
                    .map(redis -> {
                        Turn turn = open(redis.sync(), name(query), query);
                        link.answered();
                        return turn;
                    })
                    .orElse(Turn.UNKNOWN);
        } catch (RedisException e) {
            link.failed(e);
            return Turn.UNKNOWN;
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
            Map<String, String> metadata = metadata(query);
            if (!metadata.isEmpty()) {
                redis.del(metadata(name));
                redis.hset(metadata(name), metadata);
            }
        }
        List<String> last = redis.zrevrangebyscore(turns(name), earlier, Limit.create(0, 1));
        String before = last.isEmpty() ? null : redis.hget(texts(name), last.getFirst());
        Set<String> sent = new HashSet<>(redis.zrangebyscore(sent(name), earlier));
        redis.<Long>eval(
                SUM_UP,
                ScriptOutputType.INTEGER,
                new String[] {turns(name), sizes(name), totals(name)},
                String.valueOf(MOST_TURNS));
        Long rank = redis.zrank(turns(name), id);
        long summed = number(redis.hget(totals(name), "turns"));
        keep(redis, name);
        return new Turn(
                Math.toIntExact(summed + (rank == null ? 0 : rank)) + 1, Optional.ofNullable(before), sent, true);
    }

    private static Map<String, String> metadata(Query query) {
        if (!query.getApi().equals("context") || query.getBody().isEmpty()) {
            return Map.of();
        }
        Map<String, String> metadata = new HashMap<>();
        new JsonObject(query.getBody())
                .getJsonObject("metadata", new JsonObject())
                .forEach(entry -> metadata.put(entry.getKey(), String.valueOf(entry.getValue())));
        return metadata;
    }

    private static void forgetOldTexts(RedisCommands<String, String> redis, String name) {
        List<String> old = redis.zrange(turns(name), -2 * MOST_TEXTS, -MOST_TEXTS - 1);
        if (!old.isEmpty()) {
            redis.hdel(texts(name), old.toArray(String[]::new));
        }
    }

    /**
     * Remembers what was sent to the client of the query. A client that collects context has it; a model that answers forgets it.
     *
     * @param tokens of the passages
     */
    void sent(Query query, List<String> passageIds, int tokens) {
        if (query.getSessionId().isEmpty() || passageIds.isEmpty()) {
            return;
        }
        try {
            link.get().ifPresent(redis -> sent(redis.sync(), name(query), query, passageIds, tokens));
        } catch (RedisException e) {
            link.failed(e);
        }
    }

    private static void sent(
            RedisCommands<String, String> redis, String name, Query query, List<String> passageIds, int tokens) {
        // a turn that was summed up meanwhile cannot be added to any more
        if (redis.zscore(turns(name), query.getInteractionId()) != null) {
            redis.hset(sizes(name), query.getInteractionId(), passageIds.size() + " " + tokens);
        }
        if (query.getApi().equals("context")) {
            double at = query.getEnvelope().getOccurredAt();
            @SuppressWarnings({"unchecked", "rawtypes"})
            ScoredValue<String>[] members =
                    passageIds.stream().map(id -> ScoredValue.just(at, id)).toArray(ScoredValue[]::new);
            redis.zadd(sent(name), ZAddArgs.Builder.nx(), members);
            redis.zremrangebyrank(sent(name), 0, -MOST_SENT - 1);
        }
        keep(redis, name);
    }

    /**
     * A session as a whole.
     *
     * @param at times of the first and the last query, milliseconds
     * @param turns queries
     * @param passages in the contexts of all turns
     * @param tokens of these contexts
     * @param queries the last ones, oldest first; without those that may not be stored
     * @param metadata as the last turn that had some gave it
     */
    public record Summary(
            Times at, int turns, long passages, long tokens, List<String> queries, Map<String, String> metadata) {
        /** Milliseconds since the epoch. */
        public record Times(long first, long last) {}
    }

    /**
     * A session that was used in the last hour.
     *
     * @throws RedisException when the sessions are not known now
     */
    public Optional<Summary> summary(String tenant, String principal, String id) {
        String name = name(tenant, principal, id);
        RedisCommands<String, String> redis = connected();
        List<ScoredValue<String>> turns = redis.zrangeWithScores(turns(name), 0, -1);
        if (turns.isEmpty()) {
            return Optional.empty();
        }
        Map<String, String> texts = redis.hgetall(texts(name));
        Map<String, String> totals = redis.hgetall(totals(name));
        long passages = number(totals.get("passages"));
        long tokens = number(totals.get("tokens"));
        for (String size : redis.hvals(sizes(name))) {
            int blank = size.indexOf(' ');
            passages += Long.parseLong(size.substring(0, blank));
            tokens += Long.parseLong(size.substring(blank + 1));
        }
        return Optional.of(new Summary(
                new Summary.Times(
                        totals.containsKey("first")
                                ? (long) Double.parseDouble(totals.get("first"))
                                : (long) turns.getFirst().getScore(),
                        (long) turns.getLast().getScore()),
                Math.toIntExact(number(totals.get("turns")) + turns.size()),
                passages,
                tokens,
                turns.stream()
                        .flatMap(turn -> Optional.ofNullable(texts.get(turn.getValue())).stream())
                        .toList(),
                redis.hgetall(metadata(name))));
    }

    /**
     * Forgets a session.
     *
     * @throws RedisException when Redis does not do it
     */
    public void clear(String tenant, String principal, String id) {
        String name = name(tenant, principal, id);
        connected().del(turns(name), texts(name), sent(name), sizes(name), totals(name), metadata(name));
    }

    private static long number(@Nullable String text) {
        return text == null ? 0 : Long.parseLong(text);
    }

    private RedisCommands<String, String> connected() {
        return link.get().orElseThrow(() -> new RedisException("Redis is away")).sync();
    }

    private static void keep(RedisCommands<String, String> redis, String name) {
        redis.expire(turns(name), KEEP_SECONDS);
        redis.expire(texts(name), KEEP_SECONDS);
        redis.expire(sent(name), KEEP_SECONDS);
        redis.expire(sizes(name), KEEP_SECONDS);
        redis.expire(totals(name), KEEP_SECONDS);
        redis.expire(metadata(name), KEEP_SECONDS);
    }

    private static String name(Query query) {
        Envelope envelope = query.getEnvelope();
        return name(envelope.getTenant(), envelope.getPrincipal(), query.getSessionId());
    }

    private static String name(String tenant, String principal, String id) {
        return "millrace:session:" + Ids.checksum(String.join("\n", tenant, principal, id));
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

    private static String sizes(String name) {
        return name + ":sizes";
    }

    private static String totals(String name) {
        return name + ":totals";
    }

    private static String metadata(String name) {
        return name + ":metadata";
    }

    @Override
    public void close() {
        link.close();
    }
}
