package io.millrace.standalone.parts;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A child process that cannot outlive this one.
 *
 * <p>It runs under a shell that waits for the end of a pipe whose other end we hold: when we die, however we die, the pipe closes and
 * the shell stops the child. What even that misses (the shell killed too) is recorded by pid and start time, and reaped at the next
 * start.
 */
public final class Child implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(Child.class);

    /** {@code $1} is the signal that stops the child in good order; KILL follows after five seconds. */
    private static final String WATCHDOG = """
            signal=$1; shift
            exec 3<&0
            "$@" </dev/null 3<&- &
            child=$!
            echo $child
            (cat <&3 >/dev/null; kill -$signal $child 2>/dev/null; n=0
             while kill -0 $child 2>/dev/null && [ $n -lt 50 ]; do sleep 0.1; n=$((n+1)); done
             kill -KILL $child 2>/dev/null) &
            watch=$!
            exec 3<&-
            wait $child
            code=$?
            kill $watch 2>/dev/null
            exit $code
            """;

    private final String name;
    private final Process shell;
    private final long pid;
    private final Path record;

    private Child(String name, Process shell, long pid, Path record) {
        this.name = name;
        this.shell = shell;
        this.pid = pid;
        this.record = record;
    }

    /**
     * Starts a child.
     *
     * @param signal that stops it in good order: TERM, INT
     * @param runFolder where pid and start time are recorded
     */
    public static Child start(
            String name,
            String signal,
            List<String> command,
            Map<String, String> environment,
            Path folder,
            Path logFile,
            Path runFolder) {
        List<String> line = new ArrayList<>(List.of("/bin/sh", "-c", WATCHDOG, "watchdog-" + name, signal));
        line.addAll(command);
        ProcessBuilder builder = new ProcessBuilder(line).directory(folder.toFile());
        builder.environment().putAll(environment);
        builder.redirectError(ProcessBuilder.Redirect.appendTo(logFile.toFile()));
        try {
            Process shell = builder.start();
            String first = shell.inputReader().readLine();
            if (first == null) {
                throw new IllegalStateException(name + " could not be started; see " + logFile);
            }
            long pid = Long.parseLong(first.strip());
            // what the child prints goes to its log, and must be read or it blocks
            Thread.ofVirtual().start(() -> drain(shell, logFile));
            Path record = runFolder.resolve(name + ".pid");
            Files.writeString(record, pid + " " + startedAt(pid).orElse(""));
            return new Child(name, shell, pid, record);
        } catch (IOException e) {
            throw new UncheckedIOException(name + " could not be started", e);
        }
    }

    private static void drain(Process shell, Path logFile) {
        try (var in = shell.getInputStream();
                var out = Files.newOutputStream(
                        logFile, java.nio.file.StandardOpenOption.CREATE, java.nio.file.StandardOpenOption.APPEND)) {
            in.transferTo(out);
        } catch (IOException e) {
            LOG.debug("the output of a child ended", e);
        }
    }

    /** Ends what an earlier run left behind. A pid that was given to another process since is left alone. */
    public static void reap(String name, Path runFolder, String signal) {
        Path record = runFolder.resolve(name + ".pid");
        try {
            if (!Files.exists(record)) {
                return;
            }
            String[] known = Files.readString(record).strip().split(" ", 2);
            long pid = Long.parseLong(known[0]);
            Optional<ProcessHandle> left = ProcessHandle.of(pid);
            if (left.isPresent() && known.length == 2 && startedAt(pid).equals(Optional.of(known[1]))) {
                LOG.warn("{} was left behind by an earlier run (pid {}) and is stopped", name, pid);
                new ProcessBuilder("kill", "-" + signal, String.valueOf(pid))
                        .start()
                        .waitFor();
                left.get().onExit().get(10, TimeUnit.SECONDS);
            }
            Files.delete(record);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } catch (IOException
                | NumberFormatException
                | java.util.concurrent.ExecutionException
                | java.util.concurrent.TimeoutException e) {
            LOG.warn("{}: what an earlier run left could not be stopped: {}", name, e.toString());
        }
    }

    private static Optional<String> startedAt(long pid) {
        return ProcessHandle.of(pid)
                .flatMap(handle -> handle.info().startInstant())
                .map(Object::toString);
    }

    /** The child's own pid. */
    public long pid() {
        return pid;
    }

    /** Whether it runs. */
    public boolean isAlive() {
        return shell.isAlive();
    }

    @Override
    public void close() {
        try {
            shell.getOutputStream().close();
            if (!shell.waitFor(7, TimeUnit.SECONDS)) {
                LOG.warn("{} did not stop and is killed", name);
                ProcessHandle.of(pid).ifPresent(ProcessHandle::destroyForcibly);
                shell.waitFor(Duration.ofSeconds(2));
            }
            Files.deleteIfExists(record);
        } catch (IOException e) {
            LOG.debug("{}: already gone", name, e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
