package io.millrace.standalone;

import io.millrace.gateway.IdempotencyKeys;
import io.millrace.log.Vocabulary.Outcome;
import io.millrace.schema.Interaction;
import io.millrace.schema.Query;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;

/**
 * Which query each idempotency key stands for, as the log tells it. A gateway gives a key back when its query ends without an answer, so
 * there may be several with one key: it is that of the newest which was answered, or goes on.
 *
 * <p>Told of all ends before the first query. Times are milliseconds since the epoch.
 */
final class KeyedQueries {
    /** @param at when it was asked */
    private record Holder(String value, long at) {}

    private final long now;
    private final Set<String> unanswered = new HashSet<>();
    private final Map<String, Holder> holders = new HashMap<>();

    KeyedQueries(long now) {
        this.now = now;
    }

    /** @param at time of the record */
    void ended(Interaction interaction, long at) {
        // what ended this long ago was asked before that
        if (until(at) > now && !interaction.getOutcome().equals(Outcome.ANSWERED)) {
            unanswered.add(interaction.getInteractionId());
        }
    }

    /** @param at time of the record */
    void asked(Query query, long at) {
        if (until(at) <= now || unanswered.contains(query.getInteractionId())) {
            return;
        }
        IdempotencyKeys.redisKey(query)
                .ifPresent(key -> holders.merge(
                        key,
                        new Holder(IdempotencyKeys.value(query), at),
                        (one, other) -> other.at > one.at ? other : one));
    }

    /** Adds what Redis is to hold, and until when. */
    void addTo(Map<String, String> values, Map<String, Long> until) {
        holders.forEach((key, holder) -> {
            values.put(key, holder.value);
            until.put(key, until(holder.at));
        });
    }

    private static long until(long at) {
        return at + IdempotencyKeys.KEPT.toMillis();
    }
}
