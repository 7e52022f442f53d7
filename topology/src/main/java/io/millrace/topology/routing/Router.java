package io.millrace.topology.routing;

import io.millrace.config.MillraceConfig;
import io.millrace.config.MillraceConfig.Backend;
import io.millrace.config.MillraceConfig.Deployment;
import io.millrace.config.MillraceConfig.Locality;
import io.millrace.log.AvroCodec;
import io.millrace.log.Codecs;
import io.millrace.log.DeadLetters;
import io.millrace.log.LogSettings;
import io.millrace.log.Topics;
import io.millrace.log.UndecodableException;
import io.millrace.log.Vocabulary.CommandKind;
import io.millrace.log.Vocabulary.CompletionKind;
import io.millrace.log.Vocabulary.FailureReason;
import io.millrace.log.Vocabulary.Route;
import io.millrace.schema.Answer;
import io.millrace.schema.AttemptSeen;
import io.millrace.schema.BackendStatus;
import io.millrace.schema.CachedAnswer;
import io.millrace.schema.Command;
import io.millrace.schema.Completion;
import io.millrace.schema.DeadLetter;
import io.millrace.schema.Decision;
import io.millrace.schema.DecisionInputs;
import io.millrace.schema.DeploymentSeen;
import io.millrace.schema.Dispatch;
import io.millrace.schema.Envelope;
import io.millrace.schema.Failure;
import io.millrace.schema.Feature;
import io.millrace.schema.LatencyWindow;
import io.millrace.schema.Lease;
import io.millrace.schema.Query;
import io.millrace.schema.Retrieval;
import io.millrace.schema.RoutingConfig;
import io.millrace.schema.RoutingState;
import io.millrace.schema.Thresholds;
import io.millrace.topology.internal.Expiries;
import io.millrace.topology.internal.Table;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;
import org.apache.kafka.streams.state.KeyValueStore;
import org.jspecify.annotations.Nullable;

/**
 * The state of each open interaction, moved by records.
 *
 * <p>A first retrieval makes the first decision, or the query itself where nothing is to be retrieved; the end of an attempt without a final makes the next. The state keeps the bytes of
 * each decision, so a record that comes twice re-emits them and never decides anew. It shrinks to a mark when the interaction has
 * ended, and is dropped when the deadline and its grace have passed: whatever comes later belongs to an interaction that the ledger
 * has closed.
 */
final class Router extends ContextualProcessor<String, byte[], String, byte[]> {
    /** After the deadline: long enough for redeliveries of what was in flight, short enough to bound the store. */
    private static final long GRACE_MS = 10_000;

    /** A cancel that overtook its query waits this long for it. */
    private static final long CANCEL_WAIT_MS = 60_000;

    private final LogSettings log;
    private final MillraceConfig config;
    private final AvroCodec<Query> queries;
    private final AvroCodec<Retrieval> retrievals;
    private final AvroCodec<Completion> completions;
    private final AvroCodec<Command> commands;
    private final AvroCodec<Decision> decisions;
    private final AvroCodec<Dispatch> dispatches;
    private final AvroCodec<DeadLetter> letters;
    private final Table<RoutingConfig> live;
    private final Table<BackendStatus> status;
    private final Table<LatencyWindow> latency;
    private final Deciding deciding;
    private final Confidence confidence;
    private final List<Backend> backends;
    private final Expiries forget = new Expiries();
    private final Expiries leases = new Expiries();

    /**
     * Ended interactions and their deadlines, whose marks leave with the next decision or at the next tick: alone each would be a request.
     * What a crash loses of them comes again, or stays open without a lease until its deadline, which no one acts on.
     */
    private final Map<String, Long> ended = new LinkedHashMap<>();

    /** Of the record at hand, not the largest: a clock that was wrong for a moment would leave every later query without time. */
    private long now;

    private @Nullable KeyValueStore<String, RoutingState> open;
    private @Nullable KeyValueStore<String, Lease> held;

    Router(
            LogSettings log,
            Codecs codecs,
            MillraceConfig config,
            Table<RoutingConfig> live,
            Table<BackendStatus> status,
            Table<LatencyWindow> latency) {
        this.log = log;
        this.config = config;
        this.queries = codecs.of(Topics.QUERIES);
        this.retrievals = codecs.of(Topics.RETRIEVALS);
        this.completions = codecs.of(Topics.COMPLETIONS);
        this.commands = codecs.of(Topics.COMMANDS);
        this.decisions = codecs.of(Topics.DECISIONS);
        // every work topic carries the same record
        this.dispatches = codecs.of(Topics.dispatch(Topics.BUILTIN));
        this.letters = codecs.of(Topics.DEAD_LETTERS);
        this.live = live;
        this.status = status;
        this.latency = latency;
        this.deciding = new Deciding(config.routing().maxAttempts());
        this.confidence = new Confidence.Prior(config.routing().remotePrior());
        this.backends = config.backends().values().stream()
                .sorted(Comparator.comparing(Backend::name))
                .toList();
    }

