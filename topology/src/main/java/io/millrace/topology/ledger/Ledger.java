package io.millrace.topology.ledger;

import io.millrace.id.Ids;
import io.millrace.log.AvroCodec;
import io.millrace.log.Codecs;
import io.millrace.log.DeadLetters;
import io.millrace.log.LogSettings;
import io.millrace.log.Topics;
import io.millrace.log.UndecodableException;
import io.millrace.log.Vocabulary.CompletionKind;
import io.millrace.log.Vocabulary.FailureReason;
import io.millrace.log.Vocabulary.Outcome;
import io.millrace.schema.Answer;
import io.millrace.schema.Attempt;
import io.millrace.schema.AttemptSeen;
import io.millrace.schema.Completion;
import io.millrace.schema.DeadLetter;
import io.millrace.schema.Decision;
import io.millrace.schema.Envelope;
import io.millrace.schema.EvidenceRef;
import io.millrace.schema.Failure;
import io.millrace.schema.Interaction;
import io.millrace.schema.LedgerState;
import io.millrace.schema.Query;
import io.millrace.schema.Retrieval;
import io.millrace.schema.SearchNote;
import io.millrace.topology.internal.Expiries;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.UnaryOperator;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.metrics.Sensor;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;
import org.apache.kafka.streams.state.KeyValueStore;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The terminal record in the making, for each open interaction.
 *
 * <p>The first terminal completion ends it. Streams reads its topics roughly by timestamp, so a completion can be read before the
 * query or the decision that it follows: the end is then remembered and written when they come, or at the deadline. What comes for an
 * interaction that is closed is counted as late.
 *
 * <p>A deadline passes when the partition of {@code completions} says so: with a record that is newer than it by a grace, the clock's
 * watermark at the latest. No other topic can tell, for Streams may read that one seconds later than the rest (what it takes for the lag of a
 * partition is as old as the last batch that it took out of it), and an end that a client has would be overtaken. See
 * {@code docs/decisions/016}.
 */
final class Ledger extends ContextualProcessor<String, byte[], String, byte[]> {
    private static final Logger LOG = LoggerFactory.getLogger(Ledger.class);

    /** After the deadline: by so much the clocks of those who write may differ. */
    static final long GRACE_MS = 2_000;

    /** How long a closed id is remembered after its deadline. */
    static final long REMEMBER_MS = 600_000;

    /** Deadline of an entry whose query has not been read: nobody is waiting, it only bounds the store. */
    private static final long ORPHAN_MS = 3_600_000;

    /** End of an attempt that has none yet. */
    private static final String OPEN = "open";

    /** How often closed ids are looked through. */
    private static final long SWEEP_MS = 10_000;

    private final LogSettings log;
    private final UnaryOperator<String> redactor;
    private final AvroCodec<Query> queries;
    private final AvroCodec<Retrieval> retrievals;
    private final AvroCodec<Decision> decisions;
    private final AvroCodec<Completion> completions;
    private final AvroCodec<Interaction> interactions;
    private final AvroCodec<DeadLetter> letters;
    private final Expiries due = new Expiries();

    /** What the store holds, decoded: an entry is read about five times within milliseconds. */
    private final Map<String, LedgerState> decoded = new HashMap<>();

    private long now;

    /** Timestamp of the last record of completions: whatever was on its partition by then has been read. */
    private long heard;

    private long swept;
    private @Nullable KeyValueStore<String, LedgerState> entries;
    private @Nullable KeyValueStore<String, Long> closed;
    private @Nullable Sensor late;

    Ledger(LogSettings log, Codecs codecs, UnaryOperator<String> redactor) {
        this.log = log;
        this.redactor = redactor;
        this.queries = codecs.of(Topics.QUERIES);
        this.retrievals = codecs.of(Topics.RETRIEVALS);
        this.decisions = codecs.of(Topics.DECISIONS);
        this.completions = codecs.of(Topics.COMPLETIONS);
        this.interactions = codecs.of(Topics.INTERACTIONS);
        this.letters = codecs.of(Topics.DEAD_LETTERS);
    }

