package io.millrace.topology.learning;

import io.millrace.log.Codecs;
import io.millrace.log.LogSettings;
import io.millrace.log.Topics;
import io.millrace.schema.QueryGap;
import io.millrace.topology.internal.BinarySerde;
import io.millrace.topology.internal.Guarded;
import java.util.Map;
import java.util.function.Supplier;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.state.Stores;

/**
 * Learning from the log. So far: which questions the knowledge does not cover.
 *
 * <pre>
 * retrievals ─▶ (asked) ─▶ gap-candidates ─▶ (gaps) ─▶ query-gaps
 *                                  ticks ──────┘
 * </pre>
 *
 * <p>Retrievals are keyed by interaction; the same question comes with many. They are repartitioned to the hash of the question,
 * which also takes their text out of the way: what goes on is redacted.
 */
public record LearningTopology(LogSettings log, Codecs codecs) implements Supplier<Topology> {
    /** Version in the application id. */
    public static final String APPLICATION = "learning-v1";

    public static final String ASKED = "asked";
    public static final String GAPS = "gaps";
    public static final String GAPS_SINK = "query-gaps-sink";

    /** In memory with a changelog: the questions of seven days, a few hundred bytes each. */
    public static final String STORE = "gaps-by-question";

    @Override
    public Topology get() {
        Topology topology = new Topology();
        topology.addSource(
                "retrievals-source",
                Serdes.String().deserializer(),
                Serdes.ByteArray().deserializer(),
                log.name(Topics.RETRIEVALS));
        topology.addProcessor(ASKED, () -> new Guarded<>(new Asked(codecs)), "retrievals-source");
        topology.addSink(
                "gap-candidates-sink",
                log.name(Topics.GAP_CANDIDATES),
                Serdes.String().serializer(),
                Serdes.ByteArray().serializer(),
                ASKED);
        topology.addSource(
                "gap-candidates-source",
                Serdes.String().deserializer(),
                Serdes.ByteArray().deserializer(),
                log.name(Topics.GAP_CANDIDATES));
        topology.addSource(
                "ticks-source",
                Serdes.String().deserializer(),
                Serdes.ByteArray().deserializer(),
                log.name(Topics.TICKS));
        topology.addProcessor(
                GAPS, () -> new Guarded<>(new Gaps(log, codecs)), "gap-candidates-source", "ticks-source");
        topology.addStateStore(
                Stores.keyValueStoreBuilder(
                                Stores.inMemoryKeyValueStore(STORE), Serdes.String(), BinarySerde.of(QueryGap.class))
                        .withLoggingEnabled(Map.of()),
                GAPS);
        topology.addSink(
                GAPS_SINK,
                log.name(Topics.QUERY_GAPS),
                Serdes.String().serializer(),
                Serdes.ByteArray().serializer(),
                GAPS);
        return topology;
    }
}