    @Override
    public void init(ProcessorContext<String, byte[]> context) {
        super.init(context);
        KeyValueStore<String, RoutingState> store = context.getStateStore(RoutingTopology.OPEN_STORE);
        open = store;
        try (var all = store.all()) {
            all.forEachRemaining(entry -> schedule(entry.key, entry.value));
        }
        KeyValueStore<String, Lease> renewals = context.getStateStore(RoutingTopology.LEASES_STORE);
        held = renewals;
        try (var all = renewals.all()) {
            all.forEachRemaining(entry -> expect(entry.key, entry.value));
        }
    }

    @Override
    public void process(Record<String, byte[]> record) {
        now = record.timestamp();
        RecordMetadata at = context().recordMetadata().orElseThrow();
        String topic = at.topic();
        try {
            if (topic.equals(log.name(Topics.TICKS))) {
                tick();
            } else if (record.value() == null || record.key() == null) {
                throw new UndecodableException("no key or no value");
            } else if (topic.equals(log.name(Topics.QUERIES))) {
                queried(record.key(), record.value());
            } else if (topic.equals(log.name(Topics.RETRIEVALS))) {
                retrieved(record.key(), retrievals.decode(record.value()), record.value());
            } else if (topic.equals(log.name(Topics.COMPLETIONS))) {
                completed(record.key(), completions.decode(record.value()), record.timestamp());
            } else {
                commanded(record.key(), commands.decode(record.value()));
            }
        } catch (UndecodableException e) {
            bury(record, at, e);
        }
    }

    /** A query that waits for no evidence is decided at once, as if an empty retrieval had come. */
    private void queried(String id, byte[] bytes) {
        Query query;
        try {
            query = queries.decode(bytes);
        } catch (UndecodableException e) {
            // the ledger makes the dead letter of it
            return;
        }
        if (query.getDirect()) {
            Retrieval none = Retrieval.newBuilder()
                    .setEnvelope(query.getEnvelope())
                    .setInteractionId(id)
                    .setQuery(query)
                    .build();
            retrieved(id, none, retrievals.encode(none));
        }
    }

    private void retrieved(String id, Retrieval retrieval, byte[] bytes) {
        RoutingState state = store().get(id);
        if (isOver(id, state)) {
            return;
        }
        if (state != null && !state.getDecisions().isEmpty()) {
            repeat(id, state, retrieval);
            return;
        }
        boolean cancelled = state != null && state.getCancelled();
        RoutingState fresh = RoutingState.newBuilder()
                .setRetrieval(ByteBuffer.wrap(bytes))
                .setDeadlineAt(retrieval.getQuery().getDeadlineAt())
                .setCancelled(cancelled)
                .build();
        decide(id, fresh, retrieval);
    }

    private void completed(String id, Completion completion, long timestamp) {
        RoutingState state = store().get(id);
        // a completion of an attempt that is not the current one is late: a decision has followed it already
        if (state == null
                || isOver(id, state)
                || completion.getAttempt() != state.getDecisions().size()) {
            return;
        }
        switch (completion.getKind()) {
            case CompletionKind.STARTED, CompletionKind.HEARTBEAT -> renew(id, timestamp, completion.getContentSent());
            case CompletionKind.ANSWERED, CompletionKind.FAILED, CompletionKind.WITHHELD, CompletionKind.CANCELLED -> {
                if (completion.getTerminal()) {
                    release(id);
                    ended.put(id, state.getDeadlineAt());
                } else {
                    RoutingState.Builder next = RoutingState.newBuilder(state);
                    if (completion.getKind().equals(CompletionKind.WITHHELD)) {
                        next.setWithheld(completion.getAnswer());
                    }
                    endAttempt(id, next, state, ended(state, completion));
                }
            }
            default -> throw new UndecodableException("a completion of kind " + completion.getKind());
        }
    }

    private void commanded(String id, Command command) {
        if (!command.getKind().equals(CommandKind.CANCEL)) {
            return;
        }
        RoutingState state = store().get(id);
        if (state == null) {
            // the cancel overtook the retrieval; remembered for a while
            save(
                    id,
                    RoutingState.newBuilder()
                            .setCancelled(true)
                            .setDeadlineAt(now + CANCEL_WAIT_MS)
                            .build());
        } else if (!state.getCancelled() && !isOver(id, state)) {
            // a running attempt is ended by its worker, which reads commands too
            save(id, RoutingState.newBuilder(state).setCancelled(true).build());
        }
    }

