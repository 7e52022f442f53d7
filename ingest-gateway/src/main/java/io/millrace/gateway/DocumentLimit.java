package io.millrace.gateway;

import com.github.benmanes.caffeine.cache.Cache;
import com.github.benmanes.caffeine.cache.Caffeine;
import io.github.bucket4j.Bucket;
import io.github.bucket4j.ConsumptionProbe;
import io.micrometer.core.instrument.Counter;
import io.micrometer.core.instrument.MeterRegistry;
import io.millrace.schema.Envelope;
import io.vertx.core.http.HttpServerResponse;
import java.time.Duration;

/**
 * How many requests that write documents each principal may make a minute (the predecessor took 100 for each key). Room comes back
 * evenly, so a client that waits as long as it is told gets on. Of this process: with several gateways each gives as much.
 */
final class DocumentLimit {
    private static final Duration MINUTE = Duration.ofMinutes(1);
    private static final int MOST_PRINCIPALS = 100_000;

    private final int perMinute;
    private final Counter refused;
    /** After a minute of silence a bucket is full, as one that was never made. */
    private final Cache<String, Bucket> buckets = Caffeine.newBuilder()
            .expireAfterAccess(MINUTE.multipliedBy(2))
            .maximumSize(MOST_PRINCIPALS)
            .build();

    DocumentLimit(int perMinute, MeterRegistry metrics) {
        this.perMinute = perMinute;
        this.refused = Counter.builder("millrace.gateway.limited")
                .description("Requests over the limit of their principal")
                .tag("limit", "documents")
                .register(metrics);
    }

    /** Counts a request; refuses it with 429 when its principal has made too many. */
    void take(Envelope who, HttpServerResponse response) {
        Bucket bucket = buckets.get(
                who.getTenant() + '\n' + who.getPrincipal(),
                key -> Bucket.builder()
                        .addLimit(limit -> limit.capacity(perMinute).refillGreedy(perMinute, MINUTE))
                        .build());
        ConsumptionProbe probe = bucket.tryConsumeAndReturnRemaining(1);
        response.putHeader("X-RateLimit-Limit", Integer.toString(perMinute));
        response.putHeader("X-RateLimit-Remaining", Long.toString(probe.getRemainingTokens()));
        if (!probe.isConsumed()) {
            refused.increment();
            throw Problem.limited(
                    "at most " + perMinute + " requests a minute may write documents; POST /documents/batch takes up to"
                            + " 1,000 documents in one",
                    Duration.ofNanos(probe.getNanosToWaitForRefill()));
        }
    }
}
