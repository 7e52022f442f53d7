package io.millrace.bench.sink;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import io.millrace.id.Ids;
import io.millrace.log.Codecs;
import io.millrace.log.InMemorySchemaRegistry;
import io.millrace.log.Log;
import io.millrace.log.LogProducer;
import io.millrace.log.LogSettings;
import io.millrace.log.Topic;
import io.millrace.log.TopicAdmin;
import io.millrace.log.Topics;
import io.millrace.schema.Answer;
import io.millrace.schema.Attempt;
import io.millrace.schema.Envelope;
import io.millrace.schema.EvidenceRef;
import io.millrace.schema.Feature;
import io.millrace.schema.Interaction;
import io.millrace.sinks.postgres.PostgresSink;
import io.zonky.test.db.postgres.embedded.EmbeddedPostgres;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.stream.IntStream;
import org.apache.kafka.common.utils.Utils;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;

/**
 * Rows per second from the topic {@code interactions} into PostgreSQL, against raw COPY of the same rows into the same table.
 *
 * <p>COPY is the bound: the server itself reads ready text from a file, in one transaction, with the same partitions and indexes, and has neither a
 * log to read, nor Avro to decode, nor JSON to write. Broker, sink and server share the machine. Rounds alternate; the first is
 * warm-up; medians are reported. The sink is timed from its first batch to its last: joining the group is not its speed.
 *
 * <p>With {@code --debezium} Debezium's JDBC sink takes its turn in a worker of Kafka Connect, with upserts, reading the same rows from a topic with as
 * many partitions: once with lists of values and once with an array per column, batches and polls of 1,000 as is recommended for it.
 */
@CommandLine.Command(name = "sink", description = "Rows per second into Postgres, against raw COPY.")
public final class SinkBenchmark implements Callable<Integer> {
    private static final String USER = "postgres";
    private static final long SEED = 7;

    /** Rows of a batch and of a poll of Debezium's. */
    private static final int BATCH = 1_000;

    private static final int PARTITIONS = 4;

    @CommandLine.Option(
            names = "--rows",
            defaultValue = "200000",
            description = "Rows of a round (default: ${DEFAULT-VALUE})")
    private int rows;

    @CommandLine.Option(
            names = "--rounds",
            defaultValue = "3",
            description = "Rounds after the warm-up (default: ${DEFAULT-VALUE})")
    private int rounds;

    @CommandLine.Option(
            names = "--debezium",
            description = {
                "Folder in which Debezium's JDBC connector was unpacked, to compare with:",
                "mvn dependency:copy -Dartifact=io.debezium:debezium-connector-jdbc:3.6.0.Final:tar.gz:plugin",
                "  -DoutputDirectory=DIR, and tar xzf that file in DIR"
            })
    private @Nullable Path debezium;

    private final Random random = new Random(SEED);

    @Override
    public Integer call() throws Exception {
        Path directory = Files.createTempDirectory("millrace-sink-benchmark");
        try (BenchBroker broker = BenchBroker.start(directory.resolve("kafka"));
                EmbeddedPostgres postgres = EmbeddedPostgres.builder()
                        .setDataDirectory(directory.resolve("postgres"))
                        // no checkpoint in the middle of one of the two
                        .setServerConfig("max_wal_size", "8GB")
                        .setServerConfig("checkpoint_timeout", "1h")
                        .start()) {
            LogSettings settings = new LogSettings(broker.bootstrapServers(), "bench.", PARTITIONS, (short) 1);
            new TopicAdmin(settings)
                    .createAndVerify(List.<Topic<?>>of(
                            Topics.INTERACTIONS,
                            Topics.DECISIONS,
                            Topics.FEEDBACK,
                            Topics.TELEMETRY,
                            Topics.DOCUMENTS,
                            Topics.DEAD_LETTERS));
            Codecs codecs = new Codecs(new InMemorySchemaRegistry(), settings.prefix());
            try (LogProducer producer = new LogProducer(settings, codecs)) {
                long bytes = fill(producer, codecs);
                report(measure(settings, codecs, producer, postgres, directory), bytes);
            }
        } finally {
            Utils.delete(directory.toFile());
        }
        return 0;
    }