    private void tick() {
        markEnded();
        leases.take(now, this::lost);
        forget.take(now, id -> {
            release(id);
            store().delete(id);
        });
    }

    private void lost(String id) {
        RoutingState state = store().get(id);
        Lease lease = held().get(id);
        if (state != null && !isOver(id, state) && lease != null) {
            Decision decision = decisions.decode(
                    bytes(state.getDecisions().get(state.getDecisions().size() - 1)));
            AttemptSeen lost = seen(decision)
                    .setEnd("worker_lost")
                    .setReason(FailureReason.WORKER_LOST)
                    .setMessage("the worker was silent for "
                            + config.routing().leaseTimeout().toSeconds() + " s")
                    .setHttpStatus(502)
                    .setContentSent(lease.getContentSent())
                    .setRetryable(true)
                    .build();
            endAttempt(id, RoutingState.newBuilder(state), state, lost);
        }
    }

    private void markEnded() {
        ended.forEach((id, deadline) -> save(
                id,
                RoutingState.newBuilder().setDeadlineAt(deadline).setDone(true).build()));
        ended.clear();
    }

    private void endAttempt(String id, RoutingState.Builder next, RoutingState state, AttemptSeen ended) {
        List<AttemptSeen> attempts = new ArrayList<>(state.getAttempts());
        attempts.add(ended);
        release(id);
        decide(id, next.setAttempts(attempts).build(), retrievals.decode(bytes(state.getRetrieval())));
    }

    private void decide(String id, RoutingState state, Retrieval retrieval) {
        DecisionInputs inputs = inputs(state, retrieval);
        Envelope envelope = Envelope.newBuilder(retrieval.getQuery().getEnvelope())
                .setOccurredAt(now)
                .build();
        Decision decision = deciding.decide(envelope, id, inputs);
        byte[] encoded = decisions.encode(decision);
        RoutingState decided = RoutingState.newBuilder(state)
                .setDecisions(with(state.getDecisions(), ByteBuffer.wrap(encoded)))
                .build();
        byte[] dispatch = dispatches.encode(dispatch(decision, decided, retrieval));
        // one right after the other, so that they leave in one request; the state first, which takes longest to write
        save(id, decided);
        emit(id, decision, encoded, dispatch);
        markEnded();
    }

    /**
     * Emits the last decision and its work again, the same bytes: the work follows from the decision and the first retrieval. Not the work
     * of an attempt that is leased: it is on its topic, and a second worker would write into the same answer.
     */
    private void repeat(String id, RoutingState state, Retrieval repeated) {
        byte[] encoded = bytes(state.getDecisions().get(state.getDecisions().size() - 1));
        byte[] first = bytes(state.getRetrieval());
        Decision decision = decisions.decode(encoded);
        Retrieval retrieval = first.length == 0 ? repeated : retrievals.decode(first);
        if (held().get(id) != null) {
            context().forward(new Record<>(id, encoded, now), RoutingTopology.DECISIONS_SINK);
        } else if (config.dispatchable().contains(decision.getBackend())) {
            emit(id, decision, encoded, dispatches.encode(dispatch(decision, state, retrieval)));
        } else {
            AttemptSeen gone = seen(decision)
                    .setEnd(CompletionKind.FAILED)
                    .setReason(FailureReason.BACKEND_UNREACHABLE)
                    .setMessage("backend " + decision.getBackend() + " is no longer configured")
                    .setHttpStatus(502)
                    .setRetryable(true)
                    .build();
            endAttempt(id, RoutingState.newBuilder(state), state, gone);
        }
    }

    private void emit(String id, Decision decision, byte[] encoded, byte[] dispatch) {
        context().forward(new Record<>(id, encoded, now), RoutingTopology.DECISIONS_SINK);
        context().forward(new Record<>(id, dispatch, now), RoutingTopology.dispatchSink(decision.getBackend()));
    }

