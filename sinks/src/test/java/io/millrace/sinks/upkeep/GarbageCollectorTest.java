package io.millrace.sinks.upkeep;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.tuple;
import static org.awaitility.Awaitility.await;

import io.millrace.config.ConfigLoader;
import io.millrace.id.Ids;
import io.millrace.knowledge.Facts;
import io.millrace.knowledge.VectorIndex;
import io.millrace.log.Log;
import io.millrace.log.Topics;
import io.millrace.schema.Document;
import io.millrace.schema.Envelope;
import io.millrace.schema.Passage;
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
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
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
    private final Map<String, Passage> indexed = new TreeMap<>();
    private TestPostgres postgres = new TestPostgres("");

    @BeforeEach
    void projectAnOldDocument() {
        postgres = TestPostgres.database();
        log.producer().send(Topics.DOCUMENTS, "old", document("old", "0")).join();
        try (PostgresSink sink = sink()) {
            sink.start();
            eventually("SELECT count(*) FROM documents", "1");
        }
    }

    private static Document document(String id, String checksum) {
        return Document.newBuilder()
                .setEnvelope(Envelope.newBuilder()
                        .setOccurredAt(Instant.now().minus(Duration.ofDays(200)).toEpochMilli())
                        .build())
                .setDocumentId(id)
                .setChecksum(checksum)
                .setSource("mill")
                .setPath(id + ".md")
                .setCollection("c")
                .setContent("The mill stands by the river.")
                .build();
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

    /** What it says now is in no other document, and was deleted for ever because of what it said before. */
    @Test
    void shouldCallNothingARepetitionWhenTheIndexHasWhatADocumentSaidBefore() throws Exception {
        index(passage("old", "mill", "", 1), passage("copy", "mill", "first", 1));
        write("copy", "second");

        assertThat(repetitions(Set.of())).isEmpty();

        index(passage("copy", "mill", "second", 2));
        assertThat(repetitions(Set.of())).as("half of it is embedded").isEmpty();

        index(passage("copy", "mill", "second", 1));
        assertThat(repetitions(Set.of())).containsExactly("copy");
    }

    /** A search of version 25.05 found nothing any more, for ever. */
    @Test
    void shouldKeepWhatOnlyARestrictedSearchTellsApart() throws Exception {
        index(passage("old", "mill", "", 1), restricted("copy", Map.of("version", "25.05"), List.of()));
        write("copy", "1");
        assertThat(repetitions(Set.of())).isEmpty();

        index(restricted("copy", Map.of(), List.of("stable")));
        assertThat(repetitions(Set.of())).isEmpty();

        index(restricted("copy", Map.of(), List.of()));
        assertThat(repetitions(Set.of())).containsExactly("copy");
    }

    private static Passage restricted(String document, Map<String, String> metadata, List<String> tags) {
        Passage passage = passage(document, "mill", "1", 1);
        Map<String, String> all = new TreeMap<>(passage.getMetadata());
        all.putAll(metadata);
        return Passage.newBuilder(passage).setMetadata(all).setTags(tags).build();
    }

    /** Both would be gone. */
    @Test
    void shouldTakeNothingForAnOriginalThatItsSourceNoLongerHas() throws Exception {
        index(passage("gone", "declared", "1", 1), passage("copy", "mill", "1", 1));
        write("copy", "1");

        assertThat(repetitions(Set.of("declared"))).isEmpty();
    }

    /** A client may post it again while others are looked at. */
    @Test
    void shouldNameTheVersionThatIsOfNoUse() throws Exception {
        countSince(AFTER.plusDays(1));
        try (GarbageCollector collector = collector(Set.of(), passages(), "7d")) {
            assertThat(collector.find(Instant.now().minus(AFTER)))
                    .extracting(GarbageCollector.Stale::documentId, GarbageCollector.Stale::checksum)
                    .containsExactly(tuple("old", "0"));
        }
    }

    /** The next look would be a week later. */
    @Test
    void shouldGiveItsTurnBackWhenItIsStopped() throws Exception {
        postgres.execute("INSERT INTO upkeep (name, begun_at) VALUES ('garbage', now() - interval '1 hour')");
        CountDownLatch looking = new CountDownLatch(1);
        VectorIndex slow = index((method, arguments) -> {
            looking.countDown();
            try {
                new CountDownLatch(1).await();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
            throw new IllegalStateException("interrupted");
        });
        try (GarbageCollector collector = collector(Set.of(), slow, "1s")) {
            collector.start();
            assertThat(looking.await(SOON.toSeconds(), TimeUnit.SECONDS)).isTrue();
        }

        assertThat(postgres.query("SELECT begun_at = 'epoch' FROM upkeep")).containsExactly("t");
    }

    /** So that it is stopped while it waits for Postgres to come up with the log. */
    @Test
    void shouldGiveItsTurnBackWhenItIsStoppedWhilePostgresIsBehind() throws Exception {
        postgres.execute("INSERT INTO upkeep (name, begun_at) VALUES ('garbage', now() - interval '1 hour')");
        found("old");
        try (GarbageCollector collector = collector(Set.of(), passages(), "1s")) {
            collector.start();
            await().atMost(SOON)
                    .untilAsserted(() -> assertThat(
                                    postgres.query("SELECT begun_at > now() - interval '1 minute' FROM upkeep"))
                            .containsExactly("t"));
            Thread.sleep(500);
        }

        assertThat(postgres.query("SELECT begun_at = 'epoch' FROM upkeep")).containsExactly("t");
    }

    /** Alike to whatever else there is. */
    private static Passage passage(String document, String source, String checksum, int count) {
        return Passage.newBuilder()
                .setPassageId(document + "-0")
                .setDocumentId(document)
                .setSource(source)
                .setCollection("c")
                .setText("The mill stands by the river.")
                .setTrust("trusted")
                .setChunkCount(count)
                .setMetadata(Map.of("checksum", document.equals("old") ? "0" : checksum))
                .build();
    }

    private void write(String id, String checksum) {
        log.producer().send(Topics.DOCUMENTS, id, document(id, checksum)).join();
        try (PostgresSink sink = sink()) {
            sink.start();
            eventually("SELECT checksum FROM documents WHERE document_id = '" + id + "'", checksum);
        }
    }

    private List<String> repetitions(Set<String> declared) throws Exception {
        try (GarbageCollector collector = collector(declared, passages(), "7d")) {
            return collector.find(Instant.EPOCH).stream()
                    .map(GarbageCollector.Stale::documentId)
                    .toList();
        }
    }

    private void index(Passage... passages) {
        for (Passage passage : passages) {
            indexed.put(passage.getPassageId(), passage);
        }
    }

    /** In which all passages are alike. */
    private VectorIndex passages() {
        return index((method, arguments) -> switch (method) {
            case "section" ->
                indexed.values().stream()
                        .filter(passage -> passage.getDocumentId().equals(arguments[0]))
                        .toList();
            case "candidates" ->
                indexed.values().stream()
                        .map(passage -> new VectorIndex.Candidate(
                                passage.getPassageId(),
                                passage.getDocumentId(),
                                new float[0],
                                1.0,
                                null,
                                new Facts(0, 0, 0, false, false)))
                        .toList();
            case "load" -> indexed;
            default -> throw new UnsupportedOperationException(method);
        });
    }

    private interface Answers {
        Object to(String method, Object[] arguments);
    }

    private static VectorIndex index(Answers answers) {
        return (VectorIndex) Proxy.newProxyInstance(
                VectorIndex.class.getClassLoader(),
                new Class<?>[] {VectorIndex.class},
                (proxy, method, arguments) -> answers.to(method.getName(), arguments));
    }

    private GarbageCollector collector(Set<String> declared, VectorIndex index, String every) {
        return new GarbageCollector(
                log,
                postgres.url(),
                TestPostgres.USER,
                TestPostgres.PASSWORD,
                () -> declared,
                index,
                ConfigLoader.load(Optional.empty(), Map.of(), Map.of("knowledge.gc-every", every))
                        .config()
                        .knowledge());
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
        try (GarbageCollector collector = collector(Set.of(), passages(), "7d")) {
            return collector.find(Instant.now().minus(AFTER)).stream()
                    .map(GarbageCollector.Stale::documentId)
                    .toList();
        }
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
