package io.millrace.routers.log;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import io.millrace.log.Codecs;
import io.millrace.log.InMemorySchemaRegistry;
import io.millrace.log.Log;
import io.millrace.log.LogSettings;
import io.millrace.log.LogTail;
import io.millrace.log.SchemaRegistry;
import io.millrace.log.Topics;
import io.millrace.routers.testing.TestBroker;
import io.millrace.schema.DeadLetter;
import io.millrace.schema.Envelope;
import io.millrace.schema.Tick;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.avro.Schema;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class LogTailTest {
    private static final Duration LONG = Duration.ofSeconds(30);

    private final Log log = TestBroker.log();

    @AfterEach
    void close() {
        log.producer().close();
    }

    @Test
    void shouldAskTwiceASecondAndGoOnWhenTheRegistryRefusesForAWhile() throws Exception {
        // prevents a loop that asks, and writes a line, as fast as a registry says no
        AtomicInteger asked = new AtomicInteger();
        AtomicInteger refuses = new AtomicInteger(Integer.MAX_VALUE);
        Log refused = new Log(
                log.settings(),
                new Codecs(new RefusingRegistry(asked, refuses), log.settings().prefix()),
                log.producer(),
                log.metrics());
        List<Long> read = new CopyOnWriteArrayList<>();
        send(1);
        try (LogTail<Tick> tail = new LogTail<>(
                "refused", Topics.TICKS, LogTail.From.BEGINNING, refused, record -> read.add(record.offset()))) {
            tail.start();
            await().atMost(LONG).until(() -> asked.get() > 0);
            int before = asked.get();
            long began = System.nanoTime();

            Thread.sleep(2_000);

            int since = asked.get() - before;
            // each that was asked for now, and one that was on its way
            assertThat(since)
                    .isLessThanOrEqualTo(2
                            + (int) Duration.ofNanos(System.nanoTime() - began).dividedBy(Duration.ofMillis(500)));
            assertThat(read).isEmpty();
            refuses.set(0);
            tail.caughtUp().get(30, TimeUnit.SECONDS);
            assertThat(read).containsExactly(0L);
            assertThat(log.metrics().find("millrace.dead.letters").counter()).isNull();
        }
    }

    @Test
    void shouldBuryTheRecordAndGoOnWhenItsHandlerOverflowsTheStack() {
        // prevents a table that no record reaches any more while the process says that all is well
        List<Long> read = new CopyOnWriteArrayList<>();
        List<DeadLetter> letters = new CopyOnWriteArrayList<>();
        try (LogTail<Tick> tail = new LogTail<>("deep", Topics.TICKS, LogTail.From.END, log, record -> {
                    long sequence = record.required().getSequence();
                    if (sequence == 0) {
                        overflow(1);
                    }
                    read.add(sequence);
                });
                LogTail<DeadLetter> dead = new LogTail<>(
                        "letters",
                        Topics.DEAD_LETTERS,
                        LogTail.From.BEGINNING,
                        log,
                        record -> letters.add(record.required()))) {
            tail.start();
            dead.start();
            tail.caughtUp().join();
            send(2);

            await().atMost(LONG).until(() -> read.contains(1L) && !letters.isEmpty());

            assertThat(read).containsExactly(1L);
            assertThat(letters).singleElement().satisfies(letter -> {
                assertThat(letter.getStep()).isEqualTo("deep");
                assertThat(letter.getError()).startsWith("StackOverflowError");
            });
        }
    }

    @Test
    void shouldSayThatTheEndIsNotKnownWhenTheBrokerCannotBeFound() {
        // prevents that a worker which looks for the end buries a record because a name did not resolve
        LogSettings nowhere =
                new LogSettings("nowhere.invalid:9092", log.settings().prefix(), 4, (short) 1);
        try (LogTail<Tick> tail = new LogTail<>(
                "lost",
                Topics.TICKS,
                LogTail.From.BEGINNING,
                new Log(nowhere, log.codecs(), log.producer(), log.metrics()),
                record -> {})) {
            assertThatThrownBy(() -> tail.awaitEnd(Duration.ofSeconds(5)))
                    .isInstanceOf(TimeoutException.class)
                    .hasMessageContaining("the end of ticks is not known");
        }
    }

    @SuppressWarnings("InfiniteRecursion")
    private static long overflow(long depth) {
        return overflow(depth + 1) + 1;
    }

    /** Ticks with sequences from zero, all on one partition. */
    private void send(int count) {
        for (int i = 0; i < count; i++) {
            log.producer()
                    .send(
                            Topics.TICKS,
                            0,
                            "key",
                            Tick.newBuilder()
                                    .setEnvelope(Envelope.newBuilder().build())
                                    .setSequence(i)
                                    .build());
        }
        log.producer().flush();
    }

    /** Knows schemas, and for a while says at once that it may not be asked. */
    private record RefusingRegistry(AtomicInteger asked, AtomicInteger refuses) implements SchemaRegistry {
        @Override
        public int register(String subject, Schema schema) {
            throw new UnsupportedOperationException();
        }

        @Override
        public Schema byId(int id) {
            asked.incrementAndGet();
            if (refuses.get() > 0) {
                throw new RegistryUnavailableException("HTTP 429", new IllegalStateException());
            }
            SchemaRegistry registry = new InMemorySchemaRegistry();
            registry.register("ticks", Topics.TICKS.schema());
            return registry.byId(1);
        }
    }
}
