package io.millrace.sinks.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import io.millrace.id.Ids;
import io.millrace.log.Codecs;
import io.millrace.log.InMemorySchemaRegistry;
import io.millrace.log.Log;
import io.millrace.log.Topic;
import io.millrace.log.Topics;
import io.millrace.schema.Decision;
import io.millrace.schema.Envelope;
import io.millrace.schema.Interaction;
import io.millrace.schema.TelemetryEvent;
import io.millrace.sinks.archive.ArchiveReader;
import io.millrace.sinks.archive.ArchiveSink;
import io.millrace.sinks.archive.ArchivedFile;
import io.millrace.sinks.testing.TestBroker;
import io.millrace.sinks.testing.TestPostgres;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.TopicPartition;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Against a real broker and a real PostgreSQL, with records that have expired on the log. */
class PostgresRebuildTest {
    private static final Duration SOON = Duration.ofSeconds(30);
    private static final int OLD = 40;
    private static final int YOUNG = 10;

    private final Log log = TestBroker.log();
    private final String topic = log.settings().name(Topics.INTERACTIONS);
    private final List<String> said = new ArrayList<>();
    private TestPostgres postgres = new TestPostgres("");

    @TempDir
    Path archive = Path.of("");

    @BeforeEach
    void projectArchiveAndExpire() throws Exception {
        postgres = TestPostgres.database();
        send(OLD);
        String id = Ids.next();
        for (int attempt = 1; attempt <= 2; attempt++) {
            Decision decision = Decision.newBuilder()
                    .setEnvelope(envelope())
                    .setInteractionId(id)
                    .setAttempt(attempt)
                    .build();
            log.producer().send(Topics.DECISIONS, id, decision).join();
        }
        archived(OLD);
        send(YOUNG);
        project(OLD + YOUNG);
        expire();
    }

    @AfterEach
    void stop() {
        log.producer().close();
    }

    @Test
    void shouldBringBackFromTheArchiveWhatHasExpiredOnTheLog() throws Exception {
        postgres.execute("UPDATE interactions SET outcome = 'invented'");

        PostgresRebuild.Result result = rebuild(log);

        assertThat(result.archived()).isEqualTo(OLD + 2);
        assertThat(result.isExact()).as("%s", result).isTrue();
        assertThat(count("interactions WHERE outcome = 'answered'")).isEqualTo(OLD + YOUNG);
        assertThat(count("interactions")).isEqualTo(OLD + YOUNG);
        assertThat(count("decisions")).isEqualTo(2);
        assertThat(said).contains(OLD + 2 + " records from the archive");
    }

    /** Else nothing is called unused for half a year after each rebuild, or too much after one that was broken off. */
    @Test
    void shouldCountUseSinceWhenItDidUnlessItIsBrokenOff() throws Exception {
        String since = "2026-01-01 00:00:00+00";
        postgres.execute(
                "ALTER DATABASE " + postgres.query("SELECT current_database()").getFirst() + " SET timezone = 'UTC'");
        postgres.execute("UPDATE usage_since SET since = '" + since + "'");
        event();
        try (PostgresSink sink = new PostgresSink(log, postgres.url(), TestPostgres.USER, TestPostgres.PASSWORD)) {
            sink.start();
            await().atMost(SOON).until(() -> count("telemetry") == 1);
        }
        expireAll(Topics.TELEMETRY);

        PostgresRebuild.Result result = rebuild(log);

        assertThat(result.tables()).allMatch(table -> table.behind() == 0);
        assertThat(count("telemetry")).isEqualTo(1);
        assertThat(postgres.query("SELECT since::text FROM usage_since")).containsExactly(since);

        // before the archive was written
        postgres.execute("TRUNCATE interactions; UPDATE usage_since SET since = '" + since + "';"
                + "DELETE FROM sink_offsets WHERE topic = '" + topic + "'");
        try (PostgresSink sink = new PostgresSink(log, postgres.url(), TestPostgres.USER, TestPostgres.PASSWORD)) {
            sink.start();
            await().atMost(SOON)
                    .until(() -> postgres.query("SELECT since > now() - interval '1 minute' FROM usage_since")
                            .equals(List.of("t")));
        }
    }

