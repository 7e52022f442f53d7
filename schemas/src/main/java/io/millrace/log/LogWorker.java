package io.millrace.log;

import io.micrometer.core.instrument.Gauge;
import io.micrometer.core.instrument.Timer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Collection;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BiConsumer;
import java.util.function.Supplier;
import java.util.regex.Pattern;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A worker: reads one topic, or all that a pattern names, as a member of a group, processes records concurrently on virtual threads, and commits the lowest
 * unfinished offset, so that a crash repeats work and never skips it. Records of one key are processed one after the other, in
 * order.
 *
 * <p>What cannot be decoded, and what fails {@value #TRIES} times, becomes a dead letter and the stream goes on. A
 * {@link RetryLaterException} and {@linkplain LogProducer#isOutage an outage of the log or the registry} are not the record's fault: it is
 * tried again until it passes, and meanwhile the partition's commits stand still.
 */
public final class LogWorker<V extends SpecificRecord> implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(LogWorker.class);
    private static final int TRIES = 3;
    private static final Duration POLL = Duration.ofMillis(100);
    /** Between polls that only keep the membership, unless there is room sooner. */
    private static final long WHILE_FULL_NANOS = TimeUnit.MILLISECONDS.toNanos(5);

    private static final long COMMIT_EVERY_NANOS = TimeUnit.MILLISECONDS.toNanos(200);
    private static final Duration FIRST_BACKOFF = Duration.ofMillis(100);
    private static final Duration LAST_BACKOFF = Duration.ofSeconds(2);
    /** Until a consumer that died, or could not be made, is replaced. */
    private static final Duration REPLACE_AFTER = Duration.ofMillis(500);

    /** Processes one record; runs on a virtual thread and may block. */
    @FunctionalInterface
    public interface Handler<V extends SpecificRecord> {
        void handle(LogRecord<V> record) throws Exception;
    }

    /** Makes a record's value and topic of its bytes; throws {@link UndecodableException} for what is none. */
    @FunctionalInterface
    public interface Decoder<V extends SpecificRecord> {
        LogRecord<V> decode(ConsumerRecord<byte[], byte[]> record, String key);
    }

    /** What must be processed in order. */
    interface Lane {
        String of(ConsumerRecord<byte[], byte[]> record, String key);
    }

    /** A dependency is down: the record is fine, try it again until it passes. */
    public static final class RetryLaterException extends RuntimeException {
        private static final long serialVersionUID = 1L;

        public RetryLaterException(String message, Throwable cause) {
            super(message, cause);
        }
    }

    private final String step;
    private final BiConsumer<Consumer<byte[], byte[]>, ConsumerRebalanceListener> subscribe;
    private final Decoder<V> decoder;
    private final Lane lane;
    private final Supplier<Consumer<byte[], byte[]>> open;
    private volatile @Nullable Consumer<byte[], byte[]> consumer;
    private final DeadLetters deadLetters;
    private final Handler<V> handler;
    private final int concurrency;
    /** Fair: what was taken first is done first. */
    private final Semaphore turns;

    private final Timer timer;
    private final Map<TopicPartition, OffsetTracker> trackers = new ConcurrentHashMap<>();
    private final Map<String, Deque<Runnable>> lanes = new ConcurrentHashMap<>();
    private final AtomicInteger inFlight = new AtomicInteger();
    private final ExecutorService executor = Executors.newVirtualThreadPerTaskExecutor();
    private final Thread thread;
    private volatile boolean running = true;
    private volatile boolean assigned;

    /**
     * @param step name of this step: the group id, and the step in dead letters and metrics
     * @param concurrency records in work at once, at least 1; as many are fetched at most, and none while so many are unfinished
     */
    public LogWorker(String step, Topic<V> topic, Log log, int concurrency, Handler<V> handler) {
        this(
                step,
                log,
                concurrency,
                () -> new KafkaConsumer<>(settings(log, step, concurrency)),
                (consumer, listener) ->
                        consumer.subscribe(List.of(log.settings().name(topic)), listener),
                decoder(topic, log.codecs().of(topic)),
                (record, key) -> key,
                handler);
    }

    /**
     * A worker over all topics whose name matches, those that are made later included, within 2 s. The records of a topic are
     * processed one after the other.
     *
     * @param topics full names
     * @param decoder of values that may be in no registry
     */
    public LogWorker(String step, Pattern topics, Log log, int concurrency, Decoder<V> decoder, Handler<V> handler) {
        this(
                step,
                log,
                concurrency,
                () -> new KafkaConsumer<>(lively(settings(log, step, concurrency))),
                (consumer, listener) -> consumer.subscribe(topics, listener),
                decoder,
                (record, key) -> record.topic(),
                handler);
    }

    /** @param open makes a consumer; called on the worker's thread, again when it throws and when the consumer died */
    LogWorker(
            String step,
            Log log,
            int concurrency,
            Supplier<Consumer<byte[], byte[]>> open,
            BiConsumer<Consumer<byte[], byte[]>, ConsumerRebalanceListener> subscribe,
            Decoder<V> decoder,
            Lane lane,
            Handler<V> handler) {
        this.step = step;
        this.open = open;
        this.subscribe = subscribe;
        this.decoder = decoder;
        this.lane = lane;
        this.deadLetters = new DeadLetters(log.producer(), log.metrics());
        this.handler = handler;
        this.concurrency = concurrency;
        this.turns = new Semaphore(concurrency, true);
        this.timer = log.metrics().timer("millrace.worker.record", "step", step);
        Gauge.builder("millrace.worker.in.flight", inFlight, AtomicInteger::get)
                .tag("step", step)
                .register(log.metrics());
        this.thread = Thread.ofPlatform().name("worker-" + step).daemon(true).unstarted(this::run);
    }

    /** What is taken and waits is done all the same when its partition moves to another member: it should be little. */
    private static Map<String, Object> settings(Log log, String step, int concurrency) {
        Map<String, Object> settings = ClientConfig.member(log.settings(), step);
        settings.put(
                ConsumerConfig.MAX_POLL_RECORDS_CONFIG, Math.min(ConsumerConfig.DEFAULT_MAX_POLL_RECORDS, concurrency));
        return settings;
    }

    /** How soon a new topic is noticed; the default is 5 min. */
    private static Map<String, Object> lively(Map<String, Object> settings) {
        settings.put(ConsumerConfig.METADATA_MAX_AGE_CONFIG, 2_000);
        return settings;
    }

    private static <V extends SpecificRecord> Decoder<V> decoder(Topic<V> topic, AvroCodec<V> codec) {
        return (record, key) -> {
            V value = record.value() == null ? null : codec.decode(record.value());
            return new LogRecord<>(topic, record.partition(), record.offset(), record.timestamp(), key, value);
        };
    }

    /** Starts reading; returns at once. */
    public LogWorker<V> start() {
        thread.start();
        return this;
    }

    /** Whether partitions are assigned, that is, whether records would be processed now. */
    public boolean isReady() {
        return assigned && thread.isAlive();
    }

    private void run() {
        while (running) {
            try {
                work(replace());
            } catch (WakeupException e) {
                LOG.debug("{}: woken to stop", step);
            } catch (RuntimeException e) {
                LOG.error("{}: the consumer died and is replaced", step, e);
                assigned = false;
                pause();
            }
        }
        assigned = false;
        stopWork();
    }

    /** The first consumer, or another; what the one before did not commit is read again. */
    private Consumer<byte[], byte[]> replace() {
        Consumer<byte[], byte[]> dead = consumer;
        if (dead != null) {
            dead.close(CloseOptions.timeout(Duration.ZERO));
        }
        trackers.clear();
        Consumer<byte[], byte[]> fresh = open.get();
        consumer = fresh;
        return fresh;
    }

    private void pause() {
        try {
            Thread.sleep(REPLACE_AFTER);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            running = false;
        }
    }

    private void work(Consumer<byte[], byte[]> consumer) {
        subscribe.accept(consumer, new Rebalances(consumer));
        long lastCommit = System.nanoTime();
        while (running) {
            boolean full = throttle(consumer);
            if (full) {
                // a poll of paused partitions would sit out its time though there is room again
                LockSupport.parkNanos(this, WHILE_FULL_NANOS);
                full = throttle(consumer);
            }
            ConsumerRecords<byte[], byte[]> records = consumer.poll(full ? Duration.ZERO : POLL);
            for (ConsumerRecord<byte[], byte[]> record : records) {
                accept(record);
            }
            if (System.nanoTime() - lastCommit > COMMIT_EVERY_NANOS) {
                consumer.commitAsync(progress(trackers.keySet()), (offsets, error) -> {
                    if (error == null) {
                        acknowledged(offsets);
                    } else {
                        LOG.debug("{}: a commit failed and is tried again", step, error);
                    }
                });
                lastCommit = System.nanoTime();
            }
        }
    }

    /**
     * Fetches nothing while there is enough in work; says whether that is so. What was paused is not remembered: a rebalance forgets it,
     * and the whole backlog would be read into memory.
     */
    private boolean throttle(Consumer<byte[], byte[]> consumer) {
        boolean full = inFlight.get() >= concurrency;
        if (full) {
            consumer.pause(consumer.assignment());
        } else {
            consumer.resume(consumer.paused());
        }
        return full;
    }

    private void accept(ConsumerRecord<byte[], byte[]> record) {
        TopicPartition partition = new TopicPartition(record.topic(), record.partition());
        OffsetTracker tracker = trackers.computeIfAbsent(partition, p -> new OffsetTracker(record.offset()));
        tracker.take(record.offset());
        inFlight.incrementAndGet();
        String key = record.key() == null ? "" : new String(record.key(), StandardCharsets.UTF_8);
        String ordered = lane.of(record, key);
        Runnable work = () -> {
            boolean finished = inTurn(record, key);
            if (inFlight.getAndDecrement() == concurrency) {
                LockSupport.unpark(thread);
            }
            if (finished) {
                tracker.finish(record.offset());
            }
            nextInLane(ordered);
        };
        lanes.compute(ordered, (k, waiting) -> {
            Deque<Runnable> queue = waiting == null ? new ArrayDeque<>(1) : waiting;
            queue.add(work);
            // decided in here: once this returns, the one before may end and start this one
            if (waiting == null) {
                executor.execute(work);
            }
            return queue;
        });
    }

    private void nextInLane(String ordered) {
        lanes.computeIfPresent(ordered, (k, waiting) -> {
            waiting.poll();
            Runnable next = waiting.peek();
            // what waits when the worker stops is read again
            if (next == null || !running) {
                return null;
            }
            try {
                executor.execute(next);
            } catch (RejectedExecutionException e) {
                // it stopped since
                return null;
            }
            return waiting;
        });
    }

    /** Waits until fewer than so many are in work; what waits in a lane takes nobody's place. */
    private boolean inTurn(ConsumerRecord<byte[], byte[]> record, String key) {
        try {
            turns.acquire();
        } catch (InterruptedException e) {
            return false;
        }
        try {
            return timer.record(() -> process(record, key));
        } finally {
            turns.release();
        }
    }

    /** Whether the record is done, by success or by a dead letter; false when the worker stops first. */
    private boolean process(ConsumerRecord<byte[], byte[]> record, String key) {
        int failures = 0;
        Duration backoff = FIRST_BACKOFF;
        while (running) {
            try {
                handler.handle(decoder.decode(record, key));
                return true;
            } catch (UndecodableException e) {
                if (bury(record, e, 1)) {
                    return true;
                }
            } catch (InterruptedException e) {
                return false;
            } catch (Exception | LinkageError | StackOverflowError | AssertionError e) {
                if (e instanceof RetryLaterException || LogProducer.isOutage(e)) {
                    LOG.warn("{}: waiting: {}", step, e.getMessage());
                } else {
                    failures++;
                    if (failures >= TRIES && bury(record, e, failures)) {
                        return true;
                    }
                }
            }
            try {
                Thread.sleep(backoff);
            } catch (InterruptedException e) {
                return false;
            }
            backoff = backoff.multipliedBy(2).compareTo(LAST_BACKOFF) > 0 ? LAST_BACKOFF : backoff.multipliedBy(2);
        }
        return false;
    }

    /** Whether the log took the letter. */
    private boolean bury(ConsumerRecord<byte[], byte[]> record, Throwable error, int attempts) {
        try {
            deadLetters.bury(record, step, error, attempts);
            return true;
        } catch (RuntimeException e) {
            LOG.error("{}: a dead letter could not be written; the record is tried again", step, e);
            return false;
        }
    }

    private Map<TopicPartition, OffsetAndMetadata> progress(Collection<TopicPartition> partitions) {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (TopicPartition partition : partitions) {
            OffsetTracker tracker = trackers.get(partition);
            long offset = tracker == null ? -1 : tracker.uncommitted();
            if (offset >= 0) {
                offsets.put(partition, new OffsetAndMetadata(offset));
            }
        }
        return offsets;
    }

    private void acknowledged(Map<TopicPartition, OffsetAndMetadata> offsets) {
        offsets.forEach((partition, offset) -> {
            OffsetTracker tracker = trackers.get(partition);
            if (tracker != null) {
                tracker.committed(offset.offset());
            }
        });
    }

    private void stopWork() {
        Consumer<byte[], byte[]> last = consumer;
        executor.shutdownNow();
        try {
            if (!executor.awaitTermination(5, TimeUnit.SECONDS)) {
                LOG.warn("{}: {} records were still in work; they will be read again", step, inFlight.get());
            }
            if (last != null) {
                last.commitSync(progress(trackers.keySet()), Duration.ofSeconds(2));
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } catch (RuntimeException e) {
            LOG.debug("{}: the last commit failed; its records will be read again", step, e);
        } finally {
            if (last != null) {
                last.close(CloseOptions.timeout(Duration.ofSeconds(2)));
            }
        }
    }

    @Override
    public void close() {
        running = false;
        Consumer<byte[], byte[]> current = consumer;
        if (current != null) {
            current.wakeup();
        }
        if (thread.getState() == Thread.State.NEW) {
            // a start that was broken off
            executor.shutdownNow();
            return;
        }
        try {
            thread.join(Duration.ofSeconds(10));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private final class Rebalances implements ConsumerRebalanceListener {
        private final Consumer<byte[], byte[]> consumer;

        Rebalances(Consumer<byte[], byte[]> consumer) {
            this.consumer = consumer;
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            for (TopicPartition partition : partitions) {
                trackers.put(partition, new OffsetTracker(consumer.position(partition)));
            }
            // the poll that this is part of may return records yet
            throttle(consumer);
            assigned = true;
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            try {
                consumer.commitSync(progress(partitions), Duration.ofSeconds(2));
            } catch (RuntimeException e) {
                LOG.debug("{}: a commit before a rebalance failed; its records will be read again", step, e);
            }
            partitions.forEach(trackers::remove);
        }
    }
}
