package io.millrace.standalone;

import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.bench.crash.CrashRun;
import io.millrace.bench.process.Program;
import java.io.BufferedReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Law 4 under SIGKILL: services as processes, each kind of them and the parts killed under load. The benchmark does this for longer. */
class CrashIT {
    private static final int ROUNDS = 2;
    private static final int PER_SECOND = 20;

    @TempDir
    Path folder;

    @Test
    void shouldEndEachAcceptedQueryExactlyOnceWhenProcessesAreKilled() throws Exception {
        try (CrashRun run =
                new CrashRun(Millrace.command(), folder, System.nanoTime(), line -> System.out.println(line))) {
            CrashRun.Verdict verdict = run.run(CrashRun.kinds(), ROUNDS, PER_SECOND);

            System.out.println(verdict);
            assertThat(verdict.holds()).as("%s", verdict).isTrue();
            assertThat(verdict.accepted())
                    .isGreaterThan(ROUNDS * PER_SECOND * CrashRun.kinds().size());
            assertThat(verdict.outcomes().get("answered"))
                    .as("some go on as if nothing had happened; on a slow machine something is away most of the time")
                    .isGreaterThan(verdict.accepted() / 10);
            assertThat(verdict.client().get("answered")).isGreaterThan(verdict.accepted() / 10L);
        }
        // where rebuild looks, whichever process wrote it
        try (Stream<Path> archived = Files.walk(folder.resolve("data/archive"))) {
            assertThat(archived.filter(each -> each.toString().endsWith(".avro")))
                    .isNotEmpty();
        }
    }

    /** A test whose JVM is killed: its services must not go on without it. */
    @Test
    void shouldTakeTheServicesAlongWhenTheTestIsKilled() throws Exception {
        Path output = folder.resolve("service.log");
        Process test = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-cp",
                        System.getProperty("java.class.path"),
                        Killed.class.getName(),
                        output.toString())
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        long pid;
        try (BufferedReader said = test.inputReader()) {
            pid = Long.parseLong(String.valueOf(said.readLine()));
            ProcessHandle service = ProcessHandle.of(pid).orElseThrow();
            assertThat(service.isAlive()).isTrue();

            test.destroyForcibly().waitFor();

            Awaitility.await("the service ends").atMost(Duration.ofSeconds(30)).until(() -> !service.isAlive());
        } finally {
            test.destroyForcibly();
        }
    }

    /** Starts a service, says its pid, and waits to be killed. */
    static final class Killed {
        private Killed() {}

        public static void main(String[] arguments) throws InterruptedException {
            Program service = Program.start("service", Path.of(arguments[0]), Map.of(), List.of("sleep", "300"));
            System.out.println(service.pid());
            Thread.sleep(Duration.ofMinutes(5));
        }
    }
}