    private Map<String, Double> measure(
            LogSettings settings, Codecs codecs, LogProducer producer, EmbeddedPostgres postgres, Path directory)
            throws Exception {
        Path file = directory.resolve("postgres").resolve("rows.copy");
        String url = postgres.getJdbcUrl(USER, "postgres");
        List<Double> sink = new ArrayList<>();
        List<Double> copy = new ArrayList<>();
        Map<String, List<Double>> others = new LinkedHashMap<>();
        DebeziumSink opponent = null;
        try (Connection connection = DriverManager.getConnection(url, USER, USER)) {
            for (int round = 0; round <= rounds; round++) {
                if (round > 0) {
                    execute(
                            connection,
                            "TRUNCATE interactions",
                            "UPDATE sink_offsets SET next_offset = 0",
                            "CHECKPOINT");
                }
                double projected = sink(new Log(settings, codecs, producer, new SimpleMeterRegistry()), url);
                check(connection);
                if (round == 0) {
                    execute(connection, "COPY (SELECT * FROM interactions) TO '" + file + "'");
                    execute(connection, "CREATE TABLE ready AS SELECT * FROM interactions");
                }
                execute(connection, "TRUNCATE interactions", "CHECKPOINT");
                double copied = copy(connection, file);
                check(connection);
                if (debezium != null) {
                    if (opponent == null) {
                        opponent = new DebeziumSink(
                                Path.of(System.getProperty("millrace.home", ""), "connectors", "target", "connect"),
                                debezium,
                                directory,
                                settings.bootstrapServers(),
                                PARTITIONS,
                                connection,
                                "ready");
                    }
                    for (boolean unnest : new boolean[] {false, true}) {
                        execute(connection, "TRUNCATE interactions", "CHECKPOINT");
                        double speed = opponent.write(connection, url, USER, rows, BATCH, unnest);
                        check(connection);
                        if (round > 0) {
                            others.computeIfAbsent(unnest ? "debezium_unnest" : "debezium", each -> new ArrayList<>())
                                    .add(speed);
                        }
                    }
                }
                if (round > 0) {
                    sink.add(projected);
                    copy.add(copied);
                }
            }
        } finally {
            if (opponent != null) {
                opponent.close();
            }
        }
        Map<String, Double> result = new LinkedHashMap<>();
        result.put("sink_rows_per_second", median(sink));
        result.put("copy_rows_per_second", median(copy));
        result.put("ratio", median(sink) / median(copy));
        others.forEach((name, speeds) -> {
            result.put(name + "_rows_per_second", median(speeds));
            result.put(name + "_ratio", median(sink) / median(speeds));
        });
        return result;
    }

    private double sink(Log log, String url) throws InterruptedException {
        try (PostgresSink sink = new PostgresSink(log, url, USER, USER)) {
            sink.start();
            double first = 0;
            long since = 0;
            while (true) {
                double written = log.metrics()
                        .counter("millrace.projection.rows", "projection", "postgres", "table", "interactions")
                        .count();
                long now = System.nanoTime();
                if (first == 0 && written > 0) {
                    first = written;
                    since = now;
                }
                if (written >= rows) {
                    return (written - first) * 1e9 / (now - since);
                }
                Thread.sleep(5);
            }
        }
    }

    private double copy(Connection connection, Path file) throws Exception {
        long since = System.nanoTime();
        execute(connection, "COPY interactions FROM '" + file + "'");
        return rows * 1e9 / (System.nanoTime() - since);
    }

    private void check(Connection connection) throws Exception {
        try (Statement statement = connection.createStatement();
                ResultSet count = statement.executeQuery("SELECT count(*) FROM interactions")) {
            count.next();
            if (count.getLong(1) != rows) {
                throw new IllegalStateException("there are " + count.getLong(1) + " rows, not " + rows);
            }
        }
    }

    private static void execute(Connection connection, String... statements) throws Exception {
        try (Statement statement = connection.createStatement()) {
            for (String sql : statements) {
                statement.execute(sql);
            }
        }
    }

    private long fill(LogProducer producer, Codecs codecs) {
        long bytes = 0;
        for (int i = 0; i < rows; i++) {
            Interaction interaction = interaction();
            bytes += i < 1_000 ? codecs.of(Topics.INTERACTIONS).encode(interaction).length : 0;
            producer.send(Topics.INTERACTIONS, interaction.getInteractionId(), interaction);
        }
        producer.flush();
        return bytes / Math.min(rows, 1_000);
    }

