package io.millrace.gateway;

import com.github.benmanes.caffeine.cache.Cache;
import com.github.benmanes.caffeine.cache.Caffeine;
import io.github.bucket4j.Bucket;
import io.github.bucket4j.ConsumptionProbe;
import io.micrometer.core.instrument.Counter;
import io.micrometer.core.instrument.MeterRegistry;
import io.millrace.id.Ids;
import io.millrace.schema.Envelope;
import io.vertx.core.Future;
import io.vertx.core.http.HttpServerResponse;
import io.vertx.ext.web.RoutingContext;
import java.time.Duration;

/**
 * How many requests that write documents each principal may make a minute (the predecessor took 100 for each key), at all gateways
 * together. Room comes back evenly, so a client that waits as long as it is told gets on. While Redis is away each gateway counts for
 * itself, and so many gateways give as many times as much.
 */
final class DocumentLimit {
    private static final Duration MINUTE = Duration.ofMinutes(1);
    private static final int MOST_PRINCIPALS = 100_000;

    private final int perMinute;
    private final KeyStore common;
    private final Counter refused;
    /** After a minute of silence a bucket is full, as one that was never made. */
    private final Cache<String, Bucket> own = Caffeine.newBuilder()
            .expireAfterAccess(MINUTE.multipliedBy(2))
            .maximumSize(MOST_PRINCIPALS)
            .build();

    DocumentLimit(int perMinute, KeyStore common, MeterRegistry metrics) {
        this.perMinute = perMinute;
        this.common = common;
        this.refused = Counter.builder("millrace.gateway.limited")
                .description("Requests over the limit of their principal")
                .tag("limit", "documents")
                .register(metrics);
    }

    /** Counts a request; fails with 429 when its principal has made too many. */
    Future<Void> take(Envelope who, RoutingContext context) {
        String key = Ids.content(who.getTenant(), who.getPrincipal(), "documents");
        return Future.fromCompletionStage(
                        common.take(key, perMinute), context.vertx().getOrCreateContext())
                .compose(known -> answer(known.orElseGet(() -> takeOwn(key)), context.response()));
    }

    private ConsumptionProbe takeOwn(String key) {
        return own.get(
                        key,
                        fresh -> Bucket.builder()
                                .addLimit(limit -> limit.capacity(perMinute).refillGreedy(perMinute, MINUTE))
                                .build())
                .tryConsumeAndReturnRemaining(1);
    }

    private Future<Void> answer(ConsumptionProbe probe, HttpServerResponse response) {
        response.putHeader("X-RateLimit-Limit", Integer.toString(perMinute));
        response.putHeader("X-RateLimit-Remaining", Long.toString(probe.getRemainingTokens()));
        if (probe.isConsumed()) {
            return Future.succeededFuture();
        }
        refused.increment();
        return Future.failedFuture(Problem.limited(
                "at most " + perMinute + " requests a minute may write documents; POST /documents/batch takes up to"
                        + " 1,000 documents in one",
                Duration.ofNanos(probe.getNanosToWaitForRefill())));
    }
}
