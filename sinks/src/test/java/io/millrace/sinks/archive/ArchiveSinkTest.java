package io.millrace.sinks.archive;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import io.millrace.id.Ids;
import io.millrace.log.AvroCodec;
import io.millrace.log.ClientConfig;
import io.millrace.log.Codecs;
import io.millrace.log.Log;
import io.millrace.log.SchemaRegistry;
import io.millrace.log.Topic;
import io.millrace.log.Topics;
import io.millrace.schema.Envelope;
import io.millrace.schema.Feedback;
import io.millrace.schema.Interaction;
import io.millrace.schema.TelemetryEvent;
import io.millrace.sinks.testing.TestBroker;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.apache.avro.Schema;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Against a real broker. */
class ArchiveSinkTest {
    private static final Duration SOON = Duration.ofSeconds(20);
    private static final long SEED = 20_261_121;

    private final Log log = TestBroker.log();
    private final Random random = new Random(SEED);
    private final List<ArchiveSink> sinks = new ArrayList<>();
    private final AtomicLong free = new AtomicLong(Long.MAX_VALUE);

    @TempDir
    Path directory = Path.of("");

    @AfterEach
    void stop() {
        sinks.forEach(ArchiveSink::close);
        log.producer().close();
    }

    @Test
    void shouldReadBackWhatTheLogHolds() {
        send(200);
        log.producer()
                .sendRaw(Topics.COMMANDS, utf8("garbage"), utf8("no avro"))
                .join();
        log.producer()
                .sendRaw(Topics.COMMANDS, utf8("unknown schema"), new byte[] {0, 0, 0, 99, 99, 1})
                .join();
        log.producer().tombstone(Topics.FEEDBACK, "a tombstone").join();
        log.producer()
                .send(
                        Topics.TELEMETRY,
                        "probe",
                        TelemetryEvent.newBuilder().setEventId(Ids.next()).build())
                .join();
        archiveAll(sink());

        ArchiveReader archive = new ArchiveReader(directory);
        assertSameAsLog(Topics.INTERACTIONS, 200);
        assertSameAsLog(Topics.FEEDBACK, 1);
        assertSameAsLog(Topics.COMMANDS, 2);
        assertThat(archive.files(log.settings().name(Topics.TELEMETRY)))
                .as("what is kept for days is not archived")
                .isEmpty();
        assertThat(archive.files(log.settings().name(Topics.INTERACTIONS)))
                .as("one file for each partition")
                .hasSize(4)
                .allMatch(file -> file.minTimestamp() > 0 && file.maxTimestamp() >= file.minTimestamp());
        assertThat(archive.damaged()).isEmpty();

        // without the registry of the log: the schemas are in the files
        AvroCodec<Interaction> codec = new Codecs(archive.registry(), "").of(Topics.INTERACTIONS);
        try (Stream<ConsumerRecord<byte[], byte[]>> records =
                archive.records(log.settings().name(Topics.INTERACTIONS))) {
            assertThat(records.map(record -> codec.decode(record.value()).getModel())
                            .distinct())
                    .containsExactly("mill");
        }
    }

    @Test
    void shouldStartAnotherFileWhenASchemaIsNew() {
        Schema newer = new Schema.Parser().parse(Topics.FEEDBACK.schema().toString());
        newer.addProp("version", "2");
        int id = log.codecs().registry().register("another", newer);
        Feedback feedback = Feedback.newBuilder().setNote("old").build();
        byte[] old = log.codecs().of(Topics.FEEDBACK).encode(feedback);
        byte[] young = old.clone();
        ByteBuffer.wrap(young).putInt(1, id);
        for (int i = 0; i < 5; i++) {
            log.producer()
                    .sendRaw(Topics.FEEDBACK, utf8("k"), i % 2 == 0 ? old : young)
                    .join();
        }
        archiveAll(sink());

        ArchiveReader archive = new ArchiveReader(directory);
        assertThat(archive.files(log.settings().name(Topics.FEEDBACK)))
                .as("both schemas are known from the second file on")
                .extracting(ArchivedFile::count)
                .containsExactly(1L, 4L);
        assertSameAsLog(Topics.FEEDBACK, 5);
        AvroCodec<Feedback> codec = new Codecs(archive.registry(), "").of(Topics.FEEDBACK);
        try (Stream<ConsumerRecord<byte[], byte[]>> records =
                archive.records(log.settings().name(Topics.FEEDBACK))) {
            assertThat(records.map(record -> codec.decode(record.value()).getNote()))
                    .containsExactly("old", "old", "old", "old", "old");
        }
    }

