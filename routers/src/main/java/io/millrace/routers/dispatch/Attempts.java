package io.millrace.routers.dispatch;

import io.github.resilience4j.circuitbreaker.CircuitBreaker;
import io.github.resilience4j.circuitbreaker.CircuitBreakerConfig;
import io.micrometer.core.instrument.MeterRegistry;
import io.millrace.config.MillraceConfig;
import io.millrace.config.MillraceConfig.Backend;
import io.millrace.config.MillraceConfig.Deployment;
import io.millrace.config.MillraceConfig.Locality;
import io.millrace.log.Vocabulary.CompletionKind;
import io.millrace.routers.backend.ChatModel;
import io.millrace.schema.Completion;
import io.millrace.schema.Dispatch;
import io.millrace.schema.Envelope;
import io.millrace.schema.Reply;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;

/** What the attempts of one worker share: its name, its deployments' slots and circuits, and the way to the log. */
final class Attempts {
    private final Outbox outbox;
    private final MeterRegistry metrics;
    private final MillraceConfig config;
    private final String worker;
    private final ChatModel model;
    private final Optional<Claims> claims;
    private final AnswerSink sink;
    private final ScheduledExecutorService alarms;
    private final Map<String, Semaphore> slots = new HashMap<>();
    private final Map<String, CircuitBreaker> circuits = new HashMap<>();

    /** When circuits that were opened let the next call through, by deployment; {@link System#nanoTime}. */
    private final Map<String, Long> trials = new ConcurrentHashMap<>();

    /** @param deployments those that this worker may be asked to use */
    Attempts(
            Outbox outbox,
            MeterRegistry metrics,
            MillraceConfig config,
            List<Deployment> deployments,
            String worker,
            ChatModel model,
            Optional<Claims> claims,
            AnswerSink sink,
            ScheduledExecutorService alarms) {
        this.outbox = outbox;
        this.metrics = metrics;
        this.config = config;
        this.worker = worker;
        this.model = model;
        this.claims = claims;
        this.sink = sink;
        this.alarms = alarms;
        CircuitBreakerConfig breaker = CircuitBreakerConfig.custom()
                .slidingWindowType(CircuitBreakerConfig.SlidingWindowType.COUNT_BASED)
                // a window of n calls of which all failed is n failures in a row
                .slidingWindowSize(config.dispatch().breakerFailures())
                .minimumNumberOfCalls(config.dispatch().breakerFailures())
                .failureRateThreshold(100)
                .waitDurationInOpenState(config.dispatch().breakerOpen())
                // one that goes well is enough: with more, a deployment that is well is told of as ill until the next
                // query
                .permittedNumberOfCallsInHalfOpenState(1)
                .build();
        for (Deployment deployment : deployments) {
            slots.put(deployment.name(), new Semaphore(deployment.concurrency(), true));
            CircuitBreaker circuit = CircuitBreaker.of(deployment.name(), breaker);
            circuit.getEventPublisher().onStateTransition(event -> {
                if (event.getStateTransition().getToState() == CircuitBreaker.State.OPEN) {
                    trials.put(
                            deployment.name(),
                            System.nanoTime() + config.dispatch().breakerOpen().toNanos());
                }
            });
            circuits.put(deployment.name(), circuit);
        }
    }

    MillraceConfig config() {
        return config;
    }

    ChatModel model() {
        return model;
    }

    String worker() {
        return worker;
    }

    Optional<Claims> claims() {
        return claims;
    }

    AnswerSink sink() {
        return sink;
    }

    /** The deployment that a dispatch names, when this worker's backend has it. */
    Optional<Deployment> deployment(Dispatch dispatch) {
        return config.deployment(dispatch.getDeployment()).filter(found -> slots.containsKey(found.name()));
    }

    Semaphore slots(Deployment deployment) {
        return Objects.requireNonNull(slots.get(deployment.name()));
    }

    CircuitBreaker circuit(Deployment deployment) {
        return Objects.requireNonNull(circuits.get(deployment.name()));
    }

