package io.millrace.routers.cache;

import io.millrace.routers.redis.RedisValues;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/**
 * The gate that every cached answer goes through on its way to a client, and the other side of it, where rejections are written.
 *
 * <p>An answer passes when Redis, in one step, finds that nobody rejected it and notes who gets it. So a rejection wins whatever the
 * order of things: an answer that is kept after it was rejected, or that a look had in hands already, is refused here, and nothing is
 * served of which Redis did not note to whom, since its rating would find nothing to reject. The gate is shut
 * while this process has heard of a rejection that Redis has not taken yet, and while Redis may have forgotten some: it was started
 * since ({@code run_id}), and what it knows is a snapshot or nothing.
 *
 * <p>Thread-safe. For the services of one process that look and that hear.
 */
public final class Rejections {
    /** Of the server that answers; empty where it does not say. */
    private static final String RUN = """
            local function run()
              local info = redis.pcall('info', 'server')
              return type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
            end
            local function marked(mark)
              local began = run() .. ' '
              return mark and string.sub(mark, 1, #began) == began
            end
            """;

    /** Keys: the mark, where it is noted who was served, what must not be there. Arguments: the note, its seconds. */
    private static final String SERVE = RUN + """
            if not marked(redis.call('get', KEYS[1])) then return 'unknown' end
            for i = 3, #KEYS do
              if redis.call('exists', KEYS[i]) == 1 then return 'rejected' end
            end
            redis.call('set', KEYS[2], ARGV[1], 'EX', ARGV[2])
            return 'open'
            """;

    /** Keys: who was served, the answer. Arguments: seconds of a rejected answer, of a pair; prefixes of their keys. Returns what was served. */
    private static final String REJECT = """
            redis.call('set', KEYS[2], '1', 'EX', ARGV[1])
            local served = redis.call('get', KEYS[1])
            if not served then return '' end
            local pair = string.match(served, '^semantic (%S+)$')
            if pair then redis.call('set', ARGV[4] .. pair, '1', 'EX', ARGV[2]) end
            local first = string.match(served, '^exact %S+ %S+ (%S+)$')
            if first then redis.call('set', ARGV[3] .. first, '1', 'EX', ARGV[1]) end
            return served
            """;

    /** Keys: the mark. Arguments: now, seconds of the mark. Returns {@code known}, else the server's run and the mark. */
    private static final String LOOK = RUN + """
            local mark = redis.call('get', KEYS[1])
            if marked(mark) then
              redis.call('set', KEYS[1], run() .. ' ' .. ARGV[1], 'EX', ARGV[2])
              return 'known'
            end
            return run() .. '|' .. (mark or '')
            """;

    private final RedisValues redis;
    private final Set<String> unheld = ConcurrentHashMap.newKeySet();

    /** @param redis that of the response cache; it is not closed here */
    public Rejections(RedisValues redis) {
        this.redis = redis;
    }

    /** Whether a cached answer may be served. */
    enum Gate {
        OPEN,
        /** Somebody rejected it. */
        REJECTED,
        /** Nobody knows whether somebody did. */
        UNKNOWN;

        /** As a metric's {@code result}. */
        String label() {
            return name().toLowerCase(java.util.Locale.ROOT);
        }
    }

    /**
     * Asks whether an answer may be served, and notes that it is.
     *
     * @param interactionId that gets it
     * @param keep of the answer
     * @param rejected keys of which none may be there
     */
    Gate serve(String interactionId, Served served, Duration keep, String... rejected) throws InterruptedException {
        String[] keys = new String[rejected.length + 2];
        keys[0] = Bans.MARK;
        keys[1] = Served.key(interactionId);
        System.arraycopy(rejected, 0, keys, 2, rejected.length);
        String said = redis.eval(SERVE, keys, served.toBytes(), seconds(served.keep(keep)))
                .map(Rejections::text)
                .orElse("unknown");
        // what was heard while Redis was asked counts
        return !unheld.isEmpty() ? Gate.UNKNOWN : Gate.valueOf(said.toUpperCase(java.util.Locale.ROOT));
    }

    /** Shuts the gate until {@link #held}. */
    void heard(String feedbackId) {
        unheld.add(feedbackId);
    }

    /** How many were heard and not yet taken by Redis; while there are any, nothing is served. */
    int waiting() {
        return unheld.size();
    }

    /** Redis has taken what was heard. */
    void held(String feedbackId) {
        unheld.remove(feedbackId);
    }

    /**
     * Writes down that an answer was rejected, before or after it is kept.
     *
     * @return what that interaction got from the cache or gave to it, as {@link Served} reads it, no bytes for nothing; empty when Redis did not take it
     */
    Optional<byte[]> reject(String interactionId) throws InterruptedException {
        return redis.eval(
                REJECT,
                new String[] {Served.key(interactionId), Bans.answer(interactionId)},
                seconds(Bans.KEEP_ANSWER),
                seconds(Bans.KEEP),
                bytes(Bans.answer("")),
                bytes(Bans.key("")));
    }

    /**
     * Whether Redis knows all rejections.
     *
     * @param run of the server
     * @param since it surely knew all that had been said until then, milliseconds since the epoch; 0: it knows nothing
     */
    record Memory(boolean known, String run, long since) {}

    /** Looks whether Redis knows all rejections; empty when it cannot be asked. */
    Optional<Memory> memory() throws InterruptedException {
        return redis.eval(
                        LOOK,
                        new String[] {Bans.MARK},
                        bytes(String.valueOf(System.currentTimeMillis())),
                        seconds(Bans.KEEP))
                .map(Rejections::text)
                .map(said -> {
                    if (said.equals("known")) {
                        return new Memory(true, "", 0);
                    }
                    String[] parts = said.split("\\|", 2);
                    String time = parts[1].substring(parts[1].indexOf(' ') + 1);
                    return new Memory(false, parts[0], time.matches("\\d{1,18}") ? Long.parseLong(time) : 0);
                });
    }

    /**
     * Tells Redis what it has forgotten, and then that it knows all.
     *
     * @param run of the server that was found to have forgotten it: another one is asked again
     * @return false when Redis did not take all of it
     */
    boolean restore(Map<String, Bans.Kept> keys, String run) throws InterruptedException {
        long now = System.currentTimeMillis();
        for (Map.Entry<String, Bans.Kept> key : keys.entrySet()) {
            Duration rest = Duration.ofMillis(Math.max(1_000, key.getValue().until() - now));
            if (!redis.setNow(key.getKey(), bytes(key.getValue().value()), rest)) {
                return false;
            }
        }
        return redis.setNow(Bans.MARK, bytes(run + " " + now), Bans.KEEP);
    }

    private static byte[] seconds(Duration duration) {
        return bytes(String.valueOf(duration.toSeconds()));
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static String text(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }
}
