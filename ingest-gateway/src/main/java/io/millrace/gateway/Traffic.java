package io.millrace.gateway;

import io.micrometer.core.instrument.Counter;
import io.micrometer.core.instrument.Gauge;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.Timer;
import io.millrace.config.MillraceConfig;
import io.millrace.config.MillraceConfig.Deployment;
import io.millrace.config.MillraceConfig.Locality;
import io.millrace.log.Vocabulary;
import io.millrace.log.Vocabulary.FailureReason;
import io.millrace.log.Vocabulary.Route;
import io.millrace.schema.Answer;
import io.millrace.schema.Query;
import io.millrace.schema.Reply;
import io.vertx.core.json.JsonObject;
import java.time.Duration;
import java.util.Collection;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.DoubleAdder;
import java.util.concurrent.atomic.LongAdder;
import org.jspecify.annotations.Nullable;

/**
 * What this gateway has counted since it started, for {@code /stats} and {@code /metrics}. Labels are words of closed sets and
 * configured names, so their number is bounded whatever clients send.
 */
final class Traffic {
    private static final Duration[] BUCKETS = {
        Duration.ofMillis(2),
        Duration.ofMillis(5),
        Duration.ofMillis(10),
        Duration.ofMillis(25),
        Duration.ofMillis(50),
        Duration.ofMillis(100),
        Duration.ofMillis(250),
        Duration.ofMillis(500),
        Duration.ofSeconds(1),
        Duration.ofSeconds(2),
        Duration.ofSeconds(5),
        Duration.ofSeconds(10),
        Duration.ofSeconds(30),
        Duration.ofSeconds(60),
        Duration.ofSeconds(120)
    };

    /** In place of a route, of queries that ended before any was heard of. */
    private static final String NO_ROUTE = "none";

    private final MeterRegistry metrics;
    private final MillraceConfig config;
    private final Optional<Deployment> priced;
    private final Counter acceptedTotal;
    private final Counter cancels;
    private final Map<String, Counter> refusals = new ConcurrentHashMap<>();
    private final Map<String, Counter> routes = new ConcurrentHashMap<>();
    private final Map<String, Timer> latencies = new ConcurrentHashMap<>();
    private final Map<String, LongAdder> byRoute = new ConcurrentHashMap<>();
    private final Map<String, LongAdder> byOutcome = new ConcurrentHashMap<>();
    private final Map<String, LongAdder> byCache = new ConcurrentHashMap<>();
    /** Queries that ended and whose clients allowed a cached answer. */
    private final LongAdder cacheable = new LongAdder();

    private final LongAdder local = new LongAdder();
    private final LongAdder remote = new LongAdder();
    private final LongAdder ends = new LongAdder();
    private final DoubleAdder latencySum = new DoubleAdder();
    private AtomicInteger inFlightNow = new AtomicInteger();
    private final DoubleAdder saved = new DoubleAdder();

    Traffic(MeterRegistry metrics, MillraceConfig config) {
        this.metrics = metrics;
        this.config = config;
        this.priced = config.backends().values().stream()
                .filter(backend -> backend.locality() == Locality.REMOTE)
                .flatMap(backend -> backend.deployments().stream())
                .filter(deployment -> deployment.inputPrice() > 0 || deployment.outputPrice() > 0)
                .findFirst();
        this.acceptedTotal = Counter.builder("millrace.gateway.accepted")
                .description("Queries that the log has taken")
                .register(metrics);
        this.cancels = Counter.builder("millrace.gateway.cancels")
                .description("Cancel commands for clients that went away or were too slow")
                .register(metrics);
        // dashboards must see a zero and not a hole before the first query
        route(Route.LOCAL);
        latency("chat", Vocabulary.Outcome.ANSWERED);
    }

    void watchInFlight(AtomicInteger inFlight) {
        inFlightNow = inFlight;
        Gauge.builder("millrace.gateway.in.flight", inFlight, AtomicInteger::doubleValue)
                .description("Queries that wait for an answer")
                .register(metrics);
    }

    void accepted(Query query) {
        if (isProbe(query)) {
            return;
        }
        acceptedTotal.increment();
    }

    void cancelled() {
        cancels.increment();
    }

    /** @param reason overloaded, log or starting */
    void refused(String reason) {
        refusals.computeIfAbsent(
                        reason,
                        key -> Counter.builder("millrace.gateway.refused")
                                .description("Queries that were not accepted")
                                .tag("reason", key)
                                .register(metrics))
                .increment();
    }

