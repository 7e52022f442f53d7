package io.millrace.sinks.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import io.millrace.id.Ids;
import io.millrace.log.Log;
import io.millrace.log.LogTail;
import io.millrace.log.Topics;
import io.millrace.schema.Answer;
import io.millrace.schema.DeadLetter;
import io.millrace.schema.Decision;
import io.millrace.schema.Document;
import io.millrace.schema.Envelope;
import io.millrace.schema.Failure;
import io.millrace.schema.Feedback;
import io.millrace.schema.Interaction;
import io.millrace.schema.TelemetryEvent;
import io.millrace.sinks.testing.TestBroker;
import io.millrace.sinks.testing.TestPostgres;
import io.zonky.test.db.postgres.embedded.EmbeddedPostgres;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Against a real broker and a real PostgreSQL. */
class PostgresSinkTest {
    private static final Duration SOON = Duration.ofSeconds(20);

    private final Log log = TestBroker.log();
    private final List<DeadLetter> buried = new CopyOnWriteArrayList<>();
    private final List<PostgresSink> sinks = new ArrayList<>();
    private TestPostgres postgres = new TestPostgres("");
    private LogTail<DeadLetter> deadLetters = tail();

    private LogTail<DeadLetter> tail() {
        return new LogTail<>(
                "test", Topics.DEAD_LETTERS, LogTail.From.BEGINNING, log, letter -> buried.add(letter.required()));
    }

    @BeforeEach
    void start() {
        postgres = TestPostgres.database();
        deadLetters.start();
    }

    @AfterEach
    void stop() {
        sinks.forEach(PostgresSink::close);
        deadLetters.close();
        log.producer().close();
    }

    @Test
    void shouldProjectEveryTopicWhenRecordsArrive() {
        sink();
        Interaction interaction = interaction("Where is the mill?");
        String id = interaction.getInteractionId();
        log.producer().send(Topics.INTERACTIONS, id, interaction);
        log.producer().send(Topics.DECISIONS, id, decision(id, 1, "confidence_high"));
        log.producer().send(Topics.DECISIONS, id, decision(id, 2, "quality_below_bar"));
        log.producer()
                .send(
                        Topics.FEEDBACK,
                        id,
                        Feedback.newBuilder()
                                .setEnvelope(envelope())
                                .setFeedbackId(Ids.next())
                                .setInteractionId(id)
                                .setRating(1)
                                .setNote("good")
                                .build());
        log.producer()
                .send(
                        Topics.FEEDBACK,
                        "",
                        Feedback.newBuilder()
                                .setEnvelope(envelope())
                                .setFeedbackId(Ids.next())
                                .setQuery("q")
                                .build());
        log.producer()
                .send(
                        Topics.TELEMETRY,
                        "probe",
                        TelemetryEvent.newBuilder()
                                .setEnvelope(envelope())
                                .setEventId(Ids.next())
                                .setSource("probe")
                                .setEventType("started")
                                .setAttributes(Map.of("cpu", "2"))
                                .build());
        Document document = document("docs/mill.md");
        log.producer().send(Topics.DOCUMENTS, document.getDocumentId(), document);

        eventually("SELECT count(*) FROM interactions", "1");
        eventually("SELECT count(*) FROM decisions", "2");
        eventually("SELECT count(*) FROM feedback", "2");
        eventually("SELECT count(*) FROM telemetry", "1");
        eventually("SELECT count(*) FROM documents", "1");
        assertThat(postgres.query(
                        "SELECT concat_ws('|', interaction_id, outcome, route, backend, confidence, context_score,"
                                + " tokens_in, cost_usd, tenant, synthetic, query_text, answer_text, failure_reason,"
                                + " accepted_at = to_timestamp(" + Ids.millisOf(id) + " / 1000.0),"
                                + " record->'answer'->>'text', record->'envelope'->>'tenant', record ? 'embedding')"
                                + " FROM interactions"))
                .containsExactly(id + "|answered|local|llama|0.9|11|0.25|acme|f|Where is the mill?|By the river.|t"
                        + "|By the river.|acme|f");
        assertThat(postgres.query("SELECT rating || note FROM feedback WHERE interaction_id = '" + id + "'"))
                .containsExactly("1good");
        assertThat(postgres.query("SELECT attributes->>'cpu' FROM telemetry")).containsExactly("2");
        assertThat(postgres.query("SELECT concat_ws('|', path, size, metadata->>'lang') FROM documents"))
                .containsExactly("docs/mill.md|6|en");
        assertThat(postgres.query("SELECT reason || decisions FROM decisions_by_reason ORDER BY 1"))
                .containsExactly("confidence_high1", "quality_below_bar1");
        assertThat(postgres.query("SELECT cost_usd FROM cost_by_day")).containsExactly("0.25");
        await().atMost(SOON)
                .untilAsserted(() -> assertThat(log.metrics()
                                .get("millrace.projection.rows")
                                .tag("table", "decisions")
                                .counter()
                                .count())
                        .isEqualTo(2));
        await().atMost(SOON)
                .until(() ->
                        log.metrics().get("millrace.projection.lag").gauge().value() == 0);
        assertThat(sinks.getFirst().details()).isEmpty();
        assertThat(sinks.getFirst().isReady()).isTrue();
    }

