package io.millrace.log;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import io.millrace.schema.Tick;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.LongFunction;
import java.util.function.Supplier;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.MockConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetCommitCallback;
import org.apache.kafka.clients.consumer.RetriableCommitFailedException;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** What a worker does when its consumer fails, which a broker does not do on demand. */
class LogWorkerConsumerTest {
    private static final TopicPartition PARTITION = new TopicPartition("t.ticks", 0);
    private static final Duration LONG = Duration.ofSeconds(60);

    private final LogSettings settings = new LogSettings("127.0.0.1:1", "t.", 1, (short) 1);
    private final Codecs codecs = new Codecs(new InMemorySchemaRegistry(), "t.");
    private final Log log = new Log(settings, codecs, new LogProducer(settings, codecs), new SimpleMeterRegistry());
    private final Set<Long> handled = ConcurrentHashMap.newKeySet();

    @AfterEach
    void close() {
        log.producer().close();
    }

    @Test
    void shouldCommitAgainWhenTheBrokerDidNotTakeACommit() {
        // prevents that the last record of a quiet topic counts as unread until another comes
        FlakyConsumer consumer = new FlakyConsumer(2);
        consumer.receive(1);
        try (LogWorker<Tick> worker = worker(() -> consumer)) {
            worker.start();

            await().atMost(LONG).until(() -> consumer.committed() == 1);

            assertThat(consumer.refused.get()).isEqualTo(2);
        }
    }

    @Test
    void shouldCommitWhenItStopsAndTheBrokerTookNoCommitBefore() {
        FlakyConsumer consumer = new FlakyConsumer(Integer.MAX_VALUE);
        consumer.receive(3);
        try (LogWorker<Tick> worker = worker(() -> consumer)) {
            worker.start();
            await().atMost(LONG).until(() -> handled.size() == 3 && consumer.refused.get() > 0);
        }

        assertThat(consumer.last).containsEntry(PARTITION, new OffsetAndMetadata(3));
    }

    @Test
    void shouldGoOnWhenAConsumerDiesAndNoneCanBeMadeForAWhile() {
        // prevents that a name which does not resolve for some seconds ends the worker and not the process
        FlakyConsumer first = new FlakyConsumer(0);
        first.schedulePollTask(() -> first.setPollException(new KafkaException("it dies")));
        FlakyConsumer second = new FlakyConsumer(0);
        second.receive(1);
        Deque<Supplier<Consumer<byte[], byte[]>>> made = new ArrayDeque<>(List.of(
                LogWorkerConsumerTest::unresolved,
                () -> first,
                LogWorkerConsumerTest::unresolved,
                LogWorkerConsumerTest::unresolved,
                () -> second));
        try (LogWorker<Tick> worker = worker(() -> made.remove().get())) {
            worker.start();

            await().atMost(LONG).until(() -> handled.contains(0L) && worker.isReady());

            assertThat(made).isEmpty();
            assertThat(first.closed()).isTrue();
        }
        assertThat(second.closed()).isTrue();
    }

    @Test
    void shouldStopWhenNoConsumerWasMadeYet() {
        LogWorker<Tick> worker = worker(LogWorkerConsumerTest::unresolved).start();

        worker.close();

        assertThat(worker.isReady()).isFalse();
        assertThat(Thread.getAllStackTraces().keySet())
                .noneMatch(thread -> thread.getName().equals("worker-flaky"));
    }

    @Test
    void shouldHandleEachRecordOfAKeyOnceAndAloneWhenTheyComeAsTheOneBeforeEnds() {
        // prevents that two versions of a document are written in the wrong order
        int count = 100_000;
        QuickConsumer consumer = new QuickConsumer();
        consumer.setMaxPollRecords(2);
        consumer.receive(count, offset -> "key");
        AtomicInteger inside = new AtomicInteger();
        AtomicInteger calls = new AtomicInteger();
        Set<Long> together = ConcurrentHashMap.newKeySet();
        try (LogWorker<Tick> worker = worker("quick", 1_000, () -> consumer, record -> {
            if (inside.incrementAndGet() > 1) {
                together.add(record.offset());
            }
            handled.add(record.offset());
            calls.incrementAndGet();
            inside.decrementAndGet();
        })) {
            worker.start();

            await().atMost(LONG).until(() -> handled.size() == count);
            await().atMost(LONG).until(() -> inFlight("quick") <= 0);
        }
        assertThat(together).isEmpty();
        assertThat(calls).hasValue(count);
        assertThat(inFlight("quick")).isZero();
    }

    @Test
    void shouldWorkOnNoMoreAtOnceThanItIsToldWhenOnePollBringsMore() throws Exception {
        // prevents that the documents of a whole poll are cut and embedded together
        QuickConsumer consumer = new QuickConsumer();
        consumer.receive(50, offset -> "key-" + offset);
        Semaphore free = new Semaphore(0);
        AtomicInteger inside = new AtomicInteger();
        AtomicInteger most = new AtomicInteger();
        try (LogWorker<Tick> worker = worker("narrow", 2, () -> consumer, record -> {
            most.accumulateAndGet(inside.incrementAndGet(), Math::max);
            free.acquire();
            handled.add(record.offset());
            inside.decrementAndGet();
        })) {
            worker.start();
            await().atMost(LONG).until(() -> inFlight("narrow") == 50 && inside.get() >= 2);
            // those that must not begin have time to
            Thread.sleep(200);
            free.release(50);

            await().atMost(LONG).until(() -> inFlight("narrow") == 0);
        }
        assertThat(most).hasValue(2);
        assertThat(handled).hasSize(50);
    }

