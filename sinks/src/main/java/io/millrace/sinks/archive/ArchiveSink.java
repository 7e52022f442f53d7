package io.millrace.sinks.archive;

import io.micrometer.core.instrument.Gauge;
import io.millrace.log.ClientConfig;
import io.millrace.log.Log;
import io.millrace.log.SchemaRegistry;
import io.millrace.log.Topic;
import io.millrace.log.Topics;
import io.millrace.log.UndecodableException;
import io.millrace.service.Service;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.Set;
import java.util.function.LongSupplier;
import java.util.stream.Stream;
import org.apache.avro.AvroRuntimeException;
import org.apache.avro.file.DataFileReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.errors.WakeupException;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Copies every topic that is kept long into files, before it expires: bytes as they are, with the schemas to read them.
 *
 * <p>A file is written under a temporary name, made durable, renamed, and then added to the manifest, which says where to go on. A
 * crash between any two steps leaves either a temporary file, which is deleted and read again from the log, or a finished file that
 * the manifest lacks, which is checked and added at the next start.
 *
 * <p>One process writes an archive at a time: a lock on its directory, which dies with the process, makes the others wait. With less
 * than 512 MB of free disk it stops reading, says so in {@link #details()}, and goes on when there is room: the log keeps the records
 * for {@link Topic.Keep#LONG} meanwhile.
 *
 * <p>Metrics: {@code millrace_projection_lag_seconds{projection="archive"}} is the age of the oldest record that is read and not in
 * a finished file, so it grows up to the age at which files are finished; {@code millrace_projection_rows_total} counts records in
 * finished files.
 */
public final class ArchiveSink implements Service {
    private static final Logger LOG = LoggerFactory.getLogger(ArchiveSink.class);
    private static final String STEP = "sink-archive";
    private static final Duration POLL = Duration.ofMillis(250);
    private static final Duration FIRST_BACKOFF = Duration.ofMillis(250);
    private static final Duration LAST_BACKOFF = Duration.ofSeconds(10);

    /**
     * When files are finished.
     *
     * @param fileBytes a file of this size, compressed, is finished; 64 MB read in a second
     * @param fileAge a file of this age is finished. The log keeps the records for over a year, so nothing hurries, and 20 partitions
     *     make 20 files each time: an hour keeps a year's worth countable
     * @param minFreeBytes with less free disk nothing is read; it leaves room to finish all open files
     */
    record Limits(long fileBytes, Duration fileAge, long minFreeBytes) {
        static final Limits DEFAULT = new Limits(64L * 1024 * 1024, Duration.ofHours(1), 512L * 1024 * 1024);
    }

    private final Log log;
    private final Path directory;
    private final Limits limits;
    private final LongSupplier freeBytes;
    private final Map<String, Topic<?>> topics = new HashMap<>();
    private final KafkaConsumer<byte[], byte[]> consumer;
    private final Gauge lag;
    private final Thread thread;

    private final Map<TopicPartition, ArchiveWriter> writers = new HashMap<>();
    private final Map<String, Map<Integer, String>> schemas = new HashMap<>();
    private final Deque<ConsumerRecord<byte[], byte[]>> taken = new ArrayDeque<>();
    private final Map<String, String> lasting = new HashMap<>();
    private @Nullable FileLock lock;
    private @Nullable Manifest manifest;
    private String warned = "";
    private long retryAt = System.nanoTime();
    private Duration backoff = FIRST_BACKOFF;

    private volatile Map<TopicPartition, Long> read = Map.of();
    private volatile long oldestOpen;
    private volatile Map<String, String> details = Map.of("archive", "starting");
    private volatile boolean running = true;
    private volatile boolean ready;

    /** @param directory where the archive is or will be; made when it is missing */
    public ArchiveSink(Log log, Path directory) {
        this(log, directory, Limits.DEFAULT, () -> free(directory));
    }

    ArchiveSink(Log log, Path directory, Limits limits, LongSupplier freeBytes) {
        this.log = log;
        this.directory = directory;
        this.limits = limits;
        this.freeBytes = freeBytes;
        for (Topic<?> topic : Topics.fixed()) {
            if (topic.keep() == Topic.Keep.LONG) {
                topics.put(log.settings().name(topic), topic);
            }
        }
        Map<String, Object> config = ClientConfig.consumer(log.settings());
        config.putAll(ClientConfig.batching(ClientConfig.PATIENT_WAIT_MS));
        // The manifest says where to go on. An offset that the log does not hold is an event to be told, not to be
        // skipped.
        config.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "none");
        config.put(ConsumerConfig.FETCH_MAX_BYTES_CONFIG, 8 * 1024 * 1024);
        this.consumer = new KafkaConsumer<>(config);
        this.lag = Gauge.builder("millrace.projection.lag", this, ArchiveSink::lagSeconds)
                .tag("projection", "archive")
                .baseUnit("seconds")
                .register(log.metrics());
        this.thread = Thread.ofPlatform().name(STEP).daemon(true).unstarted(this::run);
    }

    @Override
    public String name() {
        return STEP;
    }

    @Override
    public void start() {
        thread.start();
    }

    @Override
    public boolean isEssential() {
        return false;
    }

    @Override
    public boolean isReady() {
        return ready && thread.isAlive();
    }

    @Override
    public Map<String, String> details() {
        return details;
    }

    /** Whether everything before these offsets is read: it is in a file when this sink is closed. */
    boolean hasRead(Map<TopicPartition, Long> ends) {
        Map<TopicPartition, Long> positions = read;
        return ends.entrySet().stream().allMatch(end -> positions.getOrDefault(end.getKey(), 0L) >= end.getValue());
    }

    /** About how many records are read and in no file yet. */
    int held() {
        return taken.size();
    }

    private double lagSeconds() {
        long oldest = oldestOpen;
        return oldest == 0 ? 0 : Math.max(0, System.currentTimeMillis() - oldest) / 1000.0;
    }

    private static long free(Path directory) {
        try {
            return Files.getFileStore(directory).getUsableSpace();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private void run() {
        try {
            while (running) {
                if (System.nanoTime() - retryAt < 0) {
                    Thread.sleep(POLL);
                } else {
                    advance();
                }
            }
        } catch (WakeupException | InterruptedException e) {
            LOG.debug("{}: woken to stop", STEP);
        } finally {
            ready = false;
            stopWork();
        }
    }

    private void advance() {
        try {
            if (manifest == null && !open()) {
                return;
            }
            boolean room = freeBytes.getAsLong() >= limits.minFreeBytes();
            if (room) {
                consumer.resume(consumer.paused());
                if (taken.isEmpty()) {
                    // else each try while the registry is away would hold as many records more
                    consumer.poll(POLL).forEach(taken::add);
                }
                while (!taken.isEmpty()) {
                    append(taken.element());
                    taken.remove();
                }
                Map<TopicPartition, Long> positions = new HashMap<>();
                consumer.assignment().forEach(partition -> positions.put(partition, consumer.position(partition)));
                read = positions;
            } else {
                consumer.pause(consumer.assignment());
                wait("stopped: less than " + limits.minFreeBytes() / (1024 * 1024) + " MB free in " + directory);
            }
            finish(false);
            oldestOpen = writers.values().stream()
                    .mapToLong(ArchiveWriter::minTimestamp)
                    .min()
                    .orElse(0);
            if (room) {
                recovered();
            }
        } catch (OffsetOutOfRangeException e) {
            e.offsetOutOfRangePartitions().forEach(this::outOfRange);
        } catch (SchemaRegistry.RegistryUnavailableException e) {
            wait("waiting for the schema registry: " + e.getMessage());
        } catch (RetriableException e) {
            wait("waiting for Kafka: " + e.getMessage());
        } catch (IOException | UncheckedIOException e) {
            wait("cannot write to " + directory + ": " + e.getMessage());
            startOver();
        } catch (WakeupException e) {
            throw e;
        } catch (RuntimeException e) {
            // nobody starts another sink: whatever it is, it may pass
            String why = "trying again after " + e;
            if (!why.equals(warned)) {
                LOG.warn("{}: not foreseen", STEP, e);
            }
            wait(why);
            startOver();
        }
    }

    private void wait(String why) {
        if (!why.equals(warned)) {
            LOG.warn("{}: {}", STEP, why);
            warned = why;
        }
        ready = false;
        tell(why);
        retryAt = System.nanoTime() + backoff.toNanos();
        backoff = backoff.multipliedBy(2).compareTo(LAST_BACKOFF) > 0 ? LAST_BACKOFF : backoff.multipliedBy(2);
    }

    private void recovered() {
        backoff = FIRST_BACKOFF;
        warned = "";
        ready = true;
        details = Map.copyOf(lasting);
    }

    private void tell(String why) {
        Map<String, String> all = new HashMap<>(lasting);
        all.put("archive", why);
        details = Map.copyOf(all);
    }

    /** Takes the directory, brings files and manifest together, and seeks; false while another process holds it. */
    private boolean open() throws IOException {
        Files.createDirectories(directory);
        if (lock == null && !takeLock()) {
            wait("waiting: another process writes the archive in " + directory);
            return false;
        }
        Manifest opened = Manifest.read(directory);
        opened.repair();
        for (String topic : topics.keySet()) {
            reconcile(opened, topic);
        }
        long missing = opened.files().stream()
                .filter(file -> Files.notExists(directory.resolve(file.file())))
                .count();
        if (missing > 0) {
            lasting.put("archive-missing", missing + " files of the manifest are not in " + directory);
        }
        Map<TopicPartition, Long> next = new HashMap<>();
        for (ArchivedFile file : opened.files()) {
            next.merge(new TopicPartition(file.topic(), file.partition()), file.lastOffset() + 1, Math::max);
        }
        List<TopicPartition> all = new ArrayList<>();
        topics.forEach((name, topic) -> {
            for (int partition = 0; partition < log.settings().partitions(topic); partition++) {
                all.add(new TopicPartition(name, partition));
            }
        });
        consumer.assign(all);
        for (TopicPartition partition : all) {
            Long offset = next.get(partition);
            if (offset == null) {
                consumer.seekToBeginning(List.of(partition));
            } else {
                consumer.seek(partition, offset);
            }
        }
        manifest = opened;
        return true;
    }

    // The channel lives as long as the lock: until the process ends or this sink is closed.
    @SuppressWarnings("resource")
    private boolean takeLock() throws IOException {
        FileChannel channel =
                FileChannel.open(directory.resolve(".lock"), StandardOpenOption.CREATE, StandardOpenOption.WRITE);
        try {
            lock = channel.tryLock();
        } catch (OverlappingFileLockException e) {
            LOG.debug("held by this very process", e);
        }
        if (lock == null) {
            channel.close();
        }
        return lock != null;
    }

    /** Deletes what was not finished, and adds what was finished and not written down. */
    private void reconcile(Manifest opened, String topic) throws IOException {
        Path root = directory.resolve(topic);
        if (Files.notExists(root)) {
            return;
        }
        Set<String> listed = new HashSet<>();
        Map<Integer, Long> next = new HashMap<>();
        for (ArchivedFile file : opened.files()) {
            listed.add(file.file());
            if (file.topic().equals(topic)) {
                next.merge(file.partition(), file.lastOffset() + 1, Math::max);
            }
        }
        List<Path> found;
        try (Stream<Path> walk = Files.walk(root)) {
            found = walk.filter(Files::isRegularFile).sorted().toList();
        }
        for (Path path : found) {
            String name = directory.relativize(path).toString().replace('\\', '/');
            if (name.endsWith(ArchiveFiles.PARTIAL)) {
                Files.delete(path);
            } else if (name.endsWith(ArchiveFiles.SUFFIX) && !listed.contains(name)) {
                ArchivedFile file = describe(path, name, topic);
                if (file != null && file.firstOffset() >= next.getOrDefault(file.partition(), 0L)) {
                    LOG.info("{}: {} was finished before a crash, adding it to the manifest", STEP, name);
                    opened.append(file);
                    next.put(file.partition(), file.lastOffset() + 1);
                } else {
                    LOG.warn("{}: {} is damaged or holds what others hold: setting it aside", STEP, name);
                    Files.move(
                            path,
                            path.resolveSibling(path.getFileName() + ".bad"),
                            StandardCopyOption.REPLACE_EXISTING);
                }
            }
        }
    }

    /** The line of the manifest for a file, by reading all of it; null when it cannot be read to its end. */
    private static @Nullable ArchivedFile describe(Path path, String name, String topic) throws IOException {
        try (DataFileReader<GenericRecord> reader = ArchiveReader.open(path, new HashMap<>())) {
            long first = -1;
            long last = -1;
            long count = 0;
            long min = Long.MAX_VALUE;
            long max = Long.MIN_VALUE;
            for (GenericRecord record : reader) {
                last = ArchiveReader.offsetOf(record);
                first = count == 0 ? last : first;
                count++;
                min = Math.min(min, ArchiveReader.timestampOf(record));
                max = Math.max(max, ArchiveReader.timestampOf(record));
            }
            int partition = Integer.parseInt(reader.getMetaString(ArchiveFiles.META_PARTITION));
            return count == 0
                    ? null
                    : new ArchivedFile(
                            name,
                            topic,
                            partition,
                            first,
                            last,
                            count,
                            min,
                            max,
                            Files.size(path),
                            ArchiveFiles.sha256(path));
        } catch (UncheckedIOException | AvroRuntimeException e) {
            LOG.warn("{}: {} cannot be read", STEP, path, e);
            return null;
        }
    }

    private void append(ConsumerRecord<byte[], byte[]> record) throws IOException {
        TopicPartition partition = new TopicPartition(record.topic(), record.partition());
        OptionalInt schema = schemaOf(record.value());
        Map<Integer, String> known = schemas.computeIfAbsent(record.topic(), topic -> new HashMap<>());
        if (schema.isPresent() && !known.containsKey(schema.getAsInt())) {
            try {
                known.put(
                        schema.getAsInt(),
                        log.codecs().registry().byId(schema.getAsInt()).toString());
            } catch (UndecodableException e) {
                LOG.debug("{}: bytes that only look like wire format are archived as they are", STEP, e);
                schema = OptionalInt.empty();
            }
        }
        ArchiveWriter writer = writers.get(partition);
        if (writer != null && schema.isPresent() && !writer.knows(schema.getAsInt())) {
            // the header is written, and has to hold the schemas of all values
            finish(partition, writer);
            writer = null;
        }
        if (writer == null) {
            writer = new ArchiveWriter(directory, partition, record.offset(), known);
            writers.put(partition, writer);
        }
        writer.append(record);
        if (writer.bytes() >= limits.fileBytes()) {
            finish(partition, writer);
        }
    }

    private static OptionalInt schemaOf(byte @Nullable [] value) {
        return value == null || value.length < 5 || value[0] != 0
                ? OptionalInt.empty()
                : OptionalInt.of(ByteBuffer.wrap(value, 1, Integer.BYTES).getInt());
    }

    /** Finishes the files that are old enough, or all of them. */
    private void finish(boolean all) throws IOException {
        for (Map.Entry<TopicPartition, ArchiveWriter> entry : List.copyOf(writers.entrySet())) {
            if (all || entry.getValue().ageNanos() >= limits.fileAge().toNanos()) {
                finish(entry.getKey(), entry.getValue());
            }
        }
    }

    private void finish(TopicPartition partition, ArchiveWriter writer) throws IOException {
        if (manifest == null) {
            throw new IllegalStateException("files are open, and no manifest is");
        }
        ArchivedFile file = writer.finish();
        manifest.append(file);
        writers.remove(partition);
        log.metrics()
                .counter("millrace.projection.rows", "projection", "archive", "table", partition.topic())
                .increment((double) file.count());
    }

    /** The disk failed at some point: only what the manifest says is sure. */
    private void startOver() {
        writers.values().forEach(ArchiveWriter::abandon);
        writers.clear();
        taken.clear();
        manifest = null;
    }

    private void outOfRange(TopicPartition partition, long offset) {
        long beginning = consumer.beginningOffsets(List.of(partition)).getOrDefault(partition, 0L);
        if (beginning > offset) {
            lasting.put(
                    "archive gap in " + partition,
                    "records " + offset + " to " + (beginning - 1) + " expired before they were archived");
            consumer.seek(partition, beginning);
        } else {
            // Another log under the same name. To mix both would make offsets ambiguous; a person has to move the
            // archive.
            lasting.put(
                    "archive stopped for " + partition,
                    "the archive ends at " + offset + " and the log before: is this another log? Move " + directory
                            + " away to archive it");
            Set<TopicPartition> others = new HashSet<>(consumer.assignment());
            others.remove(partition);
            consumer.assign(others);
        }
        LOG.error("{}: {}: {}", STEP, partition, lasting);
        details = Map.copyOf(lasting);
    }

    private void stopWork() {
        try {
            if (manifest != null) {
                finish(true);
            }
        } catch (IOException | RuntimeException e) {
            LOG.warn("{}: the last files could not be finished; they will be written again", STEP, e);
        }
        try {
            if (lock != null) {
                lock.acquiredBy().close();
            }
        } catch (IOException e) {
            LOG.warn("{}: the lock could not be given back", STEP, e);
        } finally {
            consumer.close(CloseOptions.timeout(Duration.ofSeconds(2)));
        }
    }

    @Override
    public void close() {
        running = false;
        log.metrics().remove(lag);
        consumer.wakeup();
        if (thread.getState() == Thread.State.NEW) {
            // a start that was broken off: nobody else closes what the constructor opened
            stopWork();
            return;
        }
        try {
            thread.join(Duration.ofSeconds(5));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
