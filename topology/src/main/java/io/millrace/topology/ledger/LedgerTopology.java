package io.millrace.topology.ledger;

import io.millrace.log.Codecs;
import io.millrace.log.LogSettings;
import io.millrace.log.Topics;
import io.millrace.schema.LedgerState;
import io.millrace.text.Redactor;
import io.millrace.topology.internal.BinarySerde;
import io.millrace.topology.internal.Guarded;
import java.util.Map;
import java.util.function.Supplier;
import java.util.function.UnaryOperator;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.state.Stores;

/**
 * The ledger: exactly one terminal record for each accepted query.
 *
 * <pre>
 * queries ─────┐
 * retrievals ──┤
 * decisions ───┼─▶ (ledger) ─▶ interactions
 * completions ─┘          └──▶ dead-letters
 * </pre>
 *
 * <p>Its own application, exactly-once: a record is written, and remembered as written, in one transaction, so a kill at any moment
 * neither loses an end nor writes a second one. Its latency is the commit interval, which no client waits for.
 */
public record LedgerTopology(LogSettings log, Codecs codecs) implements Supplier<Topology> {
    /** Version in the application id. */
    public static final String APPLICATION = "ledger-v1";

    public static final String LEDGER = "ledger";
    public static final String INTERACTIONS_SINK = "interactions-sink";
    public static final String DEAD_LETTERS_SINK = "dead-letters-sink";

    /** What is open: in memory with a changelog, cached, since an interaction moves through it in a few steps within a transaction. */
    public static final String STORE = "ledger-entries";

    /** The ids of what is closed, and until when they are remembered: about 150 bytes each, ten minutes and the deadline long. */
    public static final String CLOSED_STORE = "ledger-closed";

    @Override
    public Topology get() {
        return get(Redactor::redact);
    }

    Topology get(UnaryOperator<String> redactor) {
        Topology topology = new Topology();
        source(topology, "queries-source", log.name(Topics.QUERIES));
        source(topology, "retrievals-source", log.name(Topics.RETRIEVALS));
        source(topology, "decisions-source", log.name(Topics.DECISIONS));
        source(topology, "completions-source", log.name(Topics.COMPLETIONS));
        topology.addProcessor(
                LEDGER,
                () -> new Guarded<>(new Ledger(log, codecs, redactor)),
                "queries-source",
                "retrievals-source",
                "decisions-source",
                "completions-source");
        topology.addStateStore(
                Stores.keyValueStoreBuilder(
                                Stores.inMemoryKeyValueStore(STORE), Serdes.String(), BinarySerde.of(LedgerState.class))
                        .withLoggingEnabled(Map.of())
                        .withCachingEnabled(),
                LEDGER);
        topology.addStateStore(
                Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore(CLOSED_STORE), Serdes.String(), Serdes.Long())
                        .withLoggingEnabled(Map.of()),
                LEDGER);
        sink(topology, INTERACTIONS_SINK, log.name(Topics.INTERACTIONS));
        sink(topology, DEAD_LETTERS_SINK, log.name(Topics.DEAD_LETTERS));
        return topology;
    }

    private static void source(Topology topology, String name, String topic) {
        topology.addSource(
                name, Serdes.String().deserializer(), Serdes.ByteArray().deserializer(), topic);
    }

    private static void sink(Topology topology, String name, String topic) {
        topology.addSink(
                name, topic, Serdes.String().serializer(), Serdes.ByteArray().serializer(), LEDGER);
    }
}
