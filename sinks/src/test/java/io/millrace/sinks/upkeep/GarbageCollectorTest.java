package io.millrace.sinks.upkeep;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import io.millrace.config.ConfigLoader;
import io.millrace.id.Ids;
import io.millrace.knowledge.VectorIndex;
import io.millrace.log.Log;
import io.millrace.log.Topics;
import io.millrace.schema.Document;
import io.millrace.schema.Envelope;
import io.millrace.schema.TelemetryEvent;
import io.millrace.sinks.postgres.PostgresSink;
import io.millrace.sinks.testing.TestBroker;
import io.millrace.sinks.testing.TestPostgres;
import java.lang.reflect.Proxy;
import java.time.Duration;
import java.time.Instant;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.common.TopicPartition;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Against a real broker and a real PostgreSQL. What it calls unused is deleted for ever. */
class GarbageCollectorTest {
    private static final Duration SOON = Duration.ofSeconds(20);
    private static final Duration AFTER = Duration.ofDays(180);

    private final Log log = TestBroker.log();
    private TestPostgres postgres = new TestPostgres("");

    @BeforeEach
    void projectAnOldDocument() {
        postgres = TestPostgres.database();
        Document document = Document.newBuilder()
                .setEnvelope(Envelope.newBuilder()
                        .setOccurredAt(Instant.now().minus(Duration.ofDays(200)).toEpochMilli())
                        .build())
                .setDocumentId("old")
                .setSource("mill")
                .setPath("old.md")
                .setCollection("c")
                .setContent("The mill stands by the river.")
                .build();
        log.producer().send(Topics.DOCUMENTS, "old", document).join();
        try (PostgresSink sink = sink()) {
            sink.start();
            eventually("SELECT count(*) FROM documents", "1");
        }
    }

    @AfterEach
    void stop() {
        log.producer().close();
    }

    /** As after Postgres was lost: its rows come back from the log, and the searches of half a year do not. */
    @Test
    void shouldCallNothingUnusedWhenUseIsCountedForLessTime() throws Exception {
        try (PostgresSink sink = sink()) {
            sink.start();

            assertThat(unused()).isEmpty();

            countSince(AFTER.plusDays(1));
            assertThat(unused()).containsExactly("old");
        }
    }

    /** As when the sink follows a log of months, or a rebuild was broken off. */
    @Test
    void shouldRefuseWhenPostgresIsBehindTheLog() throws Exception {
        countSince(AFTER.plusDays(1));
        found("old");

        assertThatThrownBy(this::unused)
                .isInstanceOf(ProjectionBehindException.class)
                .hasMessageContaining("1 records behind");

        try (PostgresSink sink = sink()) {
            sink.start();
            eventually("SELECT count(*) FROM telemetry", "1");
            assertThat(unused()).isEmpty();
        }
    }

    @Test
    void shouldCountUseAnewWhenEventsExpiredUnread() throws Exception {
        countSince(AFTER.plusDays(1));
        found("old");
        expire(log.settings().name(Topics.TELEMETRY));
        Instant before = Instant.now();

        try (PostgresSink sink = sink()) {
            sink.start();
            await().atMost(SOON).untilAsserted(() -> assertThat(since()).isAfter(before));
            assertThat(unused()).isEmpty();
        }
    }

    /** What expires after it was projected is known. */
    @Test
    void shouldGoOnCountingWhenEventsExpireThatWereRead() throws Exception {
        found("another");
        try (PostgresSink sink = sink()) {
            sink.start();
            eventually("SELECT count(*) FROM telemetry", "1");
        }
        countSince(AFTER.plusDays(1));
        expire(log.settings().name(Topics.TELEMETRY));

        try (PostgresSink sink = sink()) {
            sink.start();
            found("third");
            eventually("SELECT count(*) FROM telemetry", "2");
            assertThat(unused()).containsExactly("old");
        }
    }

    @Test
    void shouldCountUseAnewWhenATableIsEmptiedByHand() {
        countSince(AFTER.plusDays(1));
        Instant before = Instant.now().minusSeconds(1);

        postgres.execute("TRUNCATE telemetry");

        assertThat(since()).isAfter(before);
    }

    private PostgresSink sink() {
        return new PostgresSink(log, postgres.url(), TestPostgres.USER, TestPostgres.PASSWORD);
    }

    private void found(String documentId) {
        TelemetryEvent event = TelemetryEvent.newBuilder()
                .setEnvelope(Envelope.newBuilder()
                        .setOccurredAt(System.currentTimeMillis())
                        .build())
                .setEventId(Ids.next())
                .setSource("millrace")
                .setEventType("documents_found")
                .setAttributes(Map.of("documents", documentId))
                .build();
        log.producer().send(Topics.TELEMETRY, event.getSource(), event).join();
    }

    private List<String> unused() throws Exception {
        try (GarbageCollector collector = new GarbageCollector(
                log,
                postgres.url(),
                TestPostgres.USER,
                TestPostgres.PASSWORD,
                Set::of,
                emptyIndex(),
                ConfigLoader.load(Optional.empty(), Map.of(), Map.of()).config().knowledge())) {
            return collector.find(Instant.now().minus(AFTER)).stream()
                    .map(GarbageCollector.Stale::documentId)
                    .toList();
        }
    }

    /** In which nothing repeats anything. */
    private static VectorIndex emptyIndex() {
        return (VectorIndex) Proxy.newProxyInstance(
                VectorIndex.class.getClassLoader(), new Class<?>[] {VectorIndex.class}, (proxy, method, arguments) -> {
                    if (method.getName().equals("section")) {
                        return List.of();
                    }
                    throw new UnsupportedOperationException(method.getName());
                });
    }

    private void countSince(Duration ago) {
        postgres.execute("UPDATE usage_since SET since = now() - interval '" + ago.toDays() + " days'");
    }

    private Instant since() {
        return Instant.ofEpochMilli(
                Long.parseLong(postgres.query("SELECT (extract(epoch FROM since) * 1000)::bigint FROM usage_since")
                        .getFirst()));
    }

    private void expire(String topic) throws Exception {
        Map<TopicPartition, RecordsToDelete> all = new HashMap<>();
        for (int partition = 0; partition < log.settings().partitions(Topics.TELEMETRY); partition++) {
            all.put(new TopicPartition(topic, partition), RecordsToDelete.beforeOffset(-1));
        }
        try (Admin admin = Admin.create(Map.of(
                AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, log.settings().bootstrapServers()))) {
            admin.deleteRecords(all).all().get();
        }
    }

    private void eventually(String sql, String value) {
        await().atMost(SOON).untilAsserted(() -> assertThat(postgres.query(sql)).containsExactly(value));
    }
}
