package io.millrace.log;

import io.millrace.log.Topic.Keep;
import io.millrace.log.Topic.Spread;
import io.millrace.schema.BackendStatus;
import io.millrace.schema.Command;
import io.millrace.schema.Completion;
import io.millrace.schema.ConfidenceModel;
import io.millrace.schema.DeadLetter;
import io.millrace.schema.Decision;
import io.millrace.schema.Dispatch;
import io.millrace.schema.Document;
import io.millrace.schema.Feedback;
import io.millrace.schema.Interaction;
import io.millrace.schema.LatencyWindow;
import io.millrace.schema.Passage;
import io.millrace.schema.Pattern;
import io.millrace.schema.ProductionIssue;
import io.millrace.schema.Proposal;
import io.millrace.schema.Query;
import io.millrace.schema.QueryGap;
import io.millrace.schema.RawDocument;
import io.millrace.schema.Reply;
import io.millrace.schema.Retrieval;
import io.millrace.schema.RoutingConfig;
import io.millrace.schema.SourceStatus;
import io.millrace.schema.Stat;
import io.millrace.schema.TelemetryEvent;
import io.millrace.schema.Tick;
import io.millrace.schema.ValueScore;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import org.apache.avro.specific.SpecificRecord;

/** The topic catalog: every topic, once. */
public final class Topics {
    /** Partitions of {@code replies}: a gateway reads one of them, so this bounds how well replies are spread, not how many gateways. */
    public static final int REPLY_PARTITIONS = 64;

    /** Backend name of the built-ins: extractive, cache, deliver, reject. */
    public static final String BUILTIN = "builtin";

    public static final Topic<Query> QUERIES =
            topic("queries", Query.class, "interaction_id", "gateway", "accepted queries", Spread.SHARED, Keep.DAYS);
    public static final Topic<Retrieval> RETRIEVALS = topic(
            "retrievals",
            Retrieval.class,
            "interaction_id",
            "retrieval",
            "evidence and embedding",
            Spread.SHARED,
            Keep.DAYS);
    public static final Topic<Decision> DECISIONS = topic(
            "decisions",
            Decision.class,
            "interaction_id",
            "routing",
            "route, backend, reason, and all that it saw",
            Spread.SHARED,
            Keep.LONG);
    public static final Topic<Completion> COMPLETIONS = topic(
            "completions",
            Completion.class,
            "interaction_id",
            "dispatch, clock",
            "started, heartbeat, and the attempt's end; watermarks, by which deadlines pass",
            Spread.SHARED,
            Keep.DAYS);
    public static final Topic<Reply> REPLIES = topic(
            "replies",
            Reply.class,
            "interaction_id",
            "dispatch",
            "answer chunks and final, to the asking gateway's partition",
            Spread.REPLIES,
            Keep.SHORT);
    public static final Topic<Interaction> INTERACTIONS = topic(
            "interactions",
            Interaction.class,
            "interaction_id",
            "ledger",
            "the terminal record",
            Spread.SHARED,
            Keep.LONG);
    public static final Topic<Feedback> FEEDBACK = topic(
            "feedback",
            Feedback.class,
            "interaction_id",
            "gateway",
            "rating, outcome, note, correction",
            Spread.SHARED,
            Keep.LONG);
    public static final Topic<ValueScore> VALUE_SCORES = topic(
            "value-scores",
            ValueScore.class,
            "interaction_id",
            "learning",
            "score, profile, factors",
            Spread.SHARED,
            Keep.COMPACT);
    public static final Topic<ConfidenceModel> MODELS = topic(
            "models", ConfidenceModel.class, "model version", "learning", "full weights", Spread.SINGLE, Keep.LONG);
    public static final Topic<LatencyWindow> LATENCY_WINDOWS = topic(
            "latency-windows",
            LatencyWindow.class,
            "backend",
            "learning",
            "rolling percentiles",
            Spread.SINGLE,
            Keep.COMPACT);
    public static final Topic<RoutingConfig> ROUTING_CONFIG = topic(
            "routing-config",
            RoutingConfig.class,
            "key",
            "learning",
            "thresholds, fractions: the live config",
            Spread.SINGLE,
            Keep.COMPACT);
    public static final Topic<Proposal> PROPOSALS = topic(
            "proposals",
            Proposal.class,
            "proposal_id",
            "learning",
            "typed proposal and its verdicts",
            Spread.SINGLE,
            Keep.COMPACT);
    public static final Topic<QueryGap> QUERY_GAPS = topic(
            "query-gaps",
            QueryGap.class,
            "query hash",
            "learning",
            "low-context queries, counted",
            Spread.SHARED,
            Keep.COMPACT);
    public static final Topic<QueryGap> GAP_CANDIDATES = topic(
            "gap-candidates",
            QueryGap.class,
            "query hash",
            "learning",
            "questions and how well they are covered, by question",
            Spread.SHARED,
            Keep.SHORT);
    public static final Topic<Stat> STATS = topic(
            "stats", Stat.class, "name", "learning", "windowed aggregates for dashboards", Spread.SINGLE, Keep.COMPACT);
    public static final Topic<ProductionIssue> ISSUES = topic(
            "issues",
            ProductionIssue.class,
            "issue_id",
            "learning",
            "production issues P0-P2",
            Spread.SINGLE,
            Keep.COMPACT);
    public static final Topic<Command> COMMANDS = topic(
            "commands",
            Command.class,
            "target",
            "gateway, CLI",
            "asks: cancel, approve, reject, set, forget, sync",
            Spread.SHARED,
            Keep.LONG);
    public static final Topic<BackendStatus> BACKEND_STATUS = topic(
            "backend-status",
            BackendStatus.class,
            "deployment",
            "prober",
            "healthy, loading, progress, model, queue depth",
            Spread.SINGLE,
            Keep.COMPACT);
    public static final Topic<Tick> TICKS =
            topic("ticks", Tick.class, "partition", "clock", "stream time", Spread.SHARED, Keep.SHORT);
    public static final Topic<RawDocument> RAW_API = topic(
            "raw.api",
            RawDocument.class,
            "source/path",
            "gateway, folder loader, upkeep",
            "documents as they came",
            Spread.SHARED,
            Keep.DAYS);
    public static final Topic<SourceStatus> SOURCE_STATUS = topic(
            "source-status",
            SourceStatus.class,
            "source id",
            "source manager",
            "what each knowledge source does, and its errors",
            Spread.SINGLE,
            Keep.COMPACT);
    public static final Topic<Document> DOCUMENTS = topic(
            "documents",
            Document.class,
            "document_id",
            "normalizer",
            "knowledge, normalized",
            Spread.SHARED,
            Keep.COMPACT);
    public static final Topic<Passage> PASSAGES = topic(
            "passages", Passage.class, "passage_id", "embedder", "chunks with vectors", Spread.SHARED, Keep.COMPACT);
    public static final Topic<Pattern> PATTERNS = topic(
            "patterns", Pattern.class, "pattern_id", "learner", "extracted patterns", Spread.SINGLE, Keep.COMPACT);
    public static final Topic<TelemetryEvent> TELEMETRY = topic(
            "telemetry",
            TelemetryEvent.class,
            "source",
            "outside producers, gateway",
            "generic events, and what searches found",
            Spread.SHARED,
            Keep.DAYS);
    public static final Topic<DeadLetter> DEAD_LETTERS = topic(
            "dead-letters",
            DeadLetter.class,
            "source key",
            "every step",
            "raw bytes, where from, why, attempts",
            Spread.SINGLE,
            Keep.LONG);

