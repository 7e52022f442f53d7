package io.millrace.standalone.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What an evaluation leaves behind. */
class ScratchFolderTest {
    @TempDir
    private Path temporary;

    /** An evaluation that writes, and takes no notice of being stopped. */
    static final class Evaluation {
        private Evaluation() {}

        public static void main(String[] arguments) throws Exception {
            try (ScratchFolder scratch = new ScratchFolder()) {
                Files.createDirectories(scratch.resolve("index/segments"));
                for (int i = 0; true; i++) {
                    try {
                        Files.writeString(scratch.resolve("index/segments/" + i), "vectors");
                    } catch (IOException e) {
                        Thread.sleep(10);
                    }
                }
            }
        }
    }

    private long left() {
        try (Stream<Path> all = Files.walk(temporary)) {
            return all.filter(path -> !path.equals(temporary)).count();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Test
    void shouldLeaveNothingWhenItIsStopped() throws Exception {
        Process evaluation = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-Djava.io.tmpdir=" + temporary,
                        "-XX:-UsePerfData",
                        "-cp",
                        System.getProperty("java.class.path"),
                        Evaluation.class.getName())
                .inheritIO()
                .start();
        try {
            Awaitility.await("an index")
                    .atMost(Duration.ofSeconds(30))
                    .ignoreExceptions()
                    .until(() -> left() > 20);

            evaluation.destroy();

            assertThat(evaluation.waitFor(20, TimeUnit.SECONDS)).isTrue();
            assertThat(left()).isZero();
        } finally {
            evaluation.destroyForcibly().waitFor();
        }
    }

    @Test
    void shouldLeaveNothingWhenItEnds() throws Exception {
        Path file;
        try (ScratchFolder scratch = new ScratchFolder()) {
            file = Files.writeString(scratch.resolve("file"), "x");
        }

        assertThat(file.getParent()).doesNotExist();
    }
}
