package io.millrace.standalone.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.millrace.standalone.parts.DataFolder;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

/** Whether what is written in a data folder is of a process that still runs. */
class InstanceTest {
    @TempDir
    private Path temporary;

    /** Whether this process, which holds the folder, is found there when what it wrote is changed so. */
    private boolean isFound(Consumer<ObjectNode> change) throws IOException {
        try (DataFolder data = DataFolder.open(temporary.resolve("data"), 1L << 20)) {
            Path file = data.root().resolve(DataFolder.HOLDER);
            ObjectNode run = (ObjectNode) Instance.JSON.readTree(file.toFile());
            change.accept(run);
            Instance.JSON.writeValue(file.toFile(), run);
            return Instance.run(data.root()).isPresent();
        }
    }

    private static void startedAt(ObjectNode run, Duration fromNow) {
        run.put("started_at", Instant.now().plus(fromNow).toString());
    }

    /** Linux tells the start of a process by the clock of now. */
    @Test
    @EnabledOnOs(OS.LINUX)
    void shouldFindWhatRunsWhenTheClockWasSetMeanwhile() throws IOException {
        assertThat(isFound(run -> startedAt(run, Duration.ofDays(-1)))).isTrue();
        assertThat(isFound(run -> startedAt(run, Duration.ofDays(1)))).isTrue();
    }

    @Test
    @EnabledOnOs(OS.LINUX)
    void shouldFindNothingWhenThePidWasGivenAgain() throws Exception {
        Process stranger = new ProcessBuilder("sleep", "60").start();
        try {
            assertThat(isFound(run -> {
                        run.put("pid", stranger.pid());
                        startedAt(run, Duration.ofDays(1));
                    }))
                    .isFalse();
        } finally {
            stranger.destroyForcibly().waitFor();
        }
        assertThat(isFound(run -> run.put("pid", stranger.pid()))).isFalse();
    }

    @Test
    void shouldGoByTheTimeWhenThereIsNoMark() throws IOException {
        assertThat(isFound(run -> run.remove("mark"))).isTrue();
        assertThat(isFound(run -> {
                    run.remove("mark");
                    startedAt(run, Duration.ofDays(-1));
                }))
                .isFalse();
    }
}