    private static final List<Topic<?>> FIXED = List.of(
            QUERIES,
            RETRIEVALS,
            DECISIONS,
            COMPLETIONS,
            REPLIES,
            INTERACTIONS,
            FEEDBACK,
            VALUE_SCORES,
            MODELS,
            LATENCY_WINDOWS,
            ROUTING_CONFIG,
            PROPOSALS,
            QUERY_GAPS,
            GAP_CANDIDATES,
            STATS,
            ISSUES,
            COMMANDS,
            BACKEND_STATUS,
            TICKS,
            RAW_API,
            SOURCE_STATUS,
            DOCUMENTS,
            PASSAGES,
            PATTERNS,
            TELEMETRY,
            DEAD_LETTERS);

    /** What the names of all topics with raw documents begin with. */
    public static final String RAW = "raw.";

    private Topics() {}

    /** The work topic of a backend. */
    public static Topic<Dispatch> dispatch(String backend) {
        return topic(
                "dispatch." + backend,
                Dispatch.class,
                "interaction_id",
                "routing",
                "attempts to do",
                Spread.SHARED,
                Keep.SHORT);
    }

    /**
     * The topic of a source that Connect reads. Its values are JSON, which any connector can write; {@link RawDocument} is what they
     * are read as. One partition: deletions must not overtake what they delete.
     */
    public static Topic<RawDocument> raw(String source) {
        return topic(
                RAW + source,
                RawDocument.class,
                "path",
                "Connect",
                "documents of a source as they came, JSON",
                Spread.SINGLE,
                Keep.DAYS);
    }

    /** The topics that exist whatever is configured. */
    public static List<Topic<?>> fixed() {
        return FIXED;
    }

    /** Every topic of a deployment with these backends; the built-in backend is always among them. */
    public static List<Topic<?>> all(Collection<String> backends) {
        List<Topic<?>> all = new ArrayList<>(FIXED);
        all.add(dispatch(BUILTIN));
        backends.stream()
                .filter(backend -> !backend.equals(BUILTIN))
                .sorted()
                .map(Topics::dispatch)
                .forEach(all::add);
        return List.copyOf(all);
    }

    /** The table of the documentation. */
    public static String markdown() {
        StringBuilder table =
                new StringBuilder("| topic | key | writer | what | partitions | keep |\n|---|---|---|---|---|---|\n");
        List<Topic<?>> all = new ArrayList<>(FIXED);
        all.add(dispatch("<backend>"));
        all.add(raw("<source>"));
        all.stream()
                .sorted(java.util.Comparator.comparing(Topic::name))
                .forEach(topic -> table.append("| `")
                        .append(topic.name())
                        .append("` | ")
                        .append(topic.key())
                        .append(" | ")
                        .append(topic.writer())
                        .append(" | ")
                        .append(topic.what())
                        .append(" | ")
                        .append(
                                switch (topic.spread()) {
                                    case SHARED -> "`kafka.partitions`";
                                    case REPLIES -> String.valueOf(REPLY_PARTITIONS);
                                    case SINGLE -> "1";
                                })
                        .append(" | ")
                        .append(
                                switch (topic.keep()) {
                                    case SHORT -> "`retention.short`";
                                    case DAYS -> "`retention.days`";
                                    case LONG -> "`retention.long`, archived";
                                    case COMPACT -> "compacted";
                                })
                        .append(" |\n"));
        return table.toString();
    }

    private static <V extends SpecificRecord> Topic<V> topic(
            String name, Class<V> type, String key, String writer, String what, Spread spread, Keep keep) {
        return new Topic<>(name, type, key, writer, what, spread, keep);
    }
}