    @Test
    void shouldGoOnWithoutLossOrDuplicatesWhenItCrashedAtAnyStep() throws Exception {
        send(1_200);
        archiveAll(sink(new ArchiveSink.Limits(50_000, Duration.ofHours(1), 0)));
        String topic = log.settings().name(Topics.INTERACTIONS);
        List<ArchivedFile> before = new ArchiveReader(directory).files(topic);
        assertThat(before).as("files are finished by size").hasSizeGreaterThanOrEqualTo(8);

        // killed after the rename and before the manifest: the last file of partition 0 is not listed
        ArchivedFile unlisted = last(before, 0);
        unlist(unlisted);
        // the same on a disk that lost the end of the file
        ArchivedFile torn = last(before, 1);
        unlist(torn);
        Path tornFile = directory.resolve(torn.file());
        Files.write(tornFile, Arrays.copyOf(Files.readAllBytes(tornFile), (int) torn.bytes() / 2));
        // killed while a file, and while a line of the manifest was written
        Path partial =
                directory.resolve(ArchiveFiles.name(topic, 2, last(before, 2).lastOffset() + 1) + ArchiveFiles.PARTIAL);
        Files.writeString(partial, "half a block");
        Files.writeString(directory.resolve(Manifest.NAME), "{\"file\":\"half a", StandardOpenOption.APPEND);

        send(100);
        archiveAll(sink());

        assertSameAsLog(Topics.INTERACTIONS, 1_300);
        assertThat(new ArchiveReader(directory).files(topic))
                .as("what was finished is not written again")
                .contains(unlisted);
        assertThat(new ArchiveReader(directory).damaged()).isEmpty();
        assertThat(partial).doesNotExist();
    }

    @Test
    void shouldRebuildTheManifestWhenItIsLost() throws Exception {
        send(300);
        archiveAll(sink(new ArchiveSink.Limits(50_000, Duration.ofHours(1), 0)));
        List<ArchivedFile> before =
                new ArchiveReader(directory).files(log.settings().name(Topics.INTERACTIONS));
        Files.delete(directory.resolve(Manifest.NAME));
        archiveAll(sink());

        assertThat(new ArchiveReader(directory).files(log.settings().name(Topics.INTERACTIONS)))
                .isNotEmpty()
                .containsExactlyElementsOf(before);
    }

    @Test
    void shouldNameTheFileWhenOneIsDamaged() throws Exception {
        send(50);
        archiveAll(sink());
        ArchiveReader archive = new ArchiveReader(directory);
        List<ArchivedFile> files = archive.files(log.settings().name(Topics.INTERACTIONS));
        Path first = directory.resolve(files.getFirst().file());
        byte[] bytes = Files.readAllBytes(first);
        bytes[bytes.length / 2] ^= 1;
        Files.write(first, bytes);
        Files.delete(directory.resolve(files.getLast().file()));

        assertThat(archive.damaged()).containsExactlyInAnyOrder(files.getFirst(), files.getLast());
        ArchiveSink again = sink();
        await().atMost(SOON).until(again::isReady);
        assertThat(again.details()).containsEntry("archive-missing", "1 files of the manifest are not in " + directory);
    }

    @Test
    void shouldStopAndGoOnWhenTheDiskIsNearlyFull() {
        free.set(1);
        ArchiveSink sink = sink();
        send(20);
        await().atMost(SOON)
                .until(() -> sink.details().getOrDefault("archive", "").startsWith("stopped: less than"));
        assertThat(sink.isReady()).isFalse();
        assertThat(partials()).isEmpty();
        free.set(Long.MAX_VALUE);
        await().atMost(SOON).until(() -> !partials().isEmpty());
        await().atMost(SOON).until(() -> sink.details().isEmpty());
        archiveAll(sink);

        assertSameAsLog(Topics.INTERACTIONS, 20);
    }