    /** It read all of the log each second to learn whether the sink was done. */
    @Test
    void shouldReadTheLogOnceToCompareItWhenTheSinkTakesItsTime() throws Exception {
        // no codec remembers a schema that is not there, so it is asked for by each who reads the record
        log.producer()
                .sendRaw(Topics.FEEDBACK, "k".getBytes(StandardCharsets.UTF_8), new byte[] {0, 0, 0, 99, 99, 1})
                .join();
        AtomicInteger read = new AtomicInteger();
        Log counting = TestBroker.registry(log, id -> {
            if (id == 99 * 256 + 99) {
                read.incrementAndGet();
            }
        });

        try (Connection other = postgres.connect();
                ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor()) {
            PostgresRebuild.Result result = new PostgresRebuild(
                            counting, postgres.url(), TestPostgres.USER, TestPostgres.PASSWORD)
                    .run(archive, line -> {
                        said.add(line);
                        if (line.endsWith("from the archive")) {
                            holdSink(other, timer);
                        }
                    });

            assertThat(result.isExact()).as("%s", result).isTrue();
        }
        assertThat(said).anyMatch(line -> line.endsWith("records of the log to go"));
        assertThat(read).as("by the sink, and to compare").hasValue(2);
    }

    /** For four seconds. */
    private static void holdSink(Connection other, ScheduledExecutorService timer) {
        try (Statement lock = other.createStatement()) {
            other.setAutoCommit(false);
            lock.execute("LOCK TABLE sink_offsets IN EXCLUSIVE MODE");
        } catch (SQLException e) {
            throw new IllegalStateException(e);
        }
        timer.schedule(
                () -> {
                    other.rollback();
                    return true;
                },
                4,
                TimeUnit.SECONDS);
    }

    /** After another registry has been put in its place, the ids in the archive mean nothing to it. */
    @Test
    void shouldReadTheArchiveByTheSchemasThatAreInIt() throws Exception {
        Log elsewhere = new Log(
                log.settings(),
                new Codecs(new InMemorySchemaRegistry(), log.settings().prefix()),
                log.producer(),
                log.metrics());
        // all of it has expired: what is on the log needs its own registry
        expireAll(Topics.INTERACTIONS, Topics.DECISIONS);
        postgres.execute("DELETE FROM interactions WHERE query_text LIKE 'young%'");

        PostgresRebuild.Result result = rebuild(elsewhere);

        assertThat(result.archived()).isEqualTo(OLD + 2);
        assertThat(result.unread()).isZero();
        assertThat(count("interactions")).isEqualTo(OLD);
    }

    /** Else the rows are gone whose last good copy they were. */
    @Test
    void shouldChangeNothingWhenAFileOfTheArchiveIsDamaged() throws Exception {
        ArchivedFile file = new ArchiveReader(archive).files(topic).getFirst();
        byte[] bytes = Files.readAllBytes(archive.resolve(file.file()));
        bytes[bytes.length / 2] ^= 1;
        Files.write(archive.resolve(file.file()), bytes);

        assertThatThrownBy(() -> rebuild(log))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("nothing was changed")
                .hasMessageContaining(archive.resolve(file.file()).toString());
        assertThat(count("interactions")).isEqualTo(OLD + YOUNG);

        // and the way on that it names
        Path manifest = archive.resolve(ArchiveReader.MANIFEST);
        List<String> lines = Files.readAllLines(manifest);
        assertThat(lines.removeIf(line -> line.contains(file.file()))).isTrue();
        Files.write(manifest, lines);
        assertThatThrownBy(() -> rebuild(log)).hasMessageContaining(file.count() + " rows of the table interactions");
        postgres.execute("TRUNCATE interactions");
        PostgresRebuild.Result result = rebuild(log);
        assertThat(count("interactions")).isEqualTo(OLD + YOUNG - file.count());
        assertThat(result.isExact()).as("%s", result).isFalse();
    }

    @Test
    void shouldChangeNothingWhenTheArchiveIsNotThere() throws Exception {
        Path moved = Files.move(archive, archive.resolveSibling(archive.getFileName() + "-moved"));
        try {
            assertThatThrownBy(() -> rebuild(log))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining(OLD + " rows of the table interactions")
                    .hasMessageContaining(archive.toString());
            assertThat(count("interactions")).isEqualTo(OLD + YOUNG);

            // with nothing to lose it is made of what there is, and said not to be all
            postgres.execute("TRUNCATE interactions, decisions");
            PostgresRebuild.Result result = rebuild(log);
            assertThat(count("interactions")).isEqualTo(YOUNG);
            assertThat(result.gaps()).isNotEmpty().allMatch(gap -> gap.contains("the archive ends at 0"));
            assertThat(result.isExact()).isFalse();
        } finally {
            Files.move(moved, archive);
        }
    }