    /** As the ledger writes it: a question of 150 characters, an answer of 900, a vector, five passages, one attempt, eight features. */
    private Interaction interaction() {
        String id = Ids.next();
        byte[] embedding = new byte[384 * Float.BYTES];
        random.nextBytes(embedding);
        long accepted = Ids.millisOf(id);
        return Interaction.newBuilder()
                .setEnvelope(Envelope.newBuilder().setOccurredAt(accepted).build())
                .setInteractionId(id)
                .setOutcome("answered")
                .setModel("millrace")
                .setQueryText(words(150))
                .setAnswer(Answer.newBuilder()
                        .setText(words(900))
                        .setModel("qwen")
                        .setTokensIn(400)
                        .setTokensOut(200)
                        .build())
                .setRoute("local")
                .setBackend("llama")
                .setDeployment("llama-1")
                .setReason("confidence_high")
                .setConfidence(random.nextDouble())
                .setConfidenceKind("prior")
                .setContextScore(random.nextDouble())
                .setEmbedding(ByteBuffer.wrap(embedding))
                .setEmbeddingModel("all-minilm-l6-v2-q")
                .setEvidence(IntStream.range(0, 5)
                        .mapToObj(i -> EvidenceRef.newBuilder()
                                .setPassageId(Ids.content(id, "p" + i))
                                .setDocumentId(Ids.content(id, "d" + i))
                                .setCollection("best-practices")
                                .setPath("guides/" + i + "/index.md")
                                .setScore(random.nextDouble())
                                .build())
                        .toList())
                .setAttempts(List.of(Attempt.newBuilder()
                        .setAttempt(1)
                        .setRoute("local")
                        .setBackend("llama")
                        .setDeployment("llama-1")
                        .setReason("confidence_high")
                        .setEnd("answered")
                        .setDecidedAt(accepted + 8)
                        .setEndedAt(accepted + 900)
                        .setTokensIn(400)
                        .setTokensOut(200)
                        .build()))
                .setFeatures(IntStream.range(0, 8)
                        .mapToObj(i -> Feature.newBuilder()
                                .setName("feature_" + i)
                                .setValue(random.nextDouble())
                                .build())
                        .toList())
                .setAcceptedAt(accepted)
                .setEndedAt(accepted + 900)
                .setLatencyMs(900)
                .setTokensIn(400)
                .setTokensOut(200)
                .build();
    }

    private String words(int length) {
        StringBuilder text = new StringBuilder(length + 12);
        while (text.length() < length) {
            text.append(Integer.toString(random.nextInt(1_000_000), 36)).append(' ');
        }
        return text.substring(0, length);
    }

    private static double median(List<Double> values) {
        List<Double> sorted = values.stream().sorted().toList();
        return sorted.get(sorted.size() / 2);
    }

    private void report(Map<String, Double> result, long bytes) throws Exception {
        System.out.printf(
                "%nPostgres sink, %,d interactions of %,d bytes, median of %d rounds%n%n", rows, bytes, rounds);
        System.out.printf("%-24s %12s%n", "path", "rows/s");
        System.out.printf("%-24s %,12.0f%n", "raw COPY", result.get("copy_rows_per_second"));
        System.out.printf("%-24s %,12.0f%n", "log -> PostgresSink", result.get("sink_rows_per_second"));
        System.out.printf("%-24s %12.2f%n", "ratio (bar: 0.50)", result.get("ratio"));
        for (String name : List.of("debezium", "debezium_unnest")) {
            if (result.containsKey(name + "_ratio")) {
                System.out.printf(
                        "%-28s %,8.0f %12.2f (bar: 3)%n",
                        name, result.get(name + "_rows_per_second"), result.get(name + "_ratio"));
            }
        }
        System.out.println();
        Map<String, Object> json = new LinkedHashMap<>(result);
        json.put("benchmark", "sink");
        json.put("rows", rows);
        json.put("rounds", rounds);
        json.put("bytes_per_record", bytes);
        System.out.println(new ObjectMapper().writeValueAsString(json));
    }
}
