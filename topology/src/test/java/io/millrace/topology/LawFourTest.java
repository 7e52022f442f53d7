package io.millrace.topology;

import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.config.MillraceConfig;
import io.millrace.config.MillraceConfig.Backend;
import io.millrace.config.MillraceConfig.Deployment;
import io.millrace.config.MillraceConfig.Kind;
import io.millrace.config.MillraceConfig.Locality;
import io.millrace.config.Secret;
import io.millrace.id.Ids;
import io.millrace.log.Codecs;
import io.millrace.log.InMemorySchemaRegistry;
import io.millrace.log.LogSettings;
import io.millrace.log.Topic;
import io.millrace.log.Topics;
import io.millrace.schema.Answer;
import io.millrace.schema.Command;
import io.millrace.schema.Completion;
import io.millrace.schema.Decision;
import io.millrace.schema.Dispatch;
import io.millrace.schema.Envelope;
import io.millrace.schema.Failure;
import io.millrace.schema.Interaction;
import io.millrace.schema.Query;
import io.millrace.schema.Retrieval;
import io.millrace.schema.Tick;
import io.millrace.topology.learning.LearningTopology;
import io.millrace.topology.ledger.LedgerTopology;
import io.millrace.topology.routing.Deciding;
import io.millrace.topology.routing.RoutingTopology;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Deque;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.Set;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.TopologyTestDriver;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Law 4, held through seeded interleavings: routing and ledger on one small log, with workers that die, stall, repeat and come late. */
class LawFourTest {
    private static final int QUERIES = 40;
    private static final long DEADLINE_MS = 20_000;

    /** How far an application's topics may run apart, but for completions to the ledger: as with Kafka on a busy machine. */
    private static final long APART_MS = 1_200;

    /** How long the ledger reads nothing of completions, again and again, in a third of the runs: longer than its grace. */
    private static final long STALLED_MS = 9_000;

    private static final long WATERMARK_MS = 2_000;

    /** How long the log is away once in a run, which is longer than the deadline. */
    private static final long AWAY_MS = 25_000;

    private final Codecs codecs = new Codecs(new InMemorySchemaRegistry(), "t.");
    private final LogSettings log = new LogSettings("nowhere:1", "t.", 1, (short) 1);
    private final MillraceConfig config = config();

    private static MillraceConfig config() {
        return TestLog.config(Map.of(
                "local",
                        new Backend(
                                "local", Locality.LOCAL, Kind.LLAMA_CPP, List.of(deployment("l1"), deployment("l2"))),
                "remote", new Backend("remote", Locality.REMOTE, Kind.OPENAI, List.of(deployment("r1")))));
    }

    private static Deployment deployment(String name) {
        return new Deployment(
                name, "http://x", "", Secret.NONE, 0, 0, 0, Set.of("json", "tools"), 4, Duration.ofSeconds(10));
    }

    @SuppressWarnings("ArrayRecordComponent") // never compared
    private record Written(String topic, String key, byte[] value, long at) {}

    private record Later(long at, Runnable what) {}

    /** One seeded run. */
    private final class World implements AutoCloseable {
        private final Random random;
        private final TopologyTestDriver routing = driver(new RoutingTopology(log, codecs, config).get(), "routing");
        private final TopologyTestDriver ledger = driver(new LedgerTopology(log, codecs).get(), "ledger");
        private final Map<String, Deque<Written>> toRouting = new LinkedHashMap<>();
        private final Map<String, Deque<Written>> toLedger = new LinkedHashMap<>();
        private final List<Later> later = new ArrayList<>();
        private final Map<String, Long> deadlines = new HashMap<>();
        private final Map<String, Completion> firstEnd = new HashMap<>();
        private final List<Interaction> closed = new ArrayList<>();
        private final Map<String, byte[]> decided = new HashMap<>();
        private final Set<String> dispatched = new HashSet<>();
        private int decisions;
        private long now = 1_000_000;
        private long goesAwayAt = Long.MAX_VALUE;
        private long wentAwayAt = Long.MAX_VALUE;
        private final boolean stalls;
        private long stalledUntil;
        private long markedAt;

        World(long seed) {
            this.random = new Random(seed);
            this.stalls = seed % 3 == 0;
            if (seed % 2 == 0) {
                goesAwayAt = now + 1_000 + random.nextInt(6_000);
            }
        }

        private TopologyTestDriver driver(Topology topology, String name) {
            Properties properties = new Properties();
            properties.put(StreamsConfig.APPLICATION_ID_CONFIG, name);
            properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, "nowhere:1");
            return new TopologyTestDriver(topology, properties, Instant.ofEpochMilli(now));
        }