    @Override
    public void init(ProcessorContext<String, byte[]> context) {
        super.init(context);
        late = context.metrics()
                .addRateTotalSensor("ledger", context.taskId().toString(), "late-ends", Sensor.RecordingLevel.INFO);
        KeyValueStore<String, LedgerState> store = context.getStateStore(LedgerTopology.STORE);
        entries = store;
        decoded.clear();
        try (var all = store.all()) {
            all.forEachRemaining(entry -> {
                decoded.put(entry.key, entry.value);
                schedule(entry.key, entry.value);
            });
        }
        closed = context.getStateStore(LedgerTopology.CLOSED_STORE);
    }

    @Override
    public void process(Record<String, byte[]> record) {
        now = record.timestamp();
        RecordMetadata at = context().recordMetadata().orElseThrow();
        String topic = at.topic();
        boolean completion = topic.equals(log.name(Topics.COMPLETIONS));
        try {
            if (record.value() == null || record.key() == null) {
                throw new UndecodableException("no key or no value");
            }
            String id = record.key();
            if (Ids.isEventId(id)) {
                take(id, topic, record);
            } else if (!completion
                    || !completions.decode(record.value()).getKind().equals(CompletionKind.WATERMARK)) {
                throw new UndecodableException("the key is no interaction id");
            }
        } catch (UndecodableException e) {
            bury(record, at, e);
        }
        if (completion) {
            // the last one's, not the largest: a clock that was wrong for a moment would end every query from then on
            heard = record.timestamp();
            expire();
        }
    }

    private void take(String id, String topic, Record<String, byte[]> record) {
        LedgerState before = decoded.get(id);
        if (before == null && closed().get(id) != null) {
            if (topic.equals(log.name(Topics.COMPLETIONS))
                    && completions.decode(record.value()).getTerminal()) {
                Objects.requireNonNull(late).record();
            }
            return;
        }
        LedgerState state = before != null
                ? before
                : LedgerState.newBuilder().setForgetAt(now + ORPHAN_MS).build();
        LedgerState after;
        if (topic.equals(log.name(Topics.QUERIES))) {
            after = queried(state, queries.decode(record.value()));
        } else if (topic.equals(log.name(Topics.RETRIEVALS))) {
            after = retrieved(state, retrievals.decode(record.value()));
        } else if (topic.equals(log.name(Topics.DECISIONS))) {
            after = decided(state, decisions.decode(record.value()));
        } else {
            after = completed(state, completions.decode(record.value()), record.timestamp());
        }
        settle(id, after);
    }

    private LedgerState queried(LedgerState state, Query query) {
        if (state.getQuerySeen()) {
            return state;
        }
        Interaction interaction = Interaction.newBuilder(state.getInteraction())
                .setEnvelope(query.getEnvelope())
                .setInteractionId(query.getInteractionId())
                .setApi(query.getApi())
                .setModel(query.getModel())
                .setQueryText(query.getStore() ? redacted(query.getText()) : "")
                .setAcceptedAt(query.getEnvelope().getOccurredAt())
                .setStored(query.getStore())
                .setVariant(query.getVariant())
                .setSessionId(query.getSessionId())
                .build();
        return LedgerState.newBuilder(state)
                .setInteraction(interaction)
                .setQuerySeen(true)
                // of a direct one there will be none
                .setRetrievalSeen(state.getRetrievalSeen() || query.getDirect())
                .setDeadlineAt(query.getDeadlineAt())
                .build();
    }

    private static LedgerState retrieved(LedgerState state, Retrieval retrieval) {
        if (state.getRetrievalSeen()) {
            return state;
        }
        List<EvidenceRef> evidence = retrieval.getHits().stream()
                .map(hit -> new EvidenceRef(
                        hit.getPassageId(),
                        hit.getDocumentId(),
                        hit.getCollection(),
                        hit.getPath(),
                        hit.getScore(),
                        hit.getUnit()))
                .toList();
        Interaction interaction = Interaction.newBuilder(state.getInteraction())
                .setContextScore(retrieval.getContextScore())
                .setNearestSimilarity(retrieval.getNearestSimilarity())
                .setEmbedding(retrieval.getQuery().getStore() ? retrieval.getEmbedding() : null)
                .setEmbeddingModel(retrieval.getEmbeddingModel())
                .setEvidence(evidence)
                .setSearch(retrieval.getSearch())
                .setDegraded(retrieval.getDegraded())
                .build();
        return LedgerState.newBuilder(state)
                .setInteraction(interaction)
                .setRetrievalSeen(true)
                .build();
    }