    @Test
    void shouldKeepOneRowWhenARecordIsDeliveredTwice() {
        sink();
        Interaction interaction = interaction("once");
        String id = interaction.getInteractionId();
        // within one batch, and across batches
        log.producer().send(Topics.INTERACTIONS, id, interaction);
        log.producer().send(Topics.INTERACTIONS, id, interaction);
        log.producer().send(Topics.DECISIONS, id, decision(id, 1, "a"));
        log.producer().send(Topics.DECISIONS, id, decision(id, 1, "b"));
        eventually("SELECT reason FROM decisions", "b");
        log.producer()
                .send(
                        Topics.INTERACTIONS,
                        id,
                        Interaction.newBuilder(interaction)
                                .setOutcome("failed")
                                // a record that disagrees about the time is still about the same interaction
                                .setAcceptedAt(1)
                                .build());
        log.producer().send(Topics.DECISIONS, id, decision(id, 1, "c"));

        eventually("SELECT outcome FROM interactions", "failed");
        eventually("SELECT reason FROM decisions", "c");
    }

    @Test
    void shouldWriteEachMonthIntoItsPartitionWhenRecordsAreOld() {
        sink();
        List<String> ids = List.of(
                "01893d5e-7c00-7000-8000-000000000001", // July 2023
                "018cc251-f400-7000-8000-000000000002", // the first millisecond of 2024, UTC
                Ids.next());
        for (String id : ids) {
            log.producer()
                    .send(
                            Topics.INTERACTIONS,
                            id,
                            Interaction.newBuilder(interaction("old"))
                                    .setInteractionId(id)
                                    .build());
        }

        eventually("SELECT count(*) FROM interactions", "3");
        assertThat(postgres.query("SELECT tableoid::regclass FROM interactions ORDER BY accepted_at"))
                .startsWith("interactions_2023_07", "interactions_2024_01")
                .hasSize(3);
        assertThat(postgres.query("EXPLAIN SELECT * FROM interactions WHERE interaction_id = '" + ids.getFirst() + "'"))
                .as("a look-up by id alone uses an index in every month")
                .anyMatch(line -> line.contains("interactions_2023_07_pkey"));
    }

    @Test
    void shouldAbortTheTransactionOfAZombieWhenAnotherMemberHasMovedOn() throws Exception {
        sink();
        Interaction interaction = interaction("first");
        log.producer().send(Topics.INTERACTIONS, interaction.getInteractionId(), interaction);
        eventually("SELECT count(*) FROM interactions", "1");
        sinks.removeFirst().close();
        String topic = log.settings().name(Topics.INTERACTIONS);
        TopicPartition partition = new TopicPartition(
                topic,
                Integer.parseInt(postgres.query(
                                "SELECT partition FROM sink_offsets WHERE next_offset = 1 AND topic = '" + topic + "'")
                        .getFirst()));

        // the zombie read offset 0 before the other member wrote it and moved to 1
        try (Database zombie = new Database(postgres.url(), TestPostgres.USER, TestPostgres.PASSWORD)) {
            Row row = row(interaction("late"));
            assertThatThrownBy(() -> zombie.write(
                            List.of(row),
                            Map.of(partition, new Database.Advance(0, 2)),
                            PostgresSinkTest::mustNotRefuse))
                    .isInstanceOf(StaleOffsetsException.class);
            assertThat(postgres.query("SELECT query_text FROM interactions")).containsExactly("first");

            zombie.write(List.of(row), Map.of(partition, new Database.Advance(1, 2)), PostgresSinkTest::mustNotRefuse);
            assertThat(postgres.query("SELECT query_text FROM interactions ORDER BY interaction_id"))
                    .containsExactly("first", "late");
        }
    }

