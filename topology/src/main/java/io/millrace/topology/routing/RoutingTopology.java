package io.millrace.topology.routing;

import io.millrace.config.MillraceConfig;
import io.millrace.log.Codecs;
import io.millrace.log.LogSettings;
import io.millrace.log.Topics;
import io.millrace.schema.BackendStatus;
import io.millrace.schema.LatencyWindow;
import io.millrace.schema.Lease;
import io.millrace.schema.RoutingConfig;
import io.millrace.schema.RoutingState;
import io.millrace.topology.internal.BinarySerde;
import io.millrace.topology.internal.Guarded;
import io.millrace.topology.internal.Table;
import java.util.function.Supplier;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.state.Stores;

/**
 * Routing: evidence in, decisions and work out.
 *
 * <pre>
 * queries ─────┐
 * retrievals ──┤            ┌─▶ decisions
 * completions ─┼─▶ (router) ┼─▶ dispatch.&lt;backend&gt;
 * commands ────┤            └─▶ dead-letters
 * ticks ───────┘
 *      global: routing-config, backend-status, latency-windows
 * </pre>
 *
 * <p>At-least-once: a hop costs 0.3 ms, a transaction's commit interval 100. What redelivery would break is kept by the store, which
 * re-emits the bytes of a decision once made.
 */
public record RoutingTopology(LogSettings log, Codecs codecs, MillraceConfig config) implements Supplier<Topology> {
    /** Version in the application id: a change of shape needs a new group under the Streams protocol. */
    public static final String APPLICATION = "routing-v1";

    public static final String QUERIES_SOURCE = "queries-source";
    public static final String RETRIEVALS_SOURCE = "retrievals-source";
    public static final String COMPLETIONS_SOURCE = "completions-source";
    public static final String COMMANDS_SOURCE = "commands-source";
    public static final String TICKS_SOURCE = "ticks-source";
    public static final String ROUTER = "router";
    public static final String DECISIONS_SINK = "decisions-sink";
    public static final String DEAD_LETTERS_SINK = "dead-letters-sink";

    /** In memory, since interactions are open for seconds; with a changelog, so that a restart remembers what it decided. */
    public static final String OPEN_STORE = "open-interactions";

    /**
     * Beside the state, since workers renew them each second and a state is as large as its retrieval. Cached until the commit, so that a
     * lease shorter than that costs no changelog record: after a crash, what renewed it is read again.
     */
    public static final String LEASES_STORE = "leases";

    static final String CONFIG_TABLE = "routing-config-table";
    static final String STATUS_TABLE = "backend-status-table";
    static final String LATENCY_TABLE = "latency-windows-table";

    static String dispatchSink(String backend) {
        return "dispatch-" + backend + "-sink";
    }

    @Override
    public Topology get() {
        Topology topology = new Topology();
        Table<RoutingConfig> live =
                Table.add(topology, CONFIG_TABLE, log.name(Topics.ROUTING_CONFIG), codecs.of(Topics.ROUTING_CONFIG));
        Table<BackendStatus> status =
                Table.add(topology, STATUS_TABLE, log.name(Topics.BACKEND_STATUS), codecs.of(Topics.BACKEND_STATUS));
        Table<LatencyWindow> latency =
                Table.add(topology, LATENCY_TABLE, log.name(Topics.LATENCY_WINDOWS), codecs.of(Topics.LATENCY_WINDOWS));
        source(topology, QUERIES_SOURCE, log.name(Topics.QUERIES));
        source(topology, RETRIEVALS_SOURCE, log.name(Topics.RETRIEVALS));
        source(topology, COMPLETIONS_SOURCE, log.name(Topics.COMPLETIONS));
        source(topology, COMMANDS_SOURCE, log.name(Topics.COMMANDS));
        source(topology, TICKS_SOURCE, log.name(Topics.TICKS));
        topology.addProcessor(
                ROUTER,
                () -> new Guarded<>(new Router(log, codecs, config, live, status, latency)),
                QUERIES_SOURCE,
                RETRIEVALS_SOURCE,
                COMPLETIONS_SOURCE,
                COMMANDS_SOURCE,
                TICKS_SOURCE);
        topology.addStateStore(
                Stores.keyValueStoreBuilder(
                                Stores.inMemoryKeyValueStore(OPEN_STORE),
                                Serdes.String(),
                                BinarySerde.of(RoutingState.class))
                        .withLoggingEnabled(java.util.Map.of()),
                ROUTER);
        topology.addStateStore(
                Stores.keyValueStoreBuilder(
                                Stores.inMemoryKeyValueStore(LEASES_STORE),
                                Serdes.String(),
                                BinarySerde.of(Lease.class))
                        .withLoggingEnabled(java.util.Map.of())
                        .withCachingEnabled(),
                ROUTER);
        sink(topology, DECISIONS_SINK, log.name(Topics.DECISIONS));
        sink(topology, DEAD_LETTERS_SINK, log.name(Topics.DEAD_LETTERS));
        config.dispatchable()
                .forEach(backend -> sink(topology, dispatchSink(backend), log.name(Topics.dispatch(backend))));
        return topology;
    }

    private static void source(Topology topology, String name, String topic) {
        topology.addSource(
                name, Serdes.String().deserializer(), Serdes.ByteArray().deserializer(), topic);
    }

    private static void sink(Topology topology, String name, String topic) {
        Serializer<String> keys = Serdes.String().serializer();
        Serializer<byte[]> values = Serdes.ByteArray().serializer();
        topology.addSink(name, topic, keys, values, ROUTER);
    }
}
