package io.millrace.routers.log;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import io.millrace.log.ClientConfig;
import io.millrace.log.Log;
import io.millrace.log.LogProducer;
import io.millrace.log.LogRecord;
import io.millrace.log.LogTail;
import io.millrace.log.LogWorker;
import io.millrace.log.Topic;
import io.millrace.log.TopicAdmin;
import io.millrace.log.Topics;
import io.millrace.routers.testing.TestBroker;
import io.millrace.schema.DeadLetter;
import io.millrace.schema.Envelope;
import io.millrace.schema.RawDocument;
import io.millrace.schema.Tick;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Pattern;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TimeoutException;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class LogWorkerTest {
    private static final Duration LONG = Duration.ofSeconds(60);

    private final Log log = TestBroker.log();
    private final Admin admin = Admin.create(ClientConfig.admin(log.settings().bootstrapServers()));

    @AfterEach
    void close() {
        admin.close();
        log.producer().close();
    }

    @Test
    void shouldQueueNoMoreWhenTheGroupRebalancesWhileItIsFull() throws Exception {
        // prevents that a new source makes the worker read the whole backlog of another into memory
        int backlog = 3_000;
        CountDownLatch free = new CountDownLatch(1);
        Set<Long> handled = ConcurrentHashMap.newKeySet();
        Topic<RawDocument> first = source("a");
        for (int i = 0; i < backlog; i++) {
            log.producer().sendRaw(first, new byte[0], new byte[] {1});
        }
        log.producer().flush();
        Pattern topics = Pattern.compile(Pattern.quote(log.settings().prefix() + Topics.RAW) + ".*");
        try (LogWorker<RawDocument> worker = new LogWorker<>(
                "full",
                topics,
                log,
                4,
                (record, key) -> new LogRecord<>(first, record.partition(), record.offset(), 0, key, null),
                record -> {
                    free.await();
                    handled.add(record.offset());
                })) {
            worker.start();
            await().atMost(LONG).until(() -> inFlight("full") >= 4);
            String second = log.settings().name(source("b"));
            await().atMost(LONG).until(() -> assigned("full").contains(second));

            double queued = inFlight("full");
            Thread.sleep(1_000);

            assertThat(inFlight("full")).isEqualTo(queued).isLessThanOrEqualTo(500);
            free.countDown();
            await().atMost(LONG).until(() -> handled.size() == backlog);
        }
    }

    @Test
    void shouldTakeNoMoreThanTwiceWhatItWorksOnWhenThereIsABacklog() throws Exception {
        // prevents that what waits here is done though its partition is another member's by then
        int backlog = 1_000;
        CountDownLatch free = new CountDownLatch(1);
        AtomicInteger handled = new AtomicInteger();
        send(backlog);
        try (LogWorker<Tick> worker = new LogWorker<>("little", Topics.TICKS, log, 4, record -> {
            free.await();
            handled.incrementAndGet();
        })) {
            worker.start();
            await().atMost(LONG).until(() -> inFlight("little") >= 4);

            assertThat(inFlight("little")).isLessThan(8);
            free.countDown();
            await().atMost(LONG).until(() -> handled.get() == backlog);
        }
    }

    @Test
    void shouldWaitWithARecordWhenTheLogIsAway() {
        // prevents that an outage of the log, which ends while the letter is written, turns a good record into a dead
        // one
        AtomicInteger tries = new AtomicInteger();
        CountDownLatch done = new CountDownLatch(1);
        send(1);
        try (LogWorker<Tick> worker = new LogWorker<>("away", Topics.TICKS, log, 4, record -> {
            if (tries.incrementAndGet() <= 5) {
                throw new ExecutionException(new TimeoutException("expiring 1 record: 15000 ms have passed"));
            }
            done.countDown();
        })) {
            worker.start();

            await().atMost(LONG).until(() -> done.getCount() == 0);

            assertThat(log.metrics().find("millrace.dead.letters").counter()).isNull();
        }
    }

    @Test
    void shouldBuryARecordAndGoOnWhenItFailsThreeTimes() {
        List<DeadLetter> letters = new CopyOnWriteArrayList<>();
        Set<Long> handled = ConcurrentHashMap.newKeySet();
        send(2);
        try (LogTail<DeadLetter> tail = new LogTail<>(
                        "letters",
                        Topics.DEAD_LETTERS,
                        LogTail.From.BEGINNING,
                        log,
                        record -> letters.add(record.required()));
                LogWorker<Tick> worker = new LogWorker<>("poison", Topics.TICKS, log, 4, record -> {
                    if (record.required().getSequence() == 0) {
                        throw new ExecutionException(new RecordTooLargeException("33 MiB"));
                    }
                    handled.add(record.required().getSequence());
                })) {
            tail.start();
            worker.start();

            await().atMost(LONG).until(() -> handled.contains(1L) && !letters.isEmpty());

            assertThat(letters).singleElement().satisfies(letter -> {
                assertThat(letter.getStep()).isEqualTo("poison");
                assertThat(letter.getAttempts()).isEqualTo(3);
            });
        }
    }

    @Test
    void shouldNeverCommitPastAnUnfinishedRecordWhenRecordsFailAndWorkersComeAndGo() throws Exception {
        Random random = new Random(11);
        int count = 1_500;
        send(count);
        Map<Long, Integer> failures = new ConcurrentHashMap<>();
        for (long i = 0; i < count; i++) {
            failures.put(i, random.nextInt(20) == 0 ? 1 + random.nextInt(2) : 0);
        }
        Map<Integer, Set<Long>> finished = new ConcurrentHashMap<>();
        LogWorker.Handler<Tick> handler = record -> {
            long sequence = record.required().getSequence();
            Thread.sleep((sequence * 31) % 40);
            int left = failures.merge(sequence, -1, Integer::sum);
            if (left >= 0) {
                throw left % 2 == 0
                        ? new IllegalStateException("not this time")
                        : new ExecutionException(new TimeoutException("not now"));
            }
            finished.computeIfAbsent(record.partition(), p -> ConcurrentHashMap.newKeySet())
                    .add(record.offset());
        };
        List<String> skipped = new ArrayList<>();
        Deque<LogWorker<Tick>> workers = new ArrayDeque<>();
        try {
            for (int round = 0; round < 8; round++) {
                workers.add(new LogWorker<>("churn", Topics.TICKS, log, 8, handler).start());
                long until = System.nanoTime() + Duration.ofMillis(600).toNanos();
                while (System.nanoTime() < until) {
                    skipped.addAll(skipped(finished));
                    Thread.sleep(10);
                }
                if (workers.size() > 2) {
                    workers.remove().close();
                }
            }

            await().atMost(LONG).until(() -> {
                skipped.addAll(skipped(finished));
                return committed("churn").values().stream()
                                .mapToLong(Long::longValue)
                                .sum()
                        == count;
            });
            assertThat(skipped).isEmpty();
            assertThat(finished.values().stream().mapToInt(Set::size).sum()).isEqualTo(count);
            assertThat(log.metrics().find("millrace.dead.letters").counter()).isNull();
        } finally {
            workers.forEach(LogWorker::close);
        }
    }

    /** What is committed and not finished: the commits are read first. */
    private List<String> skipped(Map<Integer, Set<Long>> finished) throws Exception {
        List<String> skipped = new ArrayList<>();
        committed("churn").forEach((partition, next) -> {
            Set<Long> done = finished.getOrDefault(partition, Set.of());
            for (long offset = 0; offset < next; offset++) {
                if (!done.contains(offset)) {
                    skipped.add(partition + "@" + offset);
                }
            }
        });
        return skipped;
    }

    private Map<Integer, Long> committed(String step) throws Exception {
        Map<TopicPartition, OffsetAndMetadata> offsets = admin.listConsumerGroupOffsets(
                        log.settings().group(step))
                .partitionsToOffsetAndMetadata()
                .get();
        Map<Integer, Long> committed = new ConcurrentHashMap<>();
        offsets.forEach((partition, offset) -> committed.put(partition.partition(), offset.offset()));
        return committed;
    }

    private List<String> assigned(String step) throws Exception {
        String group = log.settings().group(step);
        return admin.describeConsumerGroups(List.of(group)).all().get().values().stream()
                .flatMap(each -> each.members().stream())
                .flatMap(member -> member.assignment().topicPartitions().stream())
                .map(TopicPartition::topic)
                .toList();
    }

    private double inFlight(String step) {
        return log.metrics()
                .get("millrace.worker.in.flight")
                .tag("step", step)
                .gauge()
                .value();
    }

    private Topic<RawDocument> source(String id) {
        Topic<RawDocument> topic = Topics.raw(id);
        new TopicAdmin(log.settings()).createAndVerify(List.of(topic));
        return topic;
    }

    /** Ticks with sequences from zero, a few of each key. */
    private void send(int count) {
        LogProducer producer = log.producer();
        for (int i = 0; i < count; i++) {
            producer.send(
                    Topics.TICKS,
                    i % 4,
                    "key-" + i % 300,
                    Tick.newBuilder()
                            .setEnvelope(Envelope.newBuilder()
                                    .setOccurredAt(System.currentTimeMillis())
                                    .build())
                            .setSequence(i)
                            .build());
        }
        producer.flush();
    }
}