    /**
     * Counts the end of a query that was accepted.
     *
     * @param streaming route of what the client has of an answer
     */
    void ended(Query query, double elapsedMs, Outcome outcome, Optional<String> streaming) {
        if (isProbe(query)) {
            return;
        }
        String word = switch (outcome) {
            case Outcome.Answered answered -> {
                answered(answered.reply());
                routed(answered.reply().getRoute());
                yield Vocabulary.Outcome.ANSWERED;
            }
            case Outcome.Failed failed -> {
                routed(failed.reply().map(Reply::getRoute).or(() -> streaming).orElse(NO_ROUTE));
                yield failed.problem().code().equals(FailureReason.CANCELLED)
                        ? Vocabulary.Outcome.CANCELLED
                        : Vocabulary.Outcome.FAILED;
            }
        };
        byOutcome.computeIfAbsent(word, key -> new LongAdder()).increment();
        if (query.getCache()) {
            cacheable.increment();
        }
        ends.increment();
        latencySum.add(elapsedMs);
        latency(query.getApi(), word).record((long) (elapsedMs * 1e6), java.util.concurrent.TimeUnit.NANOSECONDS);
    }

    /** Nobody asked. */
    private static boolean isProbe(Query query) {
        return query.getApi().equals("probe");
    }

    private void answered(Reply reply) {
        if (!reply.getCachedKind().isEmpty()) {
            byCache.computeIfAbsent(reply.getCachedKind(), key -> new LongAdder())
                    .increment();
        }
        boolean builtIn =
                Optional.ofNullable(config.backends().get(reply.getBackend())).isEmpty();
        if (builtIn) {
            return;
        }
        if (isRemote(reply.getBackend())) {
            remote.increment();
            return;
        }
        local.increment();
        Answer answer = reply.getAnswer();
        if (answer != null && priced.isPresent()) {
            Deployment elsewhere = priced.get();
            saved.add((answer.getTokensIn() * elsewhere.inputPrice() + answer.getTokensOut() * elsewhere.outputPrice())
                            / 1e6
                    - answer.getCostUsd());
        }
    }

    private void routed(String route) {
        route(route).increment();
        byRoute.computeIfAbsent(route, key -> new LongAdder()).increment();
    }

    /** Whether a backend's answers come from elsewhere; the built-ins are local. */
    boolean isRemote(String backend) {
        MillraceConfig.Backend known = config.backends().get(backend);
        return known != null && known.locality() == Locality.REMOTE;
    }

    private Counter route(String route) {
        return routes.computeIfAbsent(
                route,
                key -> Counter.builder("hybrid.route.decisions")
                        .description("Queries that ended, by the route that ended them")
                        .tag("route", key)
                        .register(metrics));
    }

    private Timer latency(String api, String outcome) {
        return latencies.computeIfAbsent(
                api + ' ' + outcome,
                key -> Timer.builder("hybrid.request.latency")
                        .description("From acceptance to the end of the answer")
                        .tag("endpoint", api)
                        .tag("outcome", outcome)
                        .serviceLevelObjectives(BUCKETS)
                        .register(metrics));
    }

    /**
     * The orchestration seed's fields and counts by route and outcome, which have the same sum: all that were accepted and ended. What nothing is known of is null: the average before the first
     * query, savings without a priced remote deployment, patterns while nothing learns.
     */
    JsonObject toJson() {
        long total = ends.sum();
        long here = local.sum();
        long away = remote.sum();
        return new JsonObject()
                .put("total_queries", total)
                .put("local_route", here)
                .put("remote_route", away)
                .put("local_percentage", here + away == 0 ? null : round(100.0 * here / (here + away)))
                .put("average_latency_ms", total == 0 ? null : round(latencySum.sum() / total))
                .put("total_cost_saved", priced.isEmpty() ? null : saved.sum())
                .put("patterns_learned", null)
                .put("in_flight", inFlightNow.get())
                .put("routes", counts(byRoute))
                .put("outcomes", counts(byOutcome))
                .put("cache", cache());
    }

    /** What people said of cached answers is heard where retrieval runs: null where that is another process, whose metrics have it. */
    private JsonObject cache() {
        long asked = cacheable.sum();
        long exact = hits("exact");
        long semantic = hits("semantic");
        return new JsonObject()
                .put("asked", asked)
                .put("exact", exact)
                .put("semantic", semantic)
                .put("hit_percentage", asked == 0 ? null : round(100.0 * (exact + semantic) / asked))
                .put("approved", heard("millrace.response.cache.feedback", "verdict", "approved"))
                .put("rejected", heard("millrace.response.cache.feedback", "verdict", "rejected"))
                .put("evicted", heard("millrace.response.cache", "result", "evicted"));
    }

    private long hits(String kind) {
        LongAdder count = byCache.get(kind);
        return count == null ? 0 : count.sum();
    }

    private @Nullable Long heard(String counter, String tag, String value) {
        Collection<Counter> found = metrics.find(counter).tag(tag, value).counters();
        return found.isEmpty()
                ? null
                : (long) found.stream().mapToDouble(Counter::count).sum();
    }

    private static JsonObject counts(Map<String, LongAdder> counters) {
        JsonObject json = new JsonObject();
        new TreeMap<>(counters).forEach((key, count) -> json.put(key, count.sum()));
        return json;
    }

    private static double round(double value) {
        return Math.round(value * 10) / 10.0;
    }
}