    private static LedgerState decided(LedgerState state, Decision decision) {
        Interaction before = state.getInteraction();
        List<Attempt> attempts = withLost(before.getAttempts(), decision);
        int at = indexOf(attempts, decision.getAttempt());
        Attempt known = at < 0 ? Attempt.newBuilder().setEnd(OPEN).build() : attempts.get(at);
        Attempt attempt = Attempt.newBuilder(known)
                .setAttempt(decision.getAttempt())
                .setRoute(decision.getRoute())
                .setBackend(decision.getBackend())
                .setDeployment(decision.getDeployment())
                .setReason(decision.getReason())
                .setDecidedAt(decision.getEnvelope().getOccurredAt())
                .build();
        Interaction.Builder after = Interaction.newBuilder(before).setAttempts(replace(attempts, attempt));
        if (decision.getAttempt() == 1) {
            after.setConfidence(decision.getConfidence())
                    .setConfidenceKind(decision.getConfidenceKind())
                    .setFeatures(decision.getFeatures())
                    .setPropensity(decision.getPropensity());
        }
        if (!decision.getInputs().getCachedKind().isEmpty()) {
            after.setCachedKind(decision.getInputs().getCachedKind())
                    .setCachedInteractionId(decision.getInputs().getCachedInteractionId())
                    .setCachedProbability(decision.getInputs().getCachedProbability())
                    .setCachedPair(decision.getInputs().getCachedPair());
        }
        return LedgerState.newBuilder(state).setInteraction(after.build()).build();
    }

    /** The ends of attempts whose worker fell silent: nobody else writes one, or too late. */
    private static List<Attempt> withLost(List<Attempt> attempts, Decision decision) {
        List<Attempt> all = attempts;
        for (AttemptSeen seen : decision.getInputs().getAttempts()) {
            int at = indexOf(all, seen.getAttempt());
            boolean open = at >= 0 && all.get(at).getEnd().equals(OPEN);
            if (open && seen.getReason().equals(FailureReason.WORKER_LOST)) {
                Attempt lost = Attempt.newBuilder(all.get(at))
                        .setEnd("lost")
                        .setFailure(Failure.newBuilder()
                                .setReason(seen.getReason())
                                .setMessage(seen.getMessage())
                                .setHttpStatus(seen.getHttpStatus())
                                .setRetryable(seen.getRetryable())
                                .build())
                        .setEndedAt(decision.getEnvelope().getOccurredAt())
                        .setContentSent(seen.getContentSent())
                        .build();
                all = replace(all, lost);
            }
        }
        return all;
    }

    private static LedgerState completed(LedgerState state, Completion completion, long timestamp) {
        if (completion.getKind().equals(CompletionKind.HEARTBEAT)) {
            return state;
        }
        if (completion.getKind().equals(CompletionKind.STARTED)) {
            return LedgerState.newBuilder(state).setStarted(true).build();
        }
        if (state.getEnded()) {
            return state;
        }
        Interaction before = state.getInteraction();
        int at = indexOf(before.getAttempts(), completion.getAttempt());
        Attempt known =
                at < 0 ? Attempt.newBuilder().build() : before.getAttempts().get(at);
        Answer answer = completion.getAnswer();
        Attempt attempt = Attempt.newBuilder(known)
                .setAttempt(completion.getAttempt())
                .setEnd(completion.getKind())
                .setFailure(completion.getFailure())
                .setQuality(completion.getQuality())
                .setEndedAt(timestamp)
                .setTokensIn(answer == null ? 0 : answer.getTokensIn())
                .setTokensOut(answer == null ? 0 : answer.getTokensOut())
                .setCostUsd(answer == null ? 0 : answer.getCostUsd())
                .setFirstTokenMs(completion.getFirstTokenMs())
                .setTotalMs(completion.getTotalMs())
                .setContentSent(completion.getContentSent())
                .build();
        Interaction.Builder after = Interaction.newBuilder(before).setAttempts(replace(before.getAttempts(), attempt));
        if (completion.getTerminal()) {
            after.setOutcome(
                            switch (completion.getKind()) {
                                case CompletionKind.ANSWERED -> Outcome.ANSWERED;
                                case CompletionKind.CANCELLED -> Outcome.CANCELLED;
                                default ->
                                    completion.getFailure() != null
                                                    && completion
                                                            .getFailure()
                                                            .getReason()
                                                            .equals(FailureReason.CANCELLED)
                                            ? Outcome.CANCELLED
                                            : Outcome.FAILED;
                            })
                    .setAnswer(answer)
                    .setFailure(completion.getFailure())
                    .setEndedAt(timestamp);
        }
        if (completion.getQuality() != null) {
            after.setQuality(completion.getQuality());
        }
        return LedgerState.newBuilder(state)
                .setInteraction(after.build())
                .setStarted(true)
                .setEnded(completion.getTerminal())
                .build();
    }