    @Test
    void shouldGoOnPollingWhenItIsFull() {
        // prevents that a worker with slow records is put out of its group
        QuickConsumer consumer = new QuickConsumer();
        consumer.setMaxPollRecords(1);
        consumer.receive(3, offset -> "key-" + offset);
        Semaphore free = new Semaphore(0);
        try (LogWorker<Tick> worker = worker("slow", 1, () -> consumer, record -> {
            free.acquire();
            handled.add(record.offset());
        })) {
            worker.start();
            await().atMost(LONG).until(() -> inFlight("slow") == 1);
            int before = consumer.polls.get();

            await().atMost(LONG).until(() -> consumer.polls.get() > before + 5);

            assertThat(inFlight("slow")).isEqualTo(1);
            free.release(3);
            await().atMost(LONG).until(() -> handled.size() == 3);
        }
    }

    @Test
    void shouldStopInSilenceWhenRecordsOfAKeyStillWait() {
        // prevents a stack trace for each key when a process stops under load
        QuickConsumer consumer = new QuickConsumer();
        consumer.receive(3, offset -> "key");
        Queue<Throwable> uncaught = new ConcurrentLinkedQueue<>();
        Thread.UncaughtExceptionHandler before = Thread.getDefaultUncaughtExceptionHandler();
        Thread.setDefaultUncaughtExceptionHandler((thread, error) -> uncaught.add(error));
        try {
            try (LogWorker<Tick> worker = worker("stopped", 4, () -> consumer, record -> {
                handled.add(record.offset());
                new Semaphore(0).acquire();
            })) {
                worker.start();
                await().atMost(LONG).until(() -> inFlight("stopped") == 3 && handled.size() == 1);
            }
            await().atMost(LONG).until(() -> inFlight("stopped") == 2);
            assertThat(uncaught).isEmpty();
        } finally {
            Thread.setDefaultUncaughtExceptionHandler(before);
        }
        assertThat(handled).containsExactly(0L);
    }

    private static Consumer<byte[], byte[]> unresolved() {
        throw new KafkaException("no resolvable bootstrap urls");
    }

    private LogWorker<Tick> worker(Supplier<Consumer<byte[], byte[]>> open) {
        return worker("flaky", 4, open, record -> handled.add(record.offset()));
    }

    private LogWorker<Tick> worker(
            String step, int concurrency, Supplier<Consumer<byte[], byte[]>> open, LogWorker.Handler<Tick> handler) {
        return new LogWorker<>(
                step,
                log,
                concurrency,
                open,
                (consumer, listener) -> consumer.subscribe(List.of(PARTITION.topic()), listener),
                (record, key) -> new LogRecord<>(Topics.TICKS, record.partition(), record.offset(), 0, key, null),
                (record, key) -> key,
                handler);
    }

    private double inFlight(String step) {
        return log.metrics()
                .get("millrace.worker.in.flight")
                .tag("step", step)
                .gauge()
                .value();
    }

    /** Has its records at once. */
    private static final class QuickConsumer extends MockConsumer<byte[], byte[]> {
        private final AtomicInteger polls = new AtomicInteger();

        QuickConsumer() {
            super("earliest");
            updateBeginningOffsets(Map.of(PARTITION, 0L));
            schedulePollTask(() -> rebalance(List.of(PARTITION)));
        }

        @Override
        public synchronized ConsumerRecords<byte[], byte[]> poll(Duration timeout) {
            polls.incrementAndGet();
            return super.poll(timeout);
        }

        void receive(int count, LongFunction<String> key) {
            schedulePollTask(() -> {
                for (long offset = 0; offset < count; offset++) {
                    byte[] bytes = key.apply(offset).getBytes(StandardCharsets.UTF_8);
                    addRecord(new ConsumerRecord<>(PARTITION.topic(), 0, offset, bytes, new byte[0]));
                }
            });
        }
    }

    /** Takes no commit that does not wait for its answer, for the first few of them. */
    private static final class FlakyConsumer extends MockConsumer<byte[], byte[]> {
        private final AtomicInteger refused = new AtomicInteger();
        private final int refuses;
        private volatile Map<TopicPartition, OffsetAndMetadata> last = Map.of();

        FlakyConsumer(int refuses) {
            super("earliest");
            this.refuses = refuses;
            updateBeginningOffsets(Map.of(PARTITION, 0L));
            schedulePollTask(() -> rebalance(List.of(PARTITION)));
        }

        void receive(int count) {
            schedulePollTask(() -> {
                for (int offset = 0; offset < count; offset++) {
                    addRecord(new ConsumerRecord<>(PARTITION.topic(), 0, offset, new byte[0], new byte[0]));
                }
            });
        }

        long committed() {
            OffsetAndMetadata offset = last.get(PARTITION);
            return offset == null ? -1 : offset.offset();
        }

        @Override
        public synchronized ConsumerRecords<byte[], byte[]> poll(Duration timeout) {
            try {
                Thread.sleep(5);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
            return super.poll(timeout);
        }

        @Override
        public synchronized void commitAsync(
                Map<TopicPartition, OffsetAndMetadata> offsets, OffsetCommitCallback callback) {
            if (!offsets.isEmpty() && refused.get() < refuses) {
                refused.incrementAndGet();
                callback.onComplete(offsets, new RetriableCommitFailedException("the coordinator moves"));
            } else {
                keep(offsets);
                callback.onComplete(offsets, null);
            }
        }

        @Override
        public void commitSync(Map<TopicPartition, OffsetAndMetadata> offsets, Duration timeout) {
            keep(offsets);
        }

        private void keep(Map<TopicPartition, OffsetAndMetadata> offsets) {
            if (!offsets.isEmpty()) {
                last = offsets;
            }
        }
    }
}