        <V extends SpecificRecord> void write(Topic<V> topic, String key, V value) {
            byte[] bytes = codecs.of(topic).encode(value);
            // a producer whose ack was lost, or a worker that read its input twice
            int times = random.nextInt(10) == 0 ? 2 : 1;
            for (int i = 0; i < times; i++) {
                Written written = new Written(log.name(topic), key, bytes, now);
                boolean forRouting = Set.of("t.queries", "t.retrievals", "t.completions", "t.commands")
                        .contains(written.topic);
                boolean forLedger = Set.of("t.queries", "t.retrievals", "t.decisions", "t.completions")
                        .contains(written.topic);
                if (forRouting) {
                    toRouting
                            .computeIfAbsent(written.topic, t -> new ArrayDeque<>())
                            .add(written);
                }
                if (forLedger) {
                    toLedger.computeIfAbsent(written.topic, t -> new ArrayDeque<>())
                            .add(written);
                }
            }
        }

        void after(long ms, Runnable what) {
            later.add(new Later(now + ms, what));
        }

        void run() {
            for (int i = 0; i < QUERIES; i++) {
                // a UUIDv7 of the moment at which it is asked
                long wait = random.nextInt(5_000);
                String id = Ids.first(now + wait).substring(0, 24) + String.format("%012d", i);
                after(wait, () -> ask(id));
            }
            step(now + DEADLINE_MS + AWAY_MS + 40_000);
            stalledUntil = 0;
            step(now + 2 * WATERMARK_MS);
        }

        private void step(long end) {
            while (now < end) {
                now += 50 + random.nextInt(200);
                if (now > goesAwayAt) {
                    goAway();
                }
                List<Later> due = later.stream().filter(l -> l.at <= now).toList();
                later.removeAll(due);
                due.forEach(l -> l.what.run());
                deliver(routing, toRouting, random.nextInt(12));
                deliver(ledger, toLedger, random.nextInt(12));
                if (now - markedAt >= WATERMARK_MS) {
                    markedAt = now;
                    watermark();
                }
                if (stalls && stalledUntil < now && random.nextInt(20) == 0) {
                    stalledUntil = now + STALLED_MS;
                }
                catchUp(routing, toRouting);
                tick(routing);
                catchUp(ledger, toLedger);
            }
        }

        private void watermark() {
            write(
                    Topics.COMPLETIONS,
                    "0",
                    Completion.newBuilder()
                            .setEnvelope(
                                    Envelope.newBuilder().setOccurredAt(now).build())
                            .setKind("watermark")
                            .build());
        }

        /** Whether the ledger reads everything but this. */
        private boolean isStalled(Written record) {
            return now < stalledUntil && record.topic.equals("t.completions");
        }

        /** The log stops, and with it all who work with it. */
        private void goAway() {
            wentAwayAt = now;
            goesAwayAt = Long.MAX_VALUE;
            now += AWAY_MS;
            later.replaceAll(each -> new Later(each.at + AWAY_MS, each.what));
        }

        /** How long the log has had a record to give. */
        private long age(Written record) {
            return now - record.at - (record.at <= wentAwayAt && wentAwayAt < now ? AWAY_MS : 0);
        }

        /** Until everything is old. */
        List<String> remembered() {
            step(now + 60_000);
            now += 700_000;
            step(now + 5_000 + STALLED_MS);
            stalledUntil = 0;
            step(now + 2 * WATERMARK_MS);
            List<String> keys = new ArrayList<>();
            for (String store : List.of(RoutingTopology.OPEN_STORE, RoutingTopology.LEASES_STORE)) {
                routing.<String, Object>getKeyValueStore(store).all().forEachRemaining(entry -> keys.add(entry.key));
            }
            for (String store : List.of(LedgerTopology.STORE, LedgerTopology.CLOSED_STORE)) {
                ledger.<String, Object>getKeyValueStore(store).all().forEachRemaining(entry -> keys.add(entry.key));
            }
            return keys;
        }

        private void deliver(TopologyTestDriver driver, Map<String, Deque<Written>> queues, int count) {
            for (int i = 0; i < count; i++) {
                List<Deque<Written>> waiting = queues.values().stream()
                        .filter(q -> !q.isEmpty() && (isRouting(driver) || !isStalled(q.peek())))
                        .toList();
                if (waiting.isEmpty()) {
                    return;
                }
                pipe(driver, waiting.get(random.nextInt(waiting.size())).poll());
            }
        }

