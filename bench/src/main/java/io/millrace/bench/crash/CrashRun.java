package io.millrace.bench.crash;

import io.millrace.bench.process.Program;
import io.millrace.bench.stub.StubUpstream;
import io.millrace.log.AvroCodec;
import io.millrace.log.ClientConfig;
import io.millrace.log.Codecs;
import io.millrace.log.HttpSchemaRegistry;
import io.millrace.log.LogSettings;
import io.millrace.log.Topic;
import io.millrace.log.Topics;
import io.millrace.schema.Completion;
import io.millrace.schema.Interaction;
import io.millrace.schema.Query;
import io.vertx.core.json.JsonObject;
import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.BiConsumer;
import java.util.function.Consumer;
import java.util.regex.Pattern;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

/**
 * Kills processes under load and counts.
 *
 * <p>Every role is a process of its own, against parts that are one more. While clients ask at a fixed rate, each process in turn is killed (SIGKILL)
 * at a random moment and started again. When the clients have stopped and the deadlines have passed, the log is read as committed: each accepted query
 * must have exactly one terminal record, Postgres the same rows and none twice, and no client may hold an answer that the log does
 * not call answered.
 */
public final class CrashRun implements AutoCloseable {
    /** What is killed, and the roles of each process. */
    private static final Map<String, String> KINDS = new LinkedHashMap<>(Map.of(
            "gateway", "gateway",
            "retrieval", "retrieval",
            "routing", "routing",
            "ledger", "ledger",
            "dispatch", "dispatch",
            "sinks", "postgres-sink,archive",
            "helpers", "clock,prober"));

    /** Kafka, the registry, PostgreSQL and Redis. */
    public static final String PARTS = "parts";

    private static final Duration START = Duration.ofSeconds(90);

    /** After a build the launcher makes the next starts faster before the first. */
    private static final Duration FIRST_START = Duration.ofMinutes(5);

    private static final Pattern READY = Pattern.compile("(?m)^millrace \\S+ ready ?(\\S*)$");

    /** Seconds; short, so that what a kill took along is ended while the run lasts. */
    private static final int DEADLINE = 15;

    private final List<String> command;
    private final Path folder;
    private final Random random;
    private final Consumer<String> progress;
    private final StubUpstream local = new StubUpstream("local", 6, 5).start(0);
    private final StubUpstream remote = new StubUpstream("remote", 6, 5).start(0);
    private final Map<String, Program> running = new HashMap<>();
    private final Path config;
    private final int gatewayPort;

    /**
     * @param command what runs Millrace, without its arguments
     * @param folder for data and outputs; the caller deletes it
     * @param progress gets a line for each kill
     */
    public CrashRun(List<String> command, Path folder, long seed, Consumer<String> progress) throws IOException {
        this.command = List.copyOf(command);
        this.folder = folder;
        this.random = new Random(seed);
        this.progress = progress;
        this.config = folder.resolve("millrace.yaml");
        try (java.net.ServerSocket socket = new java.net.ServerSocket(0)) {
            this.gatewayPort = socket.getLocalPort();
        }
        Files.writeString(config, """
                routing: {deadline: %ds}
                backends:
                  local:
                    kind: llama.cpp
                    deployments: [{name: local, url: "%s", timeout: 5s, concurrency: 64}]
                  remote:
                    kind: openai
                    deployments: [{name: remote, url: "%s", timeout: 5s, concurrency: 64}]
                models:
                  searched: {retrieval: keyword, add-context: false}
                  plain-local: {backend: local, retrieval: "off", add-context: false}
                  plain-remote: {backend: remote, retrieval: "off", add-context: false}
                """.formatted(DEADLINE, local.url(), remote.url()));
    }

    /** The kinds of processes, the parts last. */
    public static List<String> kinds() {
        List<String> kinds = new ArrayList<>(KINDS.keySet());
        Collections.sort(kinds);
        kinds.add(PARTS);
        return kinds;
    }