    /** A start says so, and does not wait for the end of it. */
    @Test
    void shouldSayHowFarItIsBehindWhenItHasABacklog() throws Exception {
        PostgresSink sink = sink();
        sendInteractions(1);
        eventually("SELECT count(*) FROM interactions", "1");
        try (Connection lock = postgres.connect();
                Statement statement = lock.createStatement()) {
            lock.setAutoCommit(false);
            statement.execute("LOCK TABLE interactions");
            sendInteractions(50);
            await().atMost(SOON).until(() -> sink.behind() > 1);
            assertThat(sink.isReady()).isTrue();
        }

        eventually("SELECT count(*) FROM interactions", "51");
        await().atMost(SOON).until(() -> sink.behind() == 0);
    }

    /** What is gathered meanwhile is not written after a transaction that failed, but read again with it. */
    @Test
    void shouldReadOnWhileATransactionIsUnderWay() throws Exception {
        sink();
        sendInteractions(1);
        eventually("SELECT count(*) FROM interactions", "1");
        String waiting = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted"
                + " AND application_name = 'millrace-sink-postgres'";
        try (Connection lock = postgres.connect();
                Statement statement = lock.createStatement()) {
            lock.setAutoCommit(false);
            statement.execute("LOCK TABLE interactions");
            sendInteractions(10);
            eventually(waiting, "1");

            log.producer().sendRaw(Topics.INTERACTIONS, utf8("garbage"), utf8("no record"));
            sendInteractions(10);

            await().atMost(SOON).until(() -> buried.size() == 1);
            assertThat(postgres.query(waiting)).containsExactly("1");
            statement.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    + " WHERE application_name = 'millrace-sink-postgres'");
        }