        private void catchUp(TopologyTestDriver driver, Map<String, Deque<Written>> queues) {
            queues.values().forEach(queue -> {
                while (!queue.isEmpty()
                        && age(queue.peek()) > APART_MS
                        && (isRouting(driver) || !isStalled(queue.peek()))) {
                    pipe(driver, queue.poll());
                }
            });
        }

        private void tick(TopologyTestDriver driver) {
            byte[] tick = codecs.of(Topics.TICKS)
                    .encode(new Tick(Envelope.newBuilder().setOccurredAt(now).build(), 0, 1L));
            pipe(driver, new Written("t.ticks", "0", tick, now));
        }

        private void pipe(TopologyTestDriver driver, Written record) {
            driver.createInputTopic(record.topic, new StringSerializer(), new ByteArraySerializer())
                    .pipeInput(record.key, record.value, record.at);
            if (isRouting(driver)) {
                read(driver, "t.decisions").forEach(this::onDecision);
                for (String backend : config.dispatchable()) {
                    read(driver, "t.dispatch." + backend)
                            .forEach(d -> onDispatch(
                                    codecs.of(Topics.dispatch(backend)).decode(d.value)));
                }
            } else {
                read(driver, "t.interactions")
                        .forEach(i -> closed.add(codecs.of(Topics.INTERACTIONS).decode(i.value)));
            }
            assertThat(read(driver, "t.dead-letters")).isEmpty();
        }

        @SuppressWarnings("ReferenceEquality") // there are two, and they have no other identity
        private boolean isRouting(TopologyTestDriver driver) {
            return driver == routing;
        }

        private List<KeyValue<String, byte[]>> read(TopologyTestDriver driver, String topic) {
            return driver.createOutputTopic(topic, new StringDeserializer(), new ByteArrayDeserializer())
                    .readKeyValuesToList();
        }

        private void ask(String id) {
            long deadline = now + DEADLINE_MS;
            deadlines.put(id, deadline);
            boolean direct = random.nextInt(3) == 0;
            Query query = Query.newBuilder()
                    .setEnvelope(Envelope.newBuilder().setOccurredAt(now).build())
                    .setInteractionId(id)
                    .setText("why?")
                    .setDeadlineAt(deadline)
                    .setDirect(direct)
                    .build();
            write(Topics.QUERIES, id, query);
            if (random.nextInt(12) == 0) {
                after(
                        random.nextInt(3_000),
                        () -> write(
                                Topics.COMMANDS,
                                id,
                                Command.newBuilder()
                                        .setKind("cancel")
                                        .setTarget(id)
                                        .build()));
            }
            if (direct || random.nextInt(15) == 0) {
                // retrieval has nothing to do, or dies with it
                return;
            }
            after(
                    random.nextInt(300),
                    () -> write(
                            Topics.RETRIEVALS,
                            id,
                            Retrieval.newBuilder()
                                    .setEnvelope(query.getEnvelope())
                                    .setInteractionId(id)
                                    .setQuery(query)
                                    .setContextScore(random.nextDouble())
                                    .build()));
        }

        private void onDecision(KeyValue<String, byte[]> record) {
            decisions++;
            Decision decision = codecs.of(Topics.DECISIONS).decode(record.value);
            byte[] again = codecs.of(Topics.DECISIONS)
                    .encode(new Deciding(config.routing().maxAttempts()).recompute(decision));
            assertThat(again).as("recomputed from its record").isEqualTo(record.value);
            byte[] before = decided.putIfAbsent(record.key + ":" + decision.getAttempt(), record.value);
            assertThat(before == null || Arrays.equals(before, record.value))
                    .as("the same bytes for a repeated input")
                    .isTrue();
            write(Topics.DECISIONS, record.key, decision);
        }

        private void onDispatch(Dispatch dispatch) {
            String id = dispatch.getInteractionId();
            if (!dispatched.add(id + ":" + dispatch.getAttempt())) {
                assertThat(routing.<String, Object>getKeyValueStore(RoutingTopology.LEASES_STORE)
                                .get(id))
                        .as("a second worker would write into the same answer")
                        .isNull();
            }
            if (random.nextInt(25) == 0) {
                // nobody takes it
                return;
            }
            after(random.nextInt(100), () -> work(dispatch));
        }

