package io.millrace.routers.clock;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import io.millrace.log.Log;
import io.millrace.log.LogTail;
import io.millrace.log.Topics;
import io.millrace.routers.testing.TestBroker;
import io.millrace.schema.Completion;
import io.millrace.schema.Tick;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import org.junit.jupiter.api.Test;

class ClockTest {
    @Test
    void shouldTickOnEveryPartitionFourTimesASecond() {
        Log log = TestBroker.log();
        Map<Integer, List<Tick>> ticks = new ConcurrentHashMap<>();
        Map<Integer, List<Completion>> watermarks = new ConcurrentHashMap<>();
        try (LogTail<Tick> tail = new LogTail<>("test", Topics.TICKS, LogTail.From.BEGINNING, log, record -> {
                    Tick tick = record.required();
                    assertThat(tick.getPartition()).isEqualTo(record.partition());
                    ticks.computeIfAbsent(record.partition(), p -> new CopyOnWriteArrayList<>())
                            .add(tick);
                });
                LogTail<Completion> ends = new LogTail<>(
                        "test",
                        Topics.COMPLETIONS,
                        LogTail.From.BEGINNING,
                        log,
                        record -> watermarks
                                .computeIfAbsent(record.partition(), p -> new CopyOnWriteArrayList<>())
                                .add(record.required()));
                Clock clock = new Clock(log)) {
            tail.start();
            ends.start();
            clock.start();

            await().atMost(Duration.ofSeconds(20))
                    .until(() -> ticks.size() == 4 && ticks.values().stream().allMatch(each -> each.size() >= 9));

            assertThat(clock.isReady()).isTrue();
            await().atMost(Duration.ofSeconds(20))
                    .until(() -> watermarks.size() == 4
                            && watermarks.values().stream().allMatch(each -> each.size() >= 2));
            watermarks.values().forEach(each -> {
                assertThat(each.get(0).getKind()).isEqualTo("watermark");
                assertThat(each.get(0).getInteractionId()).isEmpty();
                long apart = each.get(1).getEnvelope().getOccurredAt()
                        - each.get(0).getEnvelope().getOccurredAt();
                // a slow machine is late with one of them
                assertThat(apart).isBetween(1_000L, 6_000L);
            });
            ticks.values().forEach(each -> {
                long took = each.get(8).getEnvelope().getOccurredAt()
                        - each.get(0).getEnvelope().getOccurredAt();
                // eight periods; a late tick is made up for by the next ones
                assertThat(took).isBetween(1_000L, 6_000L);
                for (int i = 0; i < 9; i++) {
                    assertThat(each.get(i).getSequence()).isEqualTo(i + 1);
                }
            });
        } finally {
            log.producer().close();
        }
    }
}