    @Test
    void shouldTellWhatCannotBeReadOfTheArchive() throws Exception {
        log.producer()
                .sendRaw(Topics.INTERACTIONS, "k".getBytes(StandardCharsets.UTF_8), new byte[] {1, 2, 3})
                .join();
        archived(OLD + YOUNG + 1);
        expireAll(Topics.INTERACTIONS, Topics.DECISIONS);

        PostgresRebuild.Result result = rebuild(log);

        assertThat(result.unread()).isEqualTo(1);
        assertThat(result.isExact()).isFalse();
        assertThat(said).anyMatch(line -> line.startsWith("1 records of the archive cannot be read"));
        assertThat(count("interactions")).isEqualTo(OLD + YOUNG);
    }

    private PostgresRebuild.Result rebuild(Log from) throws Exception {
        return new PostgresRebuild(from, postgres.url(), TestPostgres.USER, TestPostgres.PASSWORD)
                .run(archive, said::add);
    }

    private void send(int count) {
        for (int i = 0; i < count; i++) {
            String id = Ids.next();
            Interaction interaction = Interaction.newBuilder()
                    .setEnvelope(envelope())
                    .setInteractionId(id)
                    .setOutcome("answered")
                    .setQueryText((count == OLD ? "old " : "young ") + i)
                    .setAcceptedAt(Ids.millisOf(id))
                    .build();
            log.producer().send(Topics.INTERACTIONS, id, interaction).join();
        }
    }

    private void event() {
        TelemetryEvent event = TelemetryEvent.newBuilder()
                .setEnvelope(envelope())
                .setEventId(Ids.next())
                .setSource("probe")
                .setEventType("started")
                .build();
        log.producer().send(Topics.TELEMETRY, event.getSource(), event).join();
    }

    private static Envelope envelope() {
        return Envelope.newBuilder().setOccurredAt(System.currentTimeMillis()).build();
    }

    /** Archives until all that was sent is in finished files. */
    private void archived(int count) {
        await().atMost(SOON).until(() -> {
            try (ArchiveSink sink = new ArchiveSink(log, archive)) {
                sink.start();
                await().atMost(SOON).until(sink::isReady);
                // a fetch lets records gather for a second
                Thread.sleep(2_500);
            }
            try (Stream<ConsumerRecord<byte[], byte[]>> records = new ArchiveReader(archive).records(topic)) {
                return records.count() == count;
            }
        });
    }

    private void project(int count) {
        try (PostgresSink sink = new PostgresSink(log, postgres.url(), TestPostgres.USER, TestPostgres.PASSWORD)) {
            sink.start();
            await().atMost(SOON)
                    .until(() ->
                            postgres.query("SELECT count(*) FROM interactions").equals(List.of(String.valueOf(count))));
            await().atMost(SOON)
                    .until(() ->
                            postgres.query("SELECT count(*) FROM decisions").equals(List.of("2")));
        }
    }

    /** What is archived is no longer on the log. */
    private void expire() throws Exception {
        Map<TopicPartition, RecordsToDelete> before = new HashMap<>();
        for (String each : List.of(topic, log.settings().name(Topics.DECISIONS))) {
            new ArchiveReader(archive)
                    .files(each)
                    .forEach(file -> before.merge(
                            new TopicPartition(each, file.partition()),
                            RecordsToDelete.beforeOffset(file.lastOffset() + 1),
                            (a, b) -> a.beforeOffset() > b.beforeOffset() ? a : b));
        }
        delete(before);
    }

    private void expireAll(Topic<?>... topics) throws Exception {
        Map<TopicPartition, RecordsToDelete> before = new HashMap<>();
        for (Topic<?> each : topics) {
            IntStream.range(0, 4)
                    .forEach(partition -> before.put(
                            new TopicPartition(log.settings().name(each), partition),
                            RecordsToDelete.beforeOffset(-1)));
        }
        delete(before);
    }

    private void delete(Map<TopicPartition, RecordsToDelete> before) throws Exception {
        try (Admin admin = Admin.create(Map.of(
                AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, log.settings().bootstrapServers()))) {
            admin.deleteRecords(before).all().get();
        }
    }

    private long count(String what) {
        return Long.parseLong(postgres.query("SELECT count(*) FROM " + what).getFirst());
    }
}
