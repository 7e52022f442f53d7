package io.millrace.connect;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.connect.Scan.ScanException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.metrics.PluginMetrics;
import org.apache.kafka.connect.source.SourceRecord;
import org.apache.kafka.connect.source.SourceTaskContext;
import org.apache.kafka.connect.storage.OffsetStorageReader;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/** When a source is looked at. */
class KnowledgeTaskTest {
    private static final long SCHEDULE_MS = 300_000;

    private final AtomicLong now = new AtomicLong(1_800_000_000_000L);
    private final KnowledgeTask task = task();

    /** Of a source that cannot be read. */
    private KnowledgeTask task() {
        KnowledgeTask made = new KnowledgeTask(now::get) {
            @Override
            Scan scan(SourceSettings settings, OffsetStorageReader offsets) throws ScanException {
                throw new ScanException("it is gone");
            }
        };
        start(made);
        return made;
    }

    private static void start(KnowledgeTask made) {
        made.initialize(new NoOffsets());
        made.start(Map.of(
                SourceSettings.SOURCE, "s",
                SourceSettings.TOPIC, "raw.s",
                SourceSettings.LOCATION, "nowhere",
                SourceSettings.COLLECTION, "c",
                SourceSettings.SCHEDULE, Long.toString(SCHEDULE_MS)));
    }

    @Test
    void shouldWaitLongerAndNoLongerThanItsScheduleWhenItFailsForDays() throws Exception {
        long expected = 1_000;
        for (int failure = 1; failure <= 300; failure++) {
            long due = failed();
            assertThat(due - now.get()).as("wait after failure %d", failure).isEqualTo(expected);
            now.set(due);
            expected = Math.min(2 * expected, SCHEDULE_MS);
        }
        now.decrementAndGet();
        assertThat(task.poll()).as("before it is due").isNull();
    }

    @Test
    void shouldScanWhenTheClockIsSetBack() throws Exception {
        failed();
        now.addAndGet(-Duration.ofDays(400).toMillis());

        assertThat(failed()).isEqualTo(now.get() + 2_000);
    }

    /** One record has all paths: what no record holds ended the task, which was begun again without end. */
    @Test
    void shouldFailInOneLineWhenThePathsAreMoreThanARecordHolds() throws Exception {
        assertThat(listing("p".repeat(100))).containsExactly("scanning", "manifest", "done");

        List<String> long250 = listing("p".repeat(250));

        assertThat(long250).hasSize(2).first().isEqualTo("scanning");
        assertThat(long250.getLast())
                .startsWith("failed: ")
                .contains("max_documents")
                .hasLineCount(1);
    }

    /** Types of what a pass over 200,000 documents of this path sends, with the state of its reports. */
    private List<String> listing(String path) throws InterruptedException {
        KnowledgeTask made = new KnowledgeTask(now::get) {
            @Override
            Scan scan(SourceSettings settings, OffsetStorageReader offsets) {
                return new Paths(Collections.nCopies(200_000, path));
            }
        };
        start(made);
        List<String> sent = new ArrayList<>();
        for (int poll = 0; poll < 2; poll++) {
            for (SourceRecord each : requireNonNull(made.poll())) {
                Map<?, ?> value = (Map<?, ?>) each.value();
                String type = String.valueOf(value.get("type"));
                Object error = value.get("error");
                sent.add(
                        !type.equals("report")
                                ? type
                                : value.get("state") + (Objects.equals(error, "") ? "" : ": " + error));
            }
        }
        return sent;
    }

    /** Of nothing but unchanged documents. */
    private record Paths(List<String> all) implements Scan {
        @Override
        public Optional<Step> next() {
            return Optional.empty();
        }

        @Override
        public int found() {
            return all.size();
        }

        @Override
        public Optional<Iterable<String>> everything() {
            return Optional.of(all);
        }

        @Override
        public Map<String, Object> mark() {
            return Map.of("definition", "");
        }
    }

    /** Polls a pass that fails. The result is when the next one is due. */
    private long failed() throws InterruptedException {
        List<SourceRecord> records = requireNonNull(task.poll());
        assertThat(records).hasSize(2);
        Map<?, ?> report = (Map<?, ?>) records.getLast().value();
        assertThat(report.get("state")).isEqualTo("failed");
        return (Long) requireNonNull(report.get("next_at"));
    }

    private static final class NoOffsets implements SourceTaskContext, OffsetStorageReader {
        @Override
        public Map<String, String> configs() {
            return Map.of();
        }

        @Override
        public OffsetStorageReader offsetStorageReader() {
            return this;
        }

        @Override
        public PluginMetrics pluginMetrics() {
            throw new UnsupportedOperationException();
        }

        @Override
        @SuppressWarnings("NullAway") // Connect's contract: null is no offset
        public <T> @Nullable Map<String, Object> offset(Map<String, T> partition) {
            return null;
        }

        @Override
        public <T> Map<Map<String, T>, Map<String, Object>> offsets(Collection<Map<String, T>> partitions) {
            return Map.of();
        }
    }
}