        eventually("SELECT count(*) FROM interactions", "21");
        sendInteractions(1);
        eventually("SELECT count(*) FROM interactions", "22");
    }

    @Test
    void shouldReadItsOffsetsAgainWhenTheDatabaseWasMovedUnderIt() {
        sink();
        sendInteractions(20);
        eventually("SELECT count(*) FROM interactions", "20");

        // as if a restore from a backup had taken rows and offsets back
        postgres.execute("BEGIN; DELETE FROM interactions; UPDATE sink_offsets SET next_offset = 0; COMMIT");
        sendInteractions(20);

        eventually("SELECT count(*) FROM interactions", "40");
        assertThat(log.metrics().get("millrace.projection.fenced").counter().count())
                .isGreaterThanOrEqualTo(1);
    }

    @Test
    void shouldLoseNothingWhenPostgresStopsAndComesBack(@TempDir Path directory) throws Exception {
        int port = TestBroker.freePort();
        postgres = new TestPostgres("jdbc:postgresql://localhost:" + port + "/postgres");
        // not there yet: it must wait for it rather than die
        PostgresSink sink = sink();
        sendInteractions(100);
        await().atMost(SOON)
                .until(() -> sink.details().getOrDefault("postgres", "").startsWith("waiting for PostgreSQL"));
        assertThat(sink.isReady()).isFalse();
        try (EmbeddedPostgres first = server(directory, port)) {
            assertThat(first.getPort()).isEqualTo(port);
            eventually("SELECT count(*) FROM interactions", "100");
            sendInteractions(500);
        }
        sendInteractions(500);
        await().atMost(SOON)
                .until(() ->
                        log.metrics().get("millrace.projection.lag").gauge().value() > 0.5);
        assertThat(sink.details()).containsKey("postgres");
        try (EmbeddedPostgres second = server(directory, port)) {
            assertThat(second.getPort()).isEqualTo(port);
            eventually("SELECT count(*) FROM interactions", "1100");
            await().atMost(SOON).until(() -> sink.details().isEmpty() && sink.isReady());
            sinks.remove(sink);
            sink.close();
        }
    }

    @Test
    void shouldBuryWhatItCannotWriteAndGoOnWhenDataIsBad() {
        sink();
        Interaction withNul = Interaction.newBuilder(interaction("nul\0in \u0000text"))
                .setModel("m\0")
                .build();
        Interaction absurdTime = Interaction.newBuilder(interaction("absurd time"))
                .setEndedAt(Long.MAX_VALUE)
                .build();
        Interaction noId = Interaction.newBuilder(interaction("no id"))
                .setInteractionId("not-an-id")
                .build();
        Interaction farFuture = Interaction.newBuilder(interaction("year 10889"))
                .setInteractionId("ffffffff-ffff-7fff-bfff-ffffffffffff")
                .build();
        sendInteractions(50);
        log.producer().send(Topics.INTERACTIONS, withNul.getInteractionId(), withNul);
        log.producer().send(Topics.INTERACTIONS, absurdTime.getInteractionId(), absurdTime);
        log.producer().send(Topics.INTERACTIONS, noId.getInteractionId(), noId);
        log.producer().send(Topics.INTERACTIONS, farFuture.getInteractionId(), farFuture);
        log.producer().sendRaw(Topics.INTERACTIONS, utf8("garbage"), new byte[] {0, 0, 0, 0, 1, -1, -1, -1});
        log.producer().sendRaw(Topics.DECISIONS, utf8("garbage"), utf8("{\"not\":\"avro\"}"));
        log.producer().tombstone(Topics.FEEDBACK, "a tombstone where none belongs");
        sendInteractions(50);

        eventually("SELECT count(*) FROM interactions", "101");
        assertThat(postgres.query("SELECT query_text || model || (record->>'query_text') FROM interactions WHERE"
                        + " interaction_id = '" + withNul.getInteractionId() + "'"))
                .containsExactly("nulin textmnulin text");
        await().atMost(SOON).until(() -> buried.size() == 6);
        assertThat(buried).allMatch(letter -> letter.getStep().equals("sink-postgres"));
        assertThat(buried.stream().map(DeadLetter::getError))
                .anyMatch(error -> error.contains("timestamp out of range"))
                .anyMatch(error -> error.contains("interaction_id is no UUIDv7"))
                .anyMatch(error -> error.contains("is not believed"));
        sendInteractions(1);
        eventually("SELECT count(*) FROM interactions", "102");
        assertThat(buried).hasSize(6);
    }

    /** The rows beside it went with the batch: missing until their partition was read anew, and the sink said that all was well. */
    @Test
    void shouldWriteWhatIsBesideARefusedRowWhenItsLetterIsNotTakenAtOnce() throws Exception {
        PostgresSink sink = sink();
        sendInteractions(1);
        eventually("SELECT count(*) FROM interactions", "1");
        try (Admin admin =
                Admin.create(Map.of("bootstrap.servers", log.settings().bootstrapServers()))) {
            takeLettersUpTo(admin, "100");
            Interaction absurdTime = Interaction.newBuilder(interaction("absurd time"))
                    .setEndedAt(Long.MAX_VALUE)
                    .build();
            log.producer().send(Topics.INTERACTIONS, absurdTime.getInteractionId(), absurdTime);
            sendInteractions(10);
            await().atMost(SOON)
                    .until(() -> sink.details().getOrDefault("postgres", "").contains("to take a dead letter"));
            assertThat(sink.isReady()).isFalse();

            takeLettersUpTo(admin, "1000000");
        }

        eventually("SELECT count(*) FROM interactions", "11");
        await().atMost(SOON).until(() -> buried.size() == 1 && sink.isReady() && sink.behind() == 0);
    }

    private void takeLettersUpTo(Admin admin, String bytes) throws Exception {
        admin.incrementalAlterConfigs(Map.of(
                        new ConfigResource(
                                ConfigResource.Type.TOPIC, log.settings().name(Topics.DEAD_LETTERS)),
                        List.of(new AlterConfigOp(
                                new ConfigEntry("max.message.bytes", bytes), AlterConfigOp.OpType.SET))))
                .all()
                .get(10, TimeUnit.SECONDS);
    }

    /** One error that nobody had foreseen ended the thread, and nothing was projected until the process started again. */
    @Test
    void shouldGoOnWhenSomethingFailsThatIsNotForeseen() {
        AtomicInteger failures = new AtomicInteger();
        Log flaky = TestBroker.flaky(log, 3, failures);
        PostgresSink sink = new PostgresSink(flaky, postgres.url(), TestPostgres.USER, TestPostgres.PASSWORD);
        sinks.add(sink);
        sink.start();

        sendInteractions(20);

        eventually("SELECT count(*) FROM interactions", "20");
        assertThat(failures).hasValue(3);
        await().atMost(SOON).until(() -> sink.isReady() && sink.details().isEmpty() && sink.behind() == 0);
        assertThat(buried).isEmpty();
    }

    @Test
    void shouldDeleteTheRowWhenADocumentIsDeleted() throws Exception {
        sink();
        Document kept = document("kept.md");
        Document deleted = document("deleted.md");
        Document reborn = document("reborn.md");
        for (Document document : List.of(kept, deleted, reborn)) {
            log.producer().send(Topics.DOCUMENTS, document.getDocumentId(), document);
        }
        eventually("SELECT count(*) FROM documents", "3");
        log.producer().tombstone(Topics.DOCUMENTS, deleted.getDocumentId());
        // in one batch the last change wins
        log.producer().tombstone(Topics.DOCUMENTS, reborn.getDocumentId());
        log.producer().send(Topics.DOCUMENTS, reborn.getDocumentId(), reborn);
        log.producer().tombstone(Topics.DOCUMENTS, Ids.content("never seen"));

        await().atMost(SOON)
                .untilAsserted(() -> assertThat(postgres.query("SELECT path FROM documents ORDER BY path"))
                        .containsExactly("kept.md", "reborn.md"));
        await().atMost(SOON)
                .untilAsserted(() -> assertThat(reconciled("documents"))
                        .isEqualTo(new Reconciliation("documents", 2, 2, 0))
                        .matches(Reconciliation::isExact));
        postgres.execute("DELETE FROM documents WHERE path = 'kept.md'");
        assertThat(reconciled("documents").isExact()).isFalse();
        assertThat(buried).isEmpty();
    }

    @Test
    void shouldGoOnFromTheDatabaseWhenItIsRestarted() {
        PostgresSink first = sink();
        sendInteractions(30);
        eventually("SELECT count(*) FROM interactions", "30");
        sinks.remove(first);
        first.close();
        // rows that are gone and offsets that stay show that nothing is read twice
        postgres.execute("DELETE FROM interactions");
        sendInteractions(10);
        sink();

        eventually("SELECT count(*) FROM interactions", "10");
    }

    @Test
    void shouldProjectCommittedRecordsOnlyWhenAProducerIsTransactional() throws Exception {
        sink();
        Properties config = new Properties();
        config.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, log.settings().bootstrapServers());
        config.put(ProducerConfig.TRANSACTIONAL_ID_CONFIG, log.settings().group("ledger-test"));
        config.put(
                ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG,
                org.apache.kafka.common.serialization.ByteArraySerializer.class);
        config.put(
                ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG,
                org.apache.kafka.common.serialization.ByteArraySerializer.class);
        try (KafkaProducer<byte[], byte[]> ledger = new KafkaProducer<>(config)) {
            ledger.initTransactions();
            for (boolean commit : List.of(false, true)) {
                ledger.beginTransaction();
                for (int i = 0; i < 10; i++) {
                    Interaction interaction = interaction(commit ? "committed" : "aborted");
                    ledger.send(new ProducerRecord<>(
                            log.settings().name(Topics.INTERACTIONS),
                            utf8(interaction.getInteractionId()),
                            log.codecs().of(Topics.INTERACTIONS).encode(interaction)));
                }
                ledger.flush();
                if (commit) {
                    ledger.commitTransaction();
                } else {
                    ledger.abortTransaction();
                }
            }
        }

        eventually("SELECT count(*) || min(query_text) || max(query_text) FROM interactions", "10committedcommitted");
        // the offsets also pass the markers of the transactions
        await().atMost(SOON)
                .untilAsserted(() -> assertThat(reconciled("interactions"))
                        .isEqualTo(new Reconciliation("interactions", 10, 10, 0)));
    }

    @Test
    void shouldShareThePartitionsAndDuplicateNothingWhenThereAreTwo() throws Exception {
        sink();
        sendInteractions(200);
        PostgresSink second = sink();
        sendInteractions(200);
        await().atMost(SOON).until(second::isReady);
        sendInteractions(200);
        sinks.removeFirst().close();
        sendInteractions(200);

        eventually("SELECT count(*) FROM interactions", "800");
        assertThat(buried).isEmpty();
        assertThat(reconciled("interactions")).isEqualTo(new Reconciliation("interactions", 800, 800, 0));
    }

    private PostgresSink sink() {
        PostgresSink sink = new PostgresSink(log, postgres.url(), TestPostgres.USER, TestPostgres.PASSWORD);
        sinks.add(sink);
        sink.start();
        return sink;
    }

    private static EmbeddedPostgres server(Path directory, int port) throws IOException {
        return EmbeddedPostgres.builder()
                .setDataDirectory(directory)
                .setCleanDataDirectory(false)
                .setPort(port)
                .start();
    }

    private void eventually(String sql, String expected) {
        await().atMost(SOON)
                .pollInterval(Duration.ofMillis(50))
                .untilAsserted(() -> assertThat(postgres.query(sql)).containsExactly(expected));
    }

    private Reconciliation reconciled(String table) throws SQLException {
        return Reconciliation.of(log, postgres.url(), TestPostgres.USER, TestPostgres.PASSWORD).stream()
                .filter(each -> each.table().equals(table))
                .findFirst()
                .orElseThrow();
    }

    private void sendInteractions(int count) {
        CompletableFuture.allOf(IntStream.range(0, count)
                        .mapToObj(i -> interaction("question " + i))
                        .map(interaction ->
                                log.producer().send(Topics.INTERACTIONS, interaction.getInteractionId(), interaction))
                        .toArray(CompletableFuture<?>[]::new))
                .join();
    }

    private Row row(Interaction interaction) {
        return new Row(
                new org.apache.kafka.clients.consumer.ConsumerRecord<>("t", 0, 0, new byte[0], new byte[0]),
                Projections.INTERACTIONS,
                List.of(interaction.getInteractionId()),
                Projections.INTERACTIONS.row(interaction));
    }

    private static void mustNotRefuse(Row row, SQLException why) {
        throw new AssertionError("refused " + row.key(), why);
    }

    private static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static Envelope envelope() {
        return Envelope.newBuilder()
                .setOccurredAt(System.currentTimeMillis())
                .setTenant("acme")
                .build();
    }

    private static Interaction interaction(String query) {
        String id = Ids.next();
        return Interaction.newBuilder()
                .setEnvelope(envelope())
                .setInteractionId(id)
                .setOutcome("answered")
                .setQueryText(query)
                .setAnswer(Answer.newBuilder().setText("By the river.").build())
                .setRoute("local")
                .setBackend("llama")
                .setReason("confidence_high")
                .setConfidence(0.9)
                .setConfidenceKind("prior")
                .setEmbedding(ByteBuffer.wrap(new byte[16]))
                .setAcceptedAt(Ids.millisOf(id))
                .setEndedAt(Ids.millisOf(id) + 12)
                .setLatencyMs(12)
                .setTokensIn(11)
                .setTokensOut(4)
                .setCostUsd(0.25)
                .build();
    }

    private static Decision decision(String id, int attempt, String reason) {
        return Decision.newBuilder()
                .setEnvelope(envelope())
                .setInteractionId(id)
                .setAttempt(attempt)
                .setRoute("local")
                .setBackend("llama")
                .setReason(reason)
                .setFailure(Failure.newBuilder().setReason("none").build())
                .build();
    }

    private static Document document(String path) {
        return Document.newBuilder()
                .setEnvelope(envelope())
                .setDocumentId(Ids.content("default", "docs", path))
                .setSource("docs")
                .setPath(path)
                .setContent("größe".substring(0, 4))
                .setMetadata(Map.of("lang", "en"))
                .build();
    }
}
