package io.millrace.bench.process;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * A process under test, its output in a file. It does not outlive us: beside it runs a shell that reads from a pipe which only we hold. When the
 * kernel closes that, after a kill -9 of this process, the shell kills the other.
 */
public final class Program implements AutoCloseable {
    private static final String LIFELINE = "trap '' INT TERM HUP; read -r _; kill -s KILL \"$0\"";

    private static final Duration STOP_WITHIN = Duration.ofSeconds(15);

    private final String name;
    private final Path output;
    private final Process process;

    private Program(String name, Path output, Process process) {
        this.name = name;
        this.output = output;
        this.process = process;
    }

    /**
     * Starts it, and what ends it with us.
     *
     * @param output where both its streams go; overwritten
     * @param variables on top of this process's environment
     */
    public static Program start(String name, Path output, Map<String, String> variables, List<String> command) {
        try {
            ProcessBuilder builder =
                    new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(output.toFile());
            builder.environment().putAll(variables);
            Process process = builder.start();
            Process lifeline = new ProcessBuilder("/bin/sh", "-c", LIFELINE, String.valueOf(process.pid()))
                    .redirectOutput(ProcessBuilder.Redirect.DISCARD)
                    .redirectError(ProcessBuilder.Redirect.DISCARD)
                    .start();
            // its pid may be another's soon
            process.onExit().thenRun(lifeline::destroyForcibly);
            return new Program(name, output, process);
        } catch (IOException e) {
            throw new UncheckedIOException(name + " does not start", e);
        }
    }

    /**
     * Waits until its output has what the pattern finds.
     *
     * @return the pattern's first group
     * @throws IllegalStateException when it ends before, or takes longer
     */
    public String await(Pattern pattern, Duration atMost) {
        long end = System.nanoTime() + atMost.toNanos();
        while (true) {
            boolean alive = process.isAlive();
            String text = output();
            Matcher matcher = pattern.matcher(text);
            if (matcher.find()) {
                return matcher.group(1);
            }
            if (!alive || System.nanoTime() > end) {
                throw new IllegalStateException(
                        name + (alive ? " does not say " + pattern : " ended") + "; it said:\n" + text);
            }
            pause(20);
        }
    }

    /** What it wrote so far. */
    public String output() {
        try {
            return Files.readString(output, StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Its process id. */
    public long pid() {
        return process.pid();
    }

    /** Whether it runs. */
    public boolean isAlive() {
        return process.isAlive();
    }

    /** Kills it as a power cut would, and waits until it is gone. Its children are left to themselves. */
    public void kill() {
        try {
            // destroyForcibly sends SIGKILL on Unix
            process.destroyForcibly().waitFor();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted", e);
        }
    }

    /**
     * Memory of it and its descendants, bytes: proportional set size, where pages that processes share are divided among them. Empty
     * where the system does not tell it.
     */
    public Optional<Long> memory() {
        try (Stream<ProcessHandle> tree = Stream.concat(Stream.of(process.toHandle()), process.descendants())) {
            long sum = 0;
            for (ProcessHandle each : tree.toList()) {
                sum += pss(each.pid());
            }
            return sum == 0 ? Optional.empty() : Optional.of(sum);
        }
    }

    private static long pss(long pid) {
        Path rollup = Path.of("/proc", Long.toString(pid), "smaps_rollup");
        try (Stream<String> lines = Files.lines(rollup)) {
            return lines.filter(line -> line.startsWith("Pss:"))
                    .mapToLong(line -> Long.parseLong(line.replaceAll("\\D", "")) * 1_024)
                    .sum();
        } catch (IOException | UncheckedIOException e) {
            // gone meanwhile, or no such thing here
            return 0;
        }
    }

    /** Asks it to stop, and kills it when it does not. */
    @Override
    public void close() {
        process.destroy();
        try {
            if (!process.waitFor(STOP_WITHIN.toMillis(), TimeUnit.MILLISECONDS)) {
                System.err.println(name + " does not stop and is killed");
                kill();
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            kill();
        }
    }

    private static void pause(long ms) {
        try {
            Thread.sleep(ms);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted", e);
        }
    }
}