        private void work(Dispatch dispatch) {
            complete(dispatch, "started", false, c -> {});
            int luck = random.nextInt(100);
            long took = random.nextInt(3_000);
            boolean builtin = dispatch.getBackend().equals(Topics.BUILTIN);
            if (luck < 12) {
                // killed: silence
                return;
            }
            if (luck < 16) {
                // stalled: comes back when the lease is long lost, and does not know
                after(7_000 + took, () -> answer(dispatch));
                return;
            }
            after(took, () -> {
                if (dispatch.getRoute().equals("reject")) {
                    complete(dispatch, "failed", true, c -> c.setFailure(dispatch.getFailure()));
                } else if (!builtin && luck < 35) {
                    complete(dispatch, "failed", false, c -> c.setFailure(failure()));
                } else if (!builtin && luck < 42) {
                    complete(
                            dispatch,
                            "failed",
                            true,
                            c -> c.setFailure(failure()).setContentSent(true));
                } else if (dispatch.getQualityBar() != null && luck < 70) {
                    complete(
                            dispatch,
                            "withheld",
                            false,
                            c -> c.setAnswer(Answer.newBuilder().setText("meh").build()));
                } else {
                    answer(dispatch);
                }
            });
        }

        private void answer(Dispatch dispatch) {
            if (now < dispatch.getQuery().getDeadlineAt()) {
                complete(
                        dispatch,
                        "answered",
                        true,
                        c -> c.setAnswer(Answer.newBuilder().setText("yes").build()));
            }
        }

        private Failure failure() {
            return Failure.newBuilder()
                    .setReason("backend_error")
                    .setHttpStatus(502)
                    .setRetryable(random.nextBoolean())
                    .build();
        }

        private void complete(
                Dispatch dispatch,
                String kind,
                boolean terminal,
                java.util.function.Consumer<Completion.Builder> fill) {
            Completion.Builder completion = Completion.newBuilder()
                    .setEnvelope(Envelope.newBuilder().setOccurredAt(now).build())
                    .setInteractionId(dispatch.getInteractionId())
                    .setAttempt(dispatch.getAttempt())
                    .setKind(kind)
                    .setTerminal(terminal);
            fill.accept(completion);
            Completion built = completion.build();
            if (terminal && now <= deadlines.getOrDefault(dispatch.getInteractionId(), 0L)) {
                firstEnd.putIfAbsent(dispatch.getInteractionId(), built);
            }
            write(Topics.COMPLETIONS, dispatch.getInteractionId(), built);
        }

        @Override
        public void close() {
            routing.close();
            ledger.close();
        }
    }

    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
    void shouldEndEachQueryExactlyOnceWhateverHappens(long seed) {
        try (World world = new World(seed)) {
            world.run();

            assertThat(world.decisions).isGreaterThan(QUERIES / 2);
            assertThat(world.closed).hasSize(QUERIES);
            assertThat(world.closed.stream().map(Interaction::getInteractionId)).doesNotHaveDuplicates();
            assertThat(world.closed.stream().map(Interaction::getOutcome)).contains("answered", "failed");
            for (Interaction interaction : world.closed) {
                Completion end = world.firstEnd.get(interaction.getInteractionId());
                if (end != null && end.getKind().equals("answered")) {
                    assertThat(interaction.getOutcome())
                            .as("what a client may hold is no failure")
                            .isEqualTo("answered");
                }
                if (interaction.getOutcome().equals("failed")) {
                    assertThat(interaction.getFailure()).isNotNull();
                    assertThat(interaction.getFailure().getReason()).isNotEmpty();
                }
            }
            assertThat(world.remembered())
                    .as("a store that forgets nothing fills the heap")
                    .isEmpty();
        }
    }

    @Test
    void shouldKeepTheirShape() throws IOException {
        golden("routing.txt", new RoutingTopology(log, codecs, config).get());
        golden("learning.txt", new LearningTopology(log, codecs).get());
        golden("ledger.txt", new LedgerTopology(log, codecs).get());
    }

    /** A change of shape needs a new application id, so it must be seen in review; {@code -Dgolden.write} writes the files anew. */
    private static void golden(String name, Topology topology) throws IOException {
        // the stores of a processor come in the order of an unordered set
        String shape = Pattern.compile("stores: \\[([^]]+)]")
                .matcher(topology.describe().toString())
                .replaceAll(match -> Arrays.stream(match.group(1).split(", "))
                        .sorted()
                        .collect(Collectors.joining(", ", "stores: [", "]")));
        if (System.getProperty("golden.write") != null) {
            Files.writeString(Path.of("src/test/resources", name), shape);
        }
        try (InputStream in = LawFourTest.class.getResourceAsStream("/" + name)) {
            assertThat(in).as("golden file %s", name).isNotNull();
            assertThat(shape).isEqualTo(new String(in.readAllBytes(), StandardCharsets.UTF_8));
        }
    }
}
