package io.millrace.standalone.parts;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.function.Consumer;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

/** What a later start takes for the child of an earlier one. */
class ChildTest {
    private static final String RECORD = "children/sleeper";
    private static final long HOUR_MS = Duration.ofHours(1).toMillis();

    @TempDir
    private Path temporary;

    /** Starts a child, changes what is recorded of it, and tells whether the next start ends it. */
    private boolean isReaped(Consumer<Properties> meanwhile) {
        try (DataFolder data = DataFolder.open(temporary.resolve("data"), 1L << 20)) {
            Child child = Child.start(data, "sleeper", "TERM", 1, List.of("sleep", "60"), Map.of());
            try {
                Properties record = data.load(RECORD);
                long pid = DataFolder.number(record, "pid");
                meanwhile.accept(record);
                data.store(RECORD, record);

                boolean reaped = Child.reap(data).equals(List.of("sleeper"));

                if (reaped) {
                    Awaitility.await("its end")
                            .atMost(Duration.ofSeconds(10))
                            .until(() -> ProcessHandle.of(pid).isEmpty());
                } else {
                    assertThat(ProcessHandle.of(pid)).isPresent();
                }
                return reaped;
            } finally {
                child.stop();
            }
        }
    }

    private static void shift(Properties record, long ms) {
        record.setProperty("started", String.valueOf(DataFolder.number(record, "started") + ms));
    }

    @Test
    void shouldEndAnOrphanWhenItIsAsRecorded() {
        assertThat(isReaped(record -> {})).isTrue();
    }

    /** Linux tells the start of a process by the clock of now. */
    @Test
    @EnabledOnOs(OS.LINUX)
    void shouldEndAnOrphanWhenTheClockWasSetMeanwhile() {
        assertThat(isReaped(record -> shift(record, -HOUR_MS))).isTrue();
        assertThat(isReaped(record -> shift(record, HOUR_MS))).isTrue();
    }

    @Test
    @EnabledOnOs(OS.LINUX)
    void shouldNotTouchAProcessWhenOnlyItsPidAndTimeAreAsRecorded() {
        String other = ProcessMark.of(ProcessHandle.current().pid());

        assertThat(other).matches("[0-9a-f-]{36}:[0-9]+");
        assertThat(isReaped(record -> record.setProperty("mark", other))).isFalse();
    }

    @Test
    void shouldGoByTheTimeWhenThereIsNoMark() {
        assertThat(isReaped(record -> record.remove("mark"))).isTrue();
        assertThat(isReaped(record -> {
                    record.remove("mark");
                    shift(record, -HOUR_MS);
                }))
                .isFalse();
    }
}
