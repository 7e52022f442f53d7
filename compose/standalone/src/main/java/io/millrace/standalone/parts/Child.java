package io.millrace.standalone.parts;

import io.millrace.standalone.error.UserException;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A child process that dies with us.
 *
 * <p>It runs under a shell whose standard input is a pipe that only we hold. When the pipe closes, by {@link #stop} or because the
 * kernel closed it after a kill -9 of this process, the shell signals the child, and kills it when that does not help. Should the
 * shell be killed too, the next start finds the child by the pid and start that are recorded.
 */
final class Child {
    private static final Logger LOG = LoggerFactory.getLogger(Child.class);

    /** Longest wait for a child that was asked to stop, seconds. */
    static final int PATIENCE_SECONDS = 6;

    private static final Duration ANSWERS_WITHIN = Duration.ofSeconds(60);
    /** Begins a line of the log before what each start says. */
    private static final String START = "--- start";

    private static final long LOG_LIMIT_BYTES = 10L << 20;

    /**
     * Arguments: signal, seconds until KILL follows it, pid file, command. The watcher must not hold the child's pipe ends, and a shell without job control gives
     * background jobs /dev/null as input, hence descriptor 3.
     */
    private static final String WATCHDOG = """
            signal=$1 tries=$(($2 * 20)) pidfile=$3; shift 3
            trap '' INT HUP
            exec 3<&0
            "$@" </dev/null 3<&- &
            pid=$!
            echo "$pid" >"$pidfile"
            (
              read -r _ <&3
              kill -s "$signal" "$pid"
              while kill -0 "$pid" && [ "$tries" -gt 0 ]; do sleep 0.05; tries=$((tries - 1)); done
              kill -s KILL "$pid"
            ) >/dev/null 2>&1 &
            watcher=$!
            wait "$pid"
            code=$?
            kill -s KILL "$watcher" 2>/dev/null
            exit "$code"
            """;

    private final String name;
    private final Process shell;
    private final Path record;
    private final int patience;

    private Child(String name, Process shell, Path record, int patience) {
        this.name = name;
        this.shell = shell;
        this.record = record;
        this.patience = patience;
    }

    /**
     * Starts a command; its output goes to {@code logs/<name>.log}.
     *
     * @param signal what asks it to stop: TERM, or INT for PostgreSQL's fast shutdown
     * @param patience seconds until it is killed when that does not help
     */
    static Child start(
            DataFolder data,
            String name,
            String signal,
            int patience,
            List<String> command,
            Map<String, String> environment) {
        Path record = data.folder("children").resolve(name);
        Path pidFile = data.folder("children").resolve(name + ".pid");
        Path log = logFile(data, name);
        try {
            Files.deleteIfExists(pidFile);
            if (Files.exists(log) && Files.size(log) > LOG_LIMIT_BYTES) {
                Files.delete(log);
            }
            Files.writeString(
                    log, START + " " + Instant.now() + "\n", StandardOpenOption.CREATE, StandardOpenOption.APPEND);
            List<String> watched = new ArrayList<>();
            // a session of its own, where there is setsid: Ctrl-C in a terminal is for us, and we stop things in order
            onPath("setsid").ifPresent(setsid -> watched.add(setsid.toString()));
            watched.addAll(List.of(
                    "/bin/sh",
                    "-c",
                    WATCHDOG,
                    "millrace-" + name,
                    signal,
                    String.valueOf(patience),
                    pidFile.toString()));
            watched.addAll(command);
            ProcessBuilder builder = new ProcessBuilder(watched)
                    .directory(data.root().toFile())
                    .redirectErrorStream(true)
                    .redirectOutput(ProcessBuilder.Redirect.appendTo(log.toFile()));
            builder.environment().putAll(environment);
            Process shell = builder.start();
            Child child = new Child(name, shell, record, patience);
            child.record(data, pidFile, signal);
            return child;
        } catch (IOException e) {
            throw new UserException(name + " cannot be started: " + e.getMessage(), e);
        }
    }

    private void record(DataFolder data, Path pidFile, String signal) throws IOException {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(5);
        while (System.nanoTime() < end && shell.isAlive()) {
            if (Files.exists(pidFile) && Files.size(pidFile) > 1) {
                long pid = Long.parseLong(Files.readString(pidFile).strip());
                Optional<Instant> started =
                        ProcessHandle.of(pid).flatMap(handle -> handle.info().startInstant());
                if (started.isPresent()) {
                    Properties properties = new Properties();
                    properties.setProperty("pid", String.valueOf(pid));
                    properties.setProperty(
                            "started", String.valueOf(started.get().toEpochMilli()));
                    properties.setProperty("mark", ProcessMark.of(pid));
                    properties.setProperty("signal", signal);
                    data.store("children/" + name, properties);
                }
                return;
            }
            pause(Duration.ofMillis(5));
        }
    }

    boolean isAlive() {
        return shell.isAlive();
    }

    /**
     * Waits until the child answers a GET with 200.
     *
     * @param what it is, for the message
     * @throws UserException when it stops before that, or does not answer within a minute
     */
    void awaitAnswer(DataFolder data, String what, URI url) {
        long end = System.nanoTime() + ANSWERS_WITHIN.toNanos();
        try (HttpClient http = HttpClient.newBuilder()
                .version(HttpClient.Version.HTTP_1_1)
                .connectTimeout(Duration.ofSeconds(1))
                .build()) {
            HttpRequest request =
                    HttpRequest.newBuilder(url).timeout(Duration.ofSeconds(5)).build();
            while (!answers(http, request)) {
                if (!isAlive()) {
                    throw new UserException(what + " stopped at once: " + lastWords(data, name));
                }
                if (System.nanoTime() > end) {
                    throw new UserException(what + " does not answer: " + lastWords(data, name));
                }
                pause(Duration.ofMillis(20));
            }
        }
    }

    private static boolean answers(HttpClient http, HttpRequest request) {
        try {
            return http.send(request, HttpResponse.BodyHandlers.discarding()).statusCode() == 200;
        } catch (IOException e) {
            return false;
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new UserException("interrupted while starting", e);
        }
    }

    /** Asks the child to stop, waits, and kills it in the end. */
    void stop() {
        try {
            shell.getOutputStream().close();
            if (!shell.waitFor(patience + 1L, TimeUnit.SECONDS)) {
                LOG.warn("{} did not stop and is killed", name);
                List<ProcessHandle> below = shell.descendants().toList();
                shell.destroyForcibly();
                below.forEach(ProcessHandle::destroyForcibly);
            }
            Files.deleteIfExists(record);
            Files.deleteIfExists(record.resolveSibling(name + ".pid"));
        } catch (IOException e) {
            LOG.warn("{}: {}", name, e.toString());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /**
     * Ends what an earlier, killed instance left running. Only processes whose pid and start are as recorded are touched.
     *
     * @return names of the parts that were still there
     */
    static List<String> reap(DataFolder data) {
        List<String> reaped = new ArrayList<>();
        try (Stream<Path> files = Files.list(data.folder("children"))) {
            for (Path file :
                    files.filter(file -> !file.toString().endsWith(".pid")).toList()) {
                Properties record = data.load("children/" + file.getFileName());
                Optional<ProcessHandle> orphan = recorded(record);
                if (orphan.isPresent()) {
                    reaped.add(String.valueOf(file.getFileName()));
                    end(orphan.get(), record.getProperty("signal", "TERM"));
                }
                Files.deleteIfExists(file);
            }
        } catch (IOException e) {
            throw new UserException("what an earlier run left cannot be looked up: " + DataFolder.reason(e), e);
        }
        return reaped;
    }

    private static Optional<ProcessHandle> recorded(Properties record) {
        long pid = DataFolder.number(record, "pid");
        long started = DataFolder.number(record, "started");
        // the kernel counts from boot and the boot time is rounded, so the same process may be read a second apart
        return ProcessMark.find(
                pid, record.getProperty("mark", ""), at -> Math.abs(at.toEpochMilli() - started) <= 1_500);
    }

    /** Signals a process that is not ours to wait for, and kills it when it stays. */
    static void end(ProcessHandle handle, String signal) throws IOException {
        try {
            new ProcessBuilder("/bin/sh", "-c", "kill -s \"$0\" \"$1\"", signal, String.valueOf(handle.pid()))
                    .redirectErrorStream(true)
                    .redirectOutput(ProcessBuilder.Redirect.DISCARD)
                    .start()
                    .waitFor();
            long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_SECONDS);
            while (handle.isAlive() && System.nanoTime() < end) {
                Thread.sleep(10);
            }
            if (handle.isAlive()) {
                handle.destroyForcibly();
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    static Path logFile(DataFolder data, String name) {
        return data.folder("logs").resolve(name + ".log");
    }

    /** The last line of this start that says why, for a message of one line. */
    static String lastWords(DataFolder data, String name) {
        try {
            List<String> all = Files.readAllLines(logFile(data, name));
            int start = IntStream.range(0, all.size())
                    .filter(line -> all.get(line).startsWith(START))
                    .max()
                    .orElse(-1);
            List<String> lines = all.subList(start + 1, all.size());
            return lines.stream()
                    .filter(line -> line.contains("FATAL") || line.contains("ERROR") || line.contains("rror:"))
                    .reduce((first, second) -> second)
                    .or(() -> lines.stream().filter(line -> !line.isBlank()).reduce((first, second) -> second))
                    .orElse("it said nothing");
        } catch (IOException e) {
            return "see " + logFile(data, name);
        }
    }

    /** An executable of this name on the PATH. */
    static Optional<Path> onPath(String executable) {
        String path = System.getenv("PATH");
        return Stream.of((path == null ? "" : path).split(java.io.File.pathSeparator))
                .filter(folder -> !folder.isEmpty())
                .map(folder -> Path.of(folder, executable))
                .filter(Files::isExecutable)
                .findFirst();
    }

    /** Whether a command runs on this machine at all: it exits with 0 within 5 s. */
    static boolean runs(List<String> command) {
        try {
            Process process = new ProcessBuilder(command)
                    .redirectErrorStream(true)
                    .redirectOutput(ProcessBuilder.Redirect.DISCARD)
                    .start();
            if (process.waitFor(5, TimeUnit.SECONDS)) {
                return process.exitValue() == 0;
            }
            process.destroyForcibly();
            return false;
        } catch (IOException e) {
            return false;
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return false;
        }
    }

    static void pause(Duration duration) {
        try {
            Thread.sleep(duration);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new UserException("interrupted while starting", e);
        }
    }
}