    /** Writes the terminal record when it is whole, else keeps the entry. */
    private void settle(String id, LedgerState state) {
        Interaction interaction = state.getInteraction();
        boolean whole = state.getQuerySeen()
                && state.getRetrievalSeen()
                && !interaction.getAttempts().isEmpty()
                && interaction.getAttempts().stream()
                        .noneMatch(attempt -> attempt.getRoute().isEmpty());
        if (state.getEnded() && whole) {
            close(id, state);
        } else {
            decoded.put(id, state);
            store().put(id, state);
            schedule(id, state);
        }
    }

    /** Ends what is due. */
    private void expire() {
        due.take(heard, id -> {
            LedgerState state = decoded.get(id);
            if (state == null) {
                return;
            }
            if (!state.getQuerySeen()) {
                remove(id);
            } else if (state.getEnded()) {
                close(id, state);
            } else {
                close(id, expired(state));
            }
        });
        if (Math.abs(now - swept) >= SWEEP_MS) {
            swept = now;
            forget();
        }
    }

    /** Forgets closed ids whose time has come. Ids sort by their time, so nothing but the ids has to be kept for that. */
    private void forget() {
        try (var old = closed().range(null, Ids.first(Math.max(0, now - REMEMBER_MS)))) {
            old.forEachRemaining(entry -> {
                if (entry.value <= now) {
                    closed().delete(entry.key);
                }
            });
        }
    }

    private static LedgerState expired(LedgerState state) {
        String reason;
        if (!state.getRetrievalSeen()) {
            reason = FailureReason.RETRIEVAL_TIMEOUT;
        } else if (state.getInteraction().getAttempts().isEmpty()) {
            reason = FailureReason.ROUTING_TIMEOUT;
        } else {
            reason = state.getStarted() ? FailureReason.DEADLINE_EXCEEDED : FailureReason.DISPATCH_TIMEOUT;
        }
        Failure failure = Failure.newBuilder()
                .setReason(reason)
                .setMessage("the deadline passed without an end")
                .setHttpStatus(504)
                .build();
        Interaction failed = Interaction.newBuilder(state.getInteraction())
                .setOutcome(Outcome.FAILED)
                .setFailure(failure)
                .setEndedAt(state.getDeadlineAt())
                .build();
        return LedgerState.newBuilder(state).setInteraction(failed).build();
    }