    @Test
    void shouldWaitWhenAnotherWritesTheSameArchive() {
        ArchiveSink first = sink();
        await().atMost(SOON).until(first::isReady);
        ArchiveSink second = sink();
        await().atMost(SOON)
                .until(() -> second.details().getOrDefault("archive", "").startsWith("waiting: another process"));
        send(20);
        archiveAll(first);
        send(20);
        await().atMost(SOON).until(second::isReady);
        archiveAll(second);

        assertSameAsLog(Topics.INTERACTIONS, 40);
    }

    /** The next sink of this process, one of a service that starts again, waited for ever for a lock that nobody held. */
    @Test
    void shouldGiveTheArchiveUpWhenItsLastFilesCannotBeFinished() throws Exception {
        ArchiveSink first = sink();
        send(20);
        await().atMost(SOON).until(() -> first.hasRead(ends()));
        assertThat(partials()).isNotEmpty();
        for (Path partial : partials()) {
            Files.delete(partial);
        }
        archiveAll(first);
        ArchiveSink second = sink();
        await().atMost(SOON).until(second::isReady);
        archiveAll(second);

        assertSameAsLog(Topics.INTERACTIONS, 20);
    }

    /** One error that nobody had foreseen ended the thread, and nothing was archived until the process started again. */
    @Test
    void shouldGoOnWhenSomethingFailsThatIsNotForeseen() {
        AtomicInteger failures = new AtomicInteger();
        Log flaky = TestBroker.flaky(log, 3, failures);
        ArchiveSink sink = new ArchiveSink(flaky, directory, ArchiveSink.Limits.DEFAULT, free::get);
        sinks.add(sink);
        sink.start();
        send(20);
        await().atMost(SOON).until(() -> failures.get() == 3 && sink.isReady());

        archiveAll(sink);

        assertSameAsLog(Topics.INTERACTIONS, 20);
    }

    /** With an hour to catch up on it read until the heap was full. */
    @Test
    void shouldHoldOnePollOfRecordsWhenTheRegistryIsAway() {
        send(2_500);
        AtomicInteger tries = new AtomicInteger();
        AtomicBoolean back = new AtomicBoolean();
        ArchiveSink sink = new ArchiveSink(
                TestBroker.registry(log, id -> {
                    if (!back.get()) {
                        tries.incrementAndGet();
                        throw new SchemaRegistry.RegistryUnavailableException("away", new IOException());
                    }
                }),
                directory,
                ArchiveSink.Limits.DEFAULT,
                free::get);
        sinks.add(sink);
        sink.start();
        await().atMost(SOON).until(() -> tries.get() >= 4);

        assertThat(sink.held()).isBetween(1, ConsumerConfig.DEFAULT_MAX_POLL_RECORDS);

        back.set(true);
        archiveAll(sink);
        assertSameAsLog(Topics.INTERACTIONS, 2_500);
    }

    @Test
    void shouldFinishFilesByAge() {
        ArchiveSink sink = sink(new ArchiveSink.Limits(Long.MAX_VALUE, Duration.ofMillis(300), 0));
        send(20);

        await().atMost(SOON).untilAsserted(() -> assertSameAsLog(Topics.INTERACTIONS, 20));
        await().atMost(SOON)
                .until(() ->
                        log.metrics().get("millrace.projection.lag").gauge().value() == 0);
        assertThat(sink.isReady()).isTrue();
    }