    /**
     * What was found. All but the first two must be empty.
     *
     * @param accepted queries on the log
     * @param outcomes of the terminal records, by name
     * @param client what clients saw, by outcome
     * @param unended accepted, without a terminal record
     * @param twice with more than one
     * @param unasked terminal records of no accepted query
     * @param missing terminal records without a row
     * @param surplus rows without a terminal record, or a second row of one
     * @param contradicted a client holds an answer and the log calls it something else
     */
    public record Verdict(
            int accepted,
            Map<String, Integer> outcomes,
            Map<String, Long> client,
            Set<String> unended,
            Set<String> twice,
            Set<String> unasked,
            Set<String> missing,
            Set<String> surplus,
            Set<String> contradicted) {
        /** Whether nothing was lost, doubled or contradicted. */
        public boolean holds() {
            return unended.isEmpty()
                    && twice.isEmpty()
                    && unasked.isEmpty()
                    && missing.isEmpty()
                    && surplus.isEmpty()
                    && contradicted.isEmpty();
        }
    }

    /**
     * Runs.
     *
     * @param kinds what is killed in each round, in random order
     * @param perSecond requests
     */
    public Verdict run(List<String> kinds, int rounds, int perSecond) throws Exception {
        launch(PARTS);
        program(PARTS).await(READY, FIRST_START);
        KINDS.keySet().forEach(this::launch);
        KINDS.keySet().forEach(this::awaitReady);
        progress.accept("all processes are ready");
        try (Client client = new Client(List.of(URI.create("http://127.0.0.1:" + gatewayPort)), random.nextLong())) {
            client.start(perSecond);
            for (int round = 1; round <= rounds; round++) {
                List<String> order = new ArrayList<>(kinds);
                Collections.shuffle(order, random);
                for (String kind : order) {
                    Thread.sleep(500 + random.nextInt(1_500));
                    program(kind).kill();
                    long killed = System.nanoTime();
                    start(kind);
                    progress.accept("round " + round + ": killed " + kind + ", back after "
                            + (System.nanoTime() - killed) / 1_000_000 + " ms");
                }
            }
            Thread.sleep(2_000);
            client.stop();
            return count(client);
        }
    }

    private void start(String kind) {
        launch(kind);
        awaitReady(kind);
    }

    private void launch(String kind) {
        List<String> line = new ArrayList<>(command);
        if (kind.equals(PARTS)) {
            line.add("parts");
        } else {
            line.addAll(List.of("service", KINDS.get(kind), "--name", kind));
            if (kind.equals("gateway")) {
                line.addAll(List.of("--port", Integer.toString(gatewayPort)));
            }
        }
        line.addAll(List.of("--data", folder.resolve("data").toString(), "--config", config.toString()));
        running.put(kind, Program.start(kind, folder.resolve(kind + "-" + System.nanoTime() + ".log"), Map.of(), line));
    }

    private void awaitReady(String kind) {
        program(kind).await(READY, START);
    }

    private Program program(String kind) {
        return Objects.requireNonNull(running.get(kind), kind);
    }

    private Verdict count(Client client) throws Exception {
        JsonObject endpoints = new JsonObject(Files.readString(folder.resolve("data/endpoints.json")));
        LogSettings log = new LogSettings(endpoints.getString("kafka"), "millrace.", 1, (short) 1);
        Codecs codecs = new Codecs(new HttpSchemaRegistry(endpoints.getString("registry")), log.prefix());
        long end = System.nanoTime() + Duration.ofSeconds(DEADLINE + 60L).toNanos();
        while (true) {
            Verdict verdict = look(log, codecs, endpoints, client);
            boolean settled = verdict.unended.isEmpty() && verdict.missing.isEmpty();
            if (settled || System.nanoTime() > end) {
                tell(log, codecs, verdict.contradicted);
                return verdict;
            }
            Thread.sleep(1_000);
        }
    }