    private void close(String id, LedgerState state) {
        Interaction made = state.getInteraction();
        List<Attempt> attempts = made.getAttempts();
        Attempt last = attempts.isEmpty() ? Attempt.newBuilder().build() : attempts.get(attempts.size() - 1);
        boolean stored = made.getStored();
        Interaction terminal = Interaction.newBuilder(made)
                .setSearch(kept(made.getSearch(), stored))
                .setFailure(kept(made.getFailure(), stored))
                .setAttempts(attempts.stream()
                        .map(attempt -> attempt.getFailure() == null
                                ? attempt
                                : Attempt.newBuilder(attempt)
                                        .setFailure(kept(attempt.getFailure(), stored))
                                        .build())
                        .toList())
                .setEnvelope(Envelope.newBuilder(made.getEnvelope())
                        .setOccurredAt(now)
                        .build())
                .setRoute(last.getRoute())
                .setReason(last.getReason())
                .setBackend(last.getBackend())
                .setDeployment(last.getDeployment())
                .setAnswer(kept(made))
                .setLatencyMs((double) (made.getEndedAt() - made.getAcceptedAt()))
                .setTokensIn(attempts.stream().mapToInt(Attempt::getTokensIn).sum())
                .setTokensOut(attempts.stream().mapToInt(Attempt::getTokensOut).sum())
                .setCostUsd(attempts.stream().mapToDouble(Attempt::getCostUsd).sum())
                .build();
        context().forward(new Record<>(id, interactions.encode(terminal), now), LedgerTopology.INTERACTIONS_SINK);
        remove(id);
        due.remove(id);
        closed().put(id, state.getDeadlineAt() + REMEMBER_MS);
    }

    private void remove(String id) {
        decoded.remove(id);
        store().delete(id);
    }

    /** The answer as it may be kept: redacted, or without its texts. */
    private @Nullable Answer kept(Interaction interaction) {
        Answer answer = interaction.getAnswer();
        if (answer == null) {
            return null;
        }
        Answer.Builder kept = Answer.newBuilder(answer).setBody("");
        return interaction.getStored()
                ? kept.setText(redacted(answer.getText()))
                        .setMessage(redacted(answer.getMessage()))
                        .build()
                : kept.setText("").setMessage("").build();
    }

    /** What was searched for is text of the query, too. */
    private SearchNote kept(SearchNote search, boolean stored) {
        return SearchNote.newBuilder(search)
                .setQueries(
                        stored
                                ? search.getQueries().stream()
                                        .map(this::redacted)
                                        .toList()
                                : List.of())
                .build();
    }

    /** A backend may repeat in its message what it was asked. */
    private @Nullable Failure kept(@Nullable Failure failure, boolean stored) {
        return failure == null
                ? null
                : Failure.newBuilder(failure)
                        .setMessage(stored ? redacted(failure.getMessage()) : "")
                        .build();
    }

    /** The text without secrets; no text when they cannot be looked for: a query must be known and end, whatever is written in it. */
    private String redacted(String text) {
        try {
            return redactor.apply(text);
        } catch (RuntimeException | StackOverflowError e) {
            LOG.error(
                    "a text of {} characters is left out of its interaction: it cannot be redacted", text.length(), e);
            return "";
        }
    }

    private void schedule(String id, LedgerState state) {
        due.set(id, state.getQuerySeen() ? state.getDeadlineAt() + GRACE_MS : state.getForgetAt());
    }

    private void bury(Record<String, byte[]> record, RecordMetadata at, UndecodableException error) {
        byte[] key = record.key() == null ? null : record.key().getBytes(StandardCharsets.UTF_8);
        DeadLetter letter = DeadLetters.letter(
                new ConsumerRecord<>(at.topic(), at.partition(), at.offset(), key, record.value()),
                "ledger",
                error,
                1,
                now);
        String letterKey = record.key() == null ? "" : record.key();
        context().forward(new Record<>(letterKey, letters.encode(letter), now), LedgerTopology.DEAD_LETTERS_SINK);
    }

    private KeyValueStore<String, LedgerState> store() {
        return Objects.requireNonNull(entries, "init comes first");
    }

    private KeyValueStore<String, Long> closed() {
        return Objects.requireNonNull(closed, "init comes first");
    }

    private static int indexOf(List<Attempt> attempts, int attempt) {
        for (int i = 0; i < attempts.size(); i++) {
            if (attempts.get(i).getAttempt() == attempt) {
                return i;
            }
        }
        return -1;
    }

    private static List<Attempt> replace(List<Attempt> attempts, Attempt attempt) {
        List<Attempt> changed = new ArrayList<>(attempts);
        int at = indexOf(attempts, attempt.getAttempt());
        if (at < 0) {
            changed.add(attempt);
        } else {
            changed.set(at, attempt);
        }
        changed.sort(java.util.Comparator.comparingInt(Attempt::getAttempt));
        return changed;
    }
}