    @Test
    void shouldTellTheGapWhenRecordsExpiredUnarchived() throws Exception {
        send(100);
        archiveAll(sink());
        send(100);
        String topic = log.settings().name(Topics.INTERACTIONS);
        TopicPartition partition = new TopicPartition(topic, 0);
        long expired = last(new ArchiveReader(directory).files(topic), 0).lastOffset() + 6;
        try (Admin admin = Admin.create(Map.of(
                AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, log.settings().bootstrapServers()))) {
            admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(expired)))
                    .all()
                    .get();
        }
        ArchiveSink sink = sink();
        await().atMost(SOON).until(() -> sink.details().containsKey("archive gap in " + partition));
        archiveAll(sink);

        assertThat(archived(topic)).hasSize(195);
    }

    private ArchiveSink sink() {
        return sink(ArchiveSink.Limits.DEFAULT);
    }

    private ArchiveSink sink(ArchiveSink.Limits limits) {
        ArchiveSink sink = new ArchiveSink(log, directory, limits, free::get);
        sinks.add(sink);
        sink.start();
        return sink;
    }

    /** Waits until the sink has read everything, and closes it. */
    private void archiveAll(ArchiveSink sink) {
        log.producer().flush();
        await().atMost(SOON).until(() -> sink.hasRead(ends()));
        sinks.remove(sink);
        sink.close();
    }

    private Map<TopicPartition, Long> ends() {
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(ClientConfig.consumer(log.settings()))) {
            List<TopicPartition> all = Stream.of(Topics.INTERACTIONS, Topics.FEEDBACK, Topics.COMMANDS)
                    .flatMap(topic -> IntStream.range(0, log.settings().partitions(topic))
                            .mapToObj(partition ->
                                    new TopicPartition(log.settings().name(topic), partition)))
                    .toList();
            return consumer.endOffsets(all);
        }
    }

    private void assertSameAsLog(Topic<?> topic, int count) {
        String name = log.settings().name(topic);
        List<String> expected = logged(name);
        assertThat(expected).hasSize(count);
        assertThat(archived(name)).containsExactlyElementsOf(expected);
    }

    private List<String> archived(String topic) {
        try (Stream<ConsumerRecord<byte[], byte[]>> records = new ArchiveReader(directory).records(topic)) {
            return records.map(ArchiveSinkTest::describe).toList();
        }
    }

    private List<String> logged(String topic) {
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(ClientConfig.consumer(log.settings()))) {
            List<TopicPartition> all = IntStream.range(
                            0, consumer.partitionsFor(topic).size())
                    .mapToObj(partition -> new TopicPartition(topic, partition))
                    .toList();
            consumer.assign(all);
            consumer.seekToBeginning(all);
            Map<TopicPartition, Long> ends = consumer.endOffsets(all);
            List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
            while (!all.stream()
                    .allMatch(partition -> consumer.position(partition) >= ends.getOrDefault(partition, 0L))) {
                consumer.poll(Duration.ofMillis(100)).forEach(records::add);
            }
            return records.stream()
                    .collect(Collectors.groupingBy(
                            ConsumerRecord::partition, java.util.TreeMap::new, Collectors.toList()))
                    .values()
                    .stream()
                    .flatMap(List::stream)
                    .map(ArchiveSinkTest::describe)
                    .toList();
        }
    }

    private static String describe(ConsumerRecord<byte[], byte[]> record) {
        return record.partition() + "@" + record.offset() + " " + record.timestamp() + " "
                + new String(record.key(), StandardCharsets.UTF_8) + " "
                + (record.value() == null ? "tombstone" : Base64.getEncoder().encodeToString(record.value()));
    }

    private void send(int count) {
        List<CompletableFuture<?>> sent = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            String id = Ids.next();
            // bytes that do not compress, so that files grow
            byte[] noise = new byte[2_000];
            random.nextBytes(noise);
            sent.add(log.producer()
                    .send(
                            Topics.INTERACTIONS,
                            id,
                            Interaction.newBuilder()
                                    .setEnvelope(Envelope.newBuilder()
                                            .setOccurredAt(i)
                                            .build())
                                    .setInteractionId(id)
                                    .setModel("mill")
                                    .setEmbedding(ByteBuffer.wrap(noise))
                                    .build()));
        }
        CompletableFuture.allOf(sent.toArray(CompletableFuture<?>[]::new)).join();
    }

    private static ArchivedFile last(List<ArchivedFile> files, int partition) {
        return files.stream()
                .filter(file -> file.partition() == partition)
                .reduce((a, b) -> b)
                .orElseThrow();
    }

    private void unlist(ArchivedFile file) throws IOException {
        Path manifest = directory.resolve(Manifest.NAME);
        List<String> lines = Files.readAllLines(manifest);
        assertThat(lines.removeIf(line -> line.contains(file.file()))).isTrue();
        Files.write(manifest, lines);
    }

    private List<Path> partials() {
        try (Stream<Path> files = Files.walk(directory)) {
            return files.filter(file -> file.toString().endsWith(ArchiveFiles.PARTIAL))
                    .toList();
        } catch (IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
    }

    private static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