    private DecisionInputs inputs(RoutingState state, Retrieval retrieval) {
        Query query = retrieval.getQuery();
        List<Feature> features = QueryFeatures.of(query, retrieval.getContextScore());
        OptionalDouble score = retrieval.getContextScore() == null
                ? OptionalDouble.empty()
                : OptionalDouble.of(retrieval.getContextScore());
        Confidence.Estimate estimate = confidence.estimate(features, score);
        KeyValueStore<String, byte[]> configs = context().getStateStore(RoutingTopology.CONFIG_TABLE);
        Optional<RoutingConfig> override = live.get(configs, "default");
        boolean remoteOff = override.isPresent() && !override.get().getRemoteEnabled();
        CachedAnswer cached = retrieval.getCached();
        return DecisionInputs.newBuilder()
                .setNow(now)
                .setDeadlineAt(query.getDeadlineAt())
                .setCancelled(state.getCancelled())
                .setCachedKind(cached == null ? "" : cached.getKind())
                .setCachedInteractionId(cached == null ? "" : cached.getInteractionId())
                .setCachedProbability(cached == null ? null : cached.getProbability())
                .setCachedPair(cached == null ? "" : cached.getPair())
                .setBackend(query.getBackend())
                .setPreferLocal(query.getPreferLocal())
                .setLocalOnly(query.getLocalOnly() || remoteOff)
                .setLocalOnlyReason(query.getLocalOnly() ? query.getLocalOnlyReason() : remoteOff ? "config" : "")
                .setStructured(query.getStructured())
                .setTools(query.getTools())
                .setGenerate(query.getGenerate())
                .setContextScore(retrieval.getContextScore())
                .setFeatures(features)
                .setConfidence(boxed(estimate.local()))
                .setConfidenceKind(estimate.kind())
                .setConfidenceRemote(boxed(estimate.remote()))
                .setThresholds(override.map(RoutingConfig::getThresholds).orElseGet(this::fileThresholds))
                .setConfigVersion(override.map(RoutingConfig::getVersion).orElse(0L))
                .setConfigOrigin(override.isPresent() ? "log" : "file")
                .setModelVersion(estimate.modelVersion())
                .setDeployments(seen())
                .setAttempts(query.getStore() ? state.getAttempts() : silent(state.getAttempts()))
                .setDegraded(retrieval.getDegraded())
                .build();
    }

    private Thresholds fileThresholds() {
        MillraceConfig.Routing routing = config.routing();
        return new Thresholds(routing.local(), routing.fallback(), routing.qualityBar(), routing.remoteMargin());
    }

    private List<DeploymentSeen> seen() {
        KeyValueStore<String, byte[]> states = context().getStateStore(RoutingTopology.STATUS_TABLE);
        KeyValueStore<String, byte[]> windows = context().getStateStore(RoutingTopology.LATENCY_TABLE);
        List<DeploymentSeen> seen = new ArrayList<>();
        for (Backend backend : backends) {
            Optional<LatencyWindow> window = latency.get(windows, backend.name());
            for (Deployment deployment : backend.deployments()) {
                Optional<BackendStatus> known = status.get(states, deployment.name());
                seen.add(DeploymentSeen.newBuilder()
                        .setBackend(backend.name())
                        .setDeployment(deployment.name())
                        .setLocality(backend.locality() == Locality.REMOTE ? "remote" : "local")
                        // what was never probed counts as healthy: the worker finds out
                        .setHealthy(
                                known.map(s -> s.getHealthy() || s.getLoading()).orElse(true))
                        .setLoading(known.map(BackendStatus::getLoading).orElse(false))
                        .setJson(deployment.capabilities().contains("json"))
                        .setTools(deployment.capabilities().contains("tools"))
                        .setQueueDepth(known.map(BackendStatus::getQueueDepth).orElse(0))
                        .setQueueMax(config.dispatch().queue())
                        .setP50Ms(window.map(LatencyWindow::getP50Ms).orElse(null))
                        .setP95Ms(window.map(LatencyWindow::getP95Ms).orElse(null))
                        .build());
            }
        }
        return seen;
    }

    private static Dispatch dispatch(Decision decision, RoutingState state, Retrieval retrieval) {
        CachedAnswer cached = retrieval.getCached();
        boolean fromCache = decision.getRoute().equals(Route.CACHE) && cached != null;
        Answer answer =
                fromCache ? cached.getAnswer() : decision.getRoute().equals(Route.DELIVER) ? state.getWithheld() : null;
        boolean judged = decision.getRoute().equals(Route.LOCAL_WITH_FALLBACK);
        return Dispatch.newBuilder()
                .setEnvelope(decision.getEnvelope())
                .setInteractionId(decision.getInteractionId())
                .setAttempt(decision.getAttempt())
                .setRoute(decision.getRoute())
                .setBackend(decision.getBackend())
                .setDeployment(decision.getDeployment())
                .setReason(decision.getReason())
                .setConfidence(decision.getConfidence())
                .setConfidenceKind(decision.getConfidenceKind())
                .setContextScore(retrieval.getContextScore())
                .setQualityBar(judged ? decision.getThresholds().getQualityBar() : null)
                .setQuery(retrieval.getQuery())
                .setContext(retrieval.getContext())
                .setHits(retrieval.getHits())
                .setSearch(retrieval.getSearch())
                .setAnswer(answer)
                .setCachedKind(fromCache ? cached.getKind() : "")
                .setCacheTicket(retrieval.getCacheTicket())
                .setFailure(told(decision, state, retrieval))
                .build();
    }