    /** The steps of these interactions in the order of the log, each with the time of its record. */
    private void tell(LogSettings log, Codecs codecs, Set<String> ids) {
        if (ids.isEmpty()) {
            return;
        }
        AvroCodec<Completion> completions = codecs.of(Topics.COMPLETIONS);
        read(log, Topics.COMPLETIONS, (key, value) -> {
            if (ids.contains(key)) {
                Completion step = completions.decode(value);
                progress.accept(
                        "contradicted " + key + ": " + step.getEnvelope().getOccurredAt() + " attempt "
                                + step.getAttempt() + " by " + step.getWorkerId() + " " + step.getKind()
                                + (step.getFailure() == null
                                        ? ""
                                        : " " + step.getFailure().getReason())
                                + (step.getTerminal() ? ", an end" : ""));
            }
        });
    }

    private static Verdict look(LogSettings log, Codecs codecs, JsonObject endpoints, Client client)
            throws SQLException {
        Set<String> accepted = new HashSet<>();
        AvroCodec<Query> queries = codecs.of(Topics.QUERIES);
        read(log, Topics.QUERIES, (key, value) -> {
            if (!queries.decode(value).getEnvelope().getSynthetic()) {
                accepted.add(key);
            }
        });
        Map<String, String> ended = new HashMap<>();
        Set<String> twice = new HashSet<>();
        Set<String> unasked = new HashSet<>();
        Map<String, Integer> outcomes = new TreeMap<>();
        AvroCodec<Interaction> interactions = codecs.of(Topics.INTERACTIONS);
        read(log, Topics.INTERACTIONS, (key, value) -> {
            Interaction interaction = interactions.decode(value);
            if (interaction.getEnvelope().getSynthetic()) {
                return;
            }
            String outcome = interaction.getOutcome();
            outcomes.merge(
                    interaction.getFailure() == null
                            ? outcome
                            : outcome + " " + interaction.getFailure().getReason(),
                    1,
                    Integer::sum);
            if (ended.put(key, outcome) != null) {
                twice.add(key);
            }
            if (!accepted.contains(key)) {
                unasked.add(key);
            }
        });
        Set<String> unended = new HashSet<>(accepted);
        unended.removeAll(ended.keySet());
        Set<String> rows = new HashSet<>();
        Set<String> surplus = new HashSet<>();
        try (Connection connection = DriverManager.getConnection(
                        endpoints.getString("postgres"),
                        endpoints.getString("postgres_user"),
                        endpoints.getString("postgres_password"));
                Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery("SELECT interaction_id FROM interactions WHERE NOT synthetic")) {
            while (row.next()) {
                String id = row.getString(1);
                if (!rows.add(id) || !ended.containsKey(id)) {
                    surplus.add(id);
                }
            }
        }
        Set<String> missing = new HashSet<>(ended.keySet());
        missing.removeAll(rows);
        Set<String> contradicted = new HashSet<>(client.answered().keySet());
        contradicted.removeIf(id -> "answered".equals(ended.get(id)));
        Map<String, Long> seen = new TreeMap<>();
        client.outcomes().forEach((outcome, count) -> seen.put(outcome, count.get()));
        return new Verdict(accepted.size(), outcomes, seen, unended, twice, unasked, missing, surplus, contradicted);
    }

    private static <V extends SpecificRecord> void read(
            LogSettings log, Topic<V> topic, BiConsumer<String, byte[]> reader) {
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(ClientConfig.consumer(log))) {
            List<TopicPartition> partitions = consumer.partitionsFor(log.name(topic)).stream()
                    .map(info -> new TopicPartition(info.topic(), info.partition()))
                    .toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = new HashMap<>(consumer.endOffsets(partitions));
            while (!ends.isEmpty()) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    reader.accept(new String(record.key(), java.nio.charset.StandardCharsets.UTF_8), record.value());
                }
                ends.entrySet().removeIf(end -> consumer.position(end.getKey()) >= end.getValue());
            }
        }
    }

    @Override
    public void close() {
        // services before what they stand on
        List<String> order = new ArrayList<>(running.keySet());
        order.remove(PARTS);
        order.parallelStream().map(this::program).forEach(Program::close);
        if (running.containsKey(PARTS)) {
            program(PARTS).close();
        }
        local.close();
        remote.close();
    }
}
