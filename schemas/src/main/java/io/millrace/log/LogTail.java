package io.millrace.log;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeoutException;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Reads all partitions, or some, of a topic without a group: for tables that every process holds whole, and for a gateway's own
 * partition of replies. One thread calls the handler, record by record; what it throws becomes a dead letter, unless it was there already
 * when a tail from the beginning was started: whoever reads it all at each start would bury it at each start.
 */
public final class LogTail<V extends SpecificRecord> implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(LogTail.class);
    /** Until it looks around when nothing comes; whoever closes it wakes it. */
    private static final Duration POLL = Duration.ofSeconds(1);

    private static final long LOOK_MS = 5;
    private static final Duration BACKOFF = Duration.ofMillis(500);

    /** Where to begin. */
    public enum From {
        BEGINNING,
        END
    }

    /** Receives records, tombstones included; runs on the tail's thread and must not block for long. */
    @FunctionalInterface
    public interface Handler<V extends SpecificRecord> {
        void handle(LogRecord<V> record);
    }

    /** One topic's values, and who gets them. */
    private record Reader<V extends SpecificRecord>(
            Topic<V> topic, AvroCodec<V> codec, Predicate<String> wanted, Handler<V> handler) {
        void handle(ConsumerRecord<byte[], byte[]> record) {
            String key = record.key() == null ? "" : new String(record.key(), StandardCharsets.UTF_8);
            if (wanted.test(key)) {
                V value = record.value() == null ? null : codec.decode(record.value());
                handler.handle(
                        new LogRecord<>(topic, record.partition(), record.offset(), record.timestamp(), key, value));
            }
        }
    }

    private final String step;
    private final Topic<V> topic;
    private final Log log;
    private final Map<String, Reader<?>> readers = new HashMap<>();
    private final Map<String, Object> config;
    private final List<TopicPartition> assignment = new ArrayList<>();
    private final DeadLetters deadLetters;
    private final CompletableFuture<Void> caughtUp = new CompletableFuture<>();
    private final Thread thread;
    /** Where partitions ended that are read from the beginning. */
    private final Map<TopicPartition, Long> ends = new HashMap<>();

    private Runnable afterwards = () -> {};
    private int leftOut;
    private volatile boolean running = true;
    private volatile Map<Integer, Long> positions = Map.of();
    private volatile @Nullable KafkaConsumer<byte[], byte[]> reading;

    /** A tail over all partitions. */
    public LogTail(String step, Topic<V> topic, From from, Log log, Handler<V> handler) {
        this(step, topic, from, allPartitions(log.settings().partitions(topic)), log, handler);
    }

    /**
     * A tail over all partitions that goes on where it stopped.
     *
     * @param offsets next offset by partition; partitions that are missing are read from the beginning
     */
    public LogTail(String step, Topic<V> topic, Map<Integer, Long> offsets, Log log, Handler<V> handler) {
        this(step, topic, From.BEGINNING, allPartitions(log.settings().partitions(topic)), offsets, log, handler);
    }

    /**
     * @param step names the reader in dead letters and thread dumps
     * @param partitions the partitions to read
     */
    public LogTail(
            String step, Topic<V> topic, From from, Collection<Integer> partitions, Log log, Handler<V> handler) {
        this(step, topic, from, partitions, Map.of(), log, handler);
    }

    private LogTail(
            String step,
            Topic<V> topic,
            From from,
            Collection<Integer> partitions,
            Map<Integer, Long> offsets,
            Log log,
            Handler<V> handler) {
        this.step = step;
        this.topic = topic;
        this.log = log;
        this.config = ClientConfig.consumer(log.settings());
        this.deadLetters = new DeadLetters(log.producer(), log.metrics());
        read(topic, partitions, key -> true, handler);
        this.thread = Thread.ofPlatform().name("tail-" + step).daemon(true).unstarted(() -> run(from, offsets));
    }

    private <T extends SpecificRecord> void read(
            Topic<T> read, Collection<Integer> partitions, Predicate<String> wanted, Handler<T> handler) {
        String name = log.settings().name(read);
        readers.put(name, new Reader<>(read, log.codecs().of(read), wanted, handler));
        partitions.forEach(partition -> assignment.add(new TopicPartition(name, partition)));
    }

    /**
     * Reads all partitions of another topic too, in the same fetches and on the same thread; to be called before the start.
     *
     * @param wanted by key; what is not is not even decoded
     */
    public <T extends SpecificRecord> LogTail<V> alongside(
            Topic<T> another, Predicate<String> wanted, Handler<T> handler) {
        read(another, allPartitions(log.settings().partitions(another)), wanted, handler);
        return this;
    }

    /** Runs something, on the same thread, whenever all records of a poll are handled, or the rest of them has to wait; to be called before the start. */
    public LogTail<V> afterwards(Runnable handled) {
        afterwards = handled;
        return this;
    }

    /** Starts reading; returns at once. */
    public LogTail<V> start() {
        thread.start();
        return this;
    }

    /** Completes when the records that were there at the start are handled; for {@link From#END}, when the position is fixed. */
    public CompletableFuture<Void> caughtUp() {
        return caughtUp;
    }

    /** The offset, by partition of the first topic, up to which everything is handled. Empty before the first poll; moves with the topic when records are compacted away. */
    public Map<Integer, Long> positions() {
        return positions;
    }

    /**
     * Waits until what is on the topic now is handled: for whoever has reason to think that the tail is behind. Costs a connection.
     *
     * @throws TimeoutException when it is not after this time, or the log cannot be asked
     */
    public void awaitEnd(Duration patience) throws InterruptedException, TimeoutException {
        Map<TopicPartition, Long> ends;
        try (KafkaConsumer<byte[], byte[]> asking = new KafkaConsumer<>(config)) {
            ends = asking.endOffsets(
                    assignment.stream()
                            .filter(partition ->
                                    partition.topic().equals(log.settings().name(topic)))
                            .toList(),
                    patience);
        } catch (KafkaException e) {
            throw new TimeoutException(step + ": the end of " + topic.name() + " is not known: " + e.getMessage());
        }
        long until = System.nanoTime() + patience.toNanos();
        while (!ends.entrySet().stream()
                .allMatch(end -> positions.getOrDefault(end.getKey().partition(), -1L) >= end.getValue())) {
            if (System.nanoTime() - until > 0) {
                throw new TimeoutException(step + " is behind the end of " + topic.name());
            }
            Thread.sleep(LOOK_MS);
        }
    }

    /** Whoever waits for these records must not wait for ever: a consumer that dies is replaced, and goes on where it was. */
    private void run(From from, Map<Integer, Long> offsets) {
        Map<TopicPartition, Long> next = new HashMap<>();
        assignment.forEach(partition -> {
            Long offset = offsets.get(partition.partition());
            if (offset != null) {
                next.put(partition, offset);
            }
        });
        while (running) {
            try {
                readUntilStopped(from, next);
            } catch (WakeupException e) {
                LOG.debug("{}: woken to stop", step);
            } catch (RuntimeException e) {
                LOG.error("{}: the reader died and is replaced", step, e);
                pause();
            }
        }
    }

    private void readUntilStopped(From from, Map<TopicPartition, Long> next) {
        KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(config);
        try {
            reading = consumer;
            follow(consumer, from, next);
        } finally {
            // there is no group to leave, and nothing else is worth waiting for the fetch that is under way
            consumer.close(CloseOptions.timeout(Duration.ZERO));
        }
    }

    /** @param next offsets to go on at; kept up to date */
    private void follow(KafkaConsumer<byte[], byte[]> consumer, From from, Map<TopicPartition, Long> next) {
        consumer.assign(assignment);
        List<TopicPartition> unread = new ArrayList<>(assignment);
        unread.removeAll(next.keySet());
        if (!unread.isEmpty()) {
            if (from == From.BEGINNING) {
                consumer.seekToBeginning(unread);
            } else {
                consumer.seekToEnd(unread);
            }
        }
        next.forEach(consumer::seek);
        Map<TopicPartition, Long> goal = new HashMap<>(consumer.endOffsets(assignment));
        if (from == From.BEGINNING) {
            unread.forEach(partition -> ends.put(partition, goal.get(partition)));
        }
        // seekToEnd is lazy: a record that arrives after ready must not be skipped
        assignment.forEach(partition -> next.put(partition, consumer.position(partition)));
        if (from == From.END) {
            caughtUp.complete(null);
        }
        String named = log.settings().name(topic);
        while (running) {
            positions = assignment.stream()
                    .filter(partition -> partition.topic().equals(named))
                    .collect(Collectors.toUnmodifiableMap(TopicPartition::partition, consumer::position));
            if (!caughtUp.isDone()) {
                goal.entrySet().removeIf(end -> consumer.position(end.getKey()) >= end.getValue());
                if (goal.isEmpty()) {
                    if (leftOut > 0) {
                        LOG.warn("{}: {} records from before cannot be read and are left out", step, leftOut);
                    }
                    caughtUp.complete(null);
                }
            }
            ConsumerRecords<byte[], byte[]> records = consumer.poll(POLL);
            for (ConsumerRecord<byte[], byte[]> record : records) {
                handle(record);
                next.put(new TopicPartition(record.topic(), record.partition()), record.offset() + 1);
            }
            if (!records.isEmpty()) {
                afterwards.run();
            }
        }
    }

    private static void pause() {
        try {
            Thread.sleep(BACKOFF);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private void handle(ConsumerRecord<byte[], byte[]> record) {
        Reader<?> reader = Objects.requireNonNull(readers.get(record.topic()), "only these are assigned");
        while (running) {
            try {
                reader.handle(record);
                return;
            } catch (SchemaRegistry.RegistryUnavailableException e) {
                LOG.warn("{}: waiting: {}", step, e.getMessage());
                afterwards.run();
                pause();
            } catch (RuntimeException | LinkageError | StackOverflowError | AssertionError e) {
                // that may take long, and who waits for what came before need not
                afterwards.run();
                bury(record, e);
                return;
            }
        }
    }

    private void bury(ConsumerRecord<byte[], byte[]> record, Throwable error) {
        if (record.offset() < ends.getOrDefault(new TopicPartition(record.topic(), record.partition()), 0L)) {
            leftOut++;
            LOG.debug("{}: {}-{}@{} is left out", step, record.topic(), record.partition(), record.offset(), error);
            return;
        }
        try {
            deadLetters.bury(record, step, error, 1);
        } catch (RuntimeException unwritten) {
            LOG.error("{}: a dead letter could not be written", step, unwritten);
        }
    }

    private static List<Integer> allPartitions(int count) {
        return java.util.stream.IntStream.range(0, count).boxed().toList();
    }

    @Override
    public void close() {
        running = false;
        KafkaConsumer<byte[], byte[]> consumer = reading;
        if (consumer != null) {
            consumer.wakeup();
        }
        try {
            // by milliseconds: by a duration one that was never started may not be waited for
            thread.join(5_000);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