    /** A backend may repeat in its message what it was asked, and decisions are kept for more than a year. */
    private static List<AttemptSeen> silent(List<AttemptSeen> attempts) {
        return attempts.stream()
                .map(attempt -> AttemptSeen.newBuilder(attempt).setMessage("").build())
                .toList();
    }

    /** What the client is told, which a decision on a query that is not to be stored does not say. */
    private static @Nullable Failure told(Decision decision, RoutingState state, Retrieval retrieval) {
        Failure failure = decision.getFailure();
        List<AttemptSeen> attempts = state.getAttempts();
        boolean left = failure != null
                && failure.getMessage().isEmpty()
                && !retrieval.getQuery().getStore()
                && !attempts.isEmpty();
        return left
                ? Failure.newBuilder(failure)
                        .setMessage(attempts.get(attempts.size() - 1).getMessage())
                        .build()
                : failure;
    }

    private static AttemptSeen.Builder seen(Decision decision) {
        return AttemptSeen.newBuilder()
                .setAttempt(decision.getAttempt())
                .setRoute(decision.getRoute())
                .setBackend(decision.getBackend())
                .setDeployment(decision.getDeployment());
    }

    private AttemptSeen ended(RoutingState state, Completion completion) {
        Decision decision = decisions.decode(bytes(state.getDecisions().get(completion.getAttempt() - 1)));
        Failure failure = completion.getFailure();
        return seen(decision)
                .setEnd(completion.getKind())
                .setReason(failure == null ? "" : failure.getReason())
                .setMessage(failure == null ? "" : failure.getMessage())
                .setHttpStatus(failure == null ? 0 : failure.getHttpStatus())
                .setRetryAfterMs(failure == null ? 0 : failure.getRetryAfterMs())
                .setContentSent(completion.getContentSent())
                .setRetryable(failure != null && failure.getRetryable())
                .setQuality(completion.getQuality())
                .build();
    }

    private boolean isOver(String id, @Nullable RoutingState state) {
        return ended.containsKey(id) || (state != null && state.getDone());
    }

    private void save(String id, RoutingState state) {
        schedule(id, state);
        store().put(id, state);
    }

    private void schedule(String id, RoutingState state) {
        forget.set(id, Expiries.roughly(state.getDeadlineAt() + GRACE_MS));
    }

    private void renew(String id, long at, boolean contentSent) {
        Lease before = held().get(id);
        Lease lease = Lease.newBuilder()
                .setRenewedAt(before == null ? at : Math.max(at, before.getRenewedAt()))
                .setContentSent(contentSent || (before != null && before.getContentSent()))
                .build();
        held().put(id, lease);
        expect(id, lease);
    }

    private void expect(String id, Lease lease) {
        leases.set(id, lease.getRenewedAt() + config.routing().leaseTimeout().toMillis());
    }

    private void release(String id) {
        leases.remove(id);
        if (held().get(id) != null) {
            held().delete(id);
        }
    }

    private void bury(Record<String, byte[]> record, RecordMetadata at, UndecodableException error) {
        byte[] key = record.key() == null ? null : record.key().getBytes(java.nio.charset.StandardCharsets.UTF_8);
        DeadLetter letter = DeadLetters.letter(
                new ConsumerRecord<>(at.topic(), at.partition(), at.offset(), key, record.value()),
                "routing",
                error,
                1,
                now);
        String letterKey = record.key() == null ? "" : record.key();
        context().forward(new Record<>(letterKey, letters.encode(letter), now), RoutingTopology.DEAD_LETTERS_SINK);
    }

    private KeyValueStore<String, RoutingState> store() {
        return java.util.Objects.requireNonNull(open, "init comes first");
    }

    private KeyValueStore<String, Lease> held() {
        return java.util.Objects.requireNonNull(held, "init comes first");
    }

    private static @Nullable Double boxed(OptionalDouble value) {
        return value.isPresent() ? value.getAsDouble() : null;
    }

    private static <T> List<T> with(List<T> list, T last) {
        List<T> longer = new ArrayList<>(list);
        longer.add(last);
        return longer;
    }

    private static byte[] bytes(ByteBuffer buffer) {
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        return bytes;
    }
}