    /** Milliseconds until a deployment whose circuit is open is asked again, at least 1: how a trial that is under way ends nobody knows. */
    long untilTrialMs(Deployment deployment) {
        Long trial = trials.get(deployment.name());
        return trial == null ? 1 : Math.max(1, TimeUnit.NANOSECONDS.toMillis(trial - System.nanoTime()));
    }

    /** Deployments whose circuit is not closed, with its state. */
    Map<String, String> openCircuits() {
        Map<String, String> open = new HashMap<>();
        circuits.forEach((deployment, circuit) -> {
            if (circuit.getState() != CircuitBreaker.State.CLOSED) {
                open.put(deployment, "circuit " + circuit.getState().name().toLowerCase(java.util.Locale.ROOT));
            }
        });
        return open;
    }

    /** Whether calls of this deployment cost money or leave the machine, and so are claimed first. */
    boolean isPaid(Dispatch dispatch, Deployment deployment) {
        Backend backend = config.backends().get(dispatch.getBackend());
        return deployment.inputPrice() + deployment.outputPrice() > 0
                || (backend != null && backend.locality() == Locality.REMOTE);
    }

    /** Runs something later, unless it is cancelled. */
    ScheduledFuture<?> after(long millis, Runnable alarm) {
        return alarms.schedule(alarm, Math.max(0, millis), TimeUnit.MILLISECONDS);
    }

    void countUnclaimed() {
        metrics.counter("millrace.dispatch.unclaimed").increment();
    }

    /** The lease of an attempt that has just been taken. */
    Lease lease(Dispatch dispatch) {
        double queued = completion(dispatch, CompletionKind.STARTED).getQueuedMs();
        metrics.timer("millrace.dispatch.queued", "backend", dispatch.getBackend())
                .record((long) queued, TimeUnit.MILLISECONDS);
        return new Lease(() -> complete(
                completion(dispatch, CompletionKind.STARTED).setQueuedMs(queued).build()));
    }

    /** A completion to fill in. */
    Completion.Builder completion(Dispatch dispatch, String kind) {
        long now = System.currentTimeMillis();
        return Completion.newBuilder()
                .setEnvelope(Envelope.newBuilder(dispatch.getEnvelope())
                        .setOccurredAt(now)
                        .build())
                .setInteractionId(dispatch.getInteractionId())
                .setAttempt(dispatch.getAttempt())
                .setKind(kind)
                .setWorkerId(worker)
                .setBackend(dispatch.getBackend())
                .setDeployment(dispatch.getDeployment())
                .setQueuedMs((double) Math.max(0, now - dispatch.getEnvelope().getOccurredAt()));
    }

    CompletableFuture<?> complete(Completion completion) {
        return outbox.complete(completion);
    }

    /** A reply to fill in. */
    Reply.Builder reply(Dispatch dispatch, String kind, int sequence) {
        return decided(dispatch)
                .setEnvelope(Envelope.newBuilder(dispatch.getEnvelope())
                        .setOccurredAt(System.currentTimeMillis())
                        .build())
                .setInteractionId(dispatch.getInteractionId())
                .setGatewayId(dispatch.getQuery().getGatewayId())
                .setAttempt(dispatch.getAttempt())
                .setSequence(sequence)
                .setKind(kind)
                .setBackend(dispatch.getBackend())
                .setDeployment(dispatch.getDeployment());
    }

    /** What a client is told of the decision, but for what an end says too: the part of a final that its end carries. */
    Reply.Builder decided(Dispatch dispatch) {
        return Reply.newBuilder()
                .setRoute(dispatch.getRoute())
                .setReason(dispatch.getReason())
                .setConfidence(dispatch.getConfidence())
                .setConfidenceKind(dispatch.getConfidenceKind())
                .setContextScore(dispatch.getContextScore())
                .setCachedKind(dispatch.getCachedKind())
                .setSearch(dispatch.getSearch())
                .setContextAdded(!dispatch.getContext().isEmpty());
    }

    CompletableFuture<?> send(Dispatch dispatch, Reply reply) {
        return ready(dispatch, reply).send();
    }

    /** {@link #send} that only encodes. */
    Outbox.Ready ready(Dispatch dispatch, Reply reply) {
        return outbox.reply(dispatch.getQuery().getReplyPartition(), reply);
    }
}
