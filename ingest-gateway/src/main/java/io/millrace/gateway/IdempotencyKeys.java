package io.millrace.gateway;

import io.millrace.id.Ids;
import io.millrace.schema.Query;
import java.time.Duration;
import java.util.Optional;

/** How idempotency keys are kept in Redis. */
public final class IdempotencyKeys {
    /** How long a key means its first interaction. */
    public static final Duration KEPT = Duration.ofDays(1);

    private static final String PREFIX = "millrace:idempotency:";

    private IdempotencyKeys() {}

    /** Redis key of a query that came with an idempotency key; its value is the interaction id. */
    public static Optional<String> redisKey(Query query) {
        return query.getIdempotencyKey().isEmpty() ? Optional.empty() : Optional.of(redisKey(of(query)));
    }

    /** Whose key it is, and which. */
    static String of(Query query) {
        return Ids.content(
                query.getEnvelope().getTenant(), query.getEnvelope().getPrincipal(), query.getIdempotencyKey());
    }

    static String redisKey(String key) {
        return PREFIX + key;
    }
}
