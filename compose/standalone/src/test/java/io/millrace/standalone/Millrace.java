package io.millrace.standalone;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.awaitility.Awaitility;

/** The command line in a JVM of its own, as a user runs it. */
public final class Millrace {
    private static final Pattern READY = Pattern.compile("millrace ready (http\\S+)");

    /** A start takes less, on a busy machine too. */
    private static final Duration START = Duration.ofMinutes(2);

    private Millrace() {}

    /** What came of a command. */
    record Result(int code, String out, String err) {
        /** Lines on standard error. */
        List<String> complaints() {
            return err.lines().toList();
        }
    }

    /** Starts a command; its output goes to {@code <name>.out} and {@code <name>.err} in this folder. */
    static Process start(Path folder, String name, Map<String, String> environment, String... arguments)
            throws IOException {
        return start(folder, name, environment, List.of(), arguments);
    }

    /** @param prefix a command that runs the one which follows it */
    static Process start(
            Path folder, String name, Map<String, String> environment, List<String> prefix, String... arguments)
            throws IOException {
        return start(command(), folder, name, environment, prefix, arguments);
    }

    /** Starts a command of an installation that has other jars. */
    static Process startWith(String classPath, Path folder, String name, String... arguments) throws IOException {
        List<String> command = new ArrayList<>(jvm());
        command.addAll(List.of("-cp", classPath, Main.class.getName()));
        return start(command, folder, name, Map.of(), List.of(), arguments);
    }

    /** The product as it is built, with what the build made so that it starts sooner. */
    public static List<String> command() throws IOException {
        List<String> command = new ArrayList<>(jvm());
        Path jar = Path.of(System.getProperty("millrace.jar"));
        Path cache = Path.of(System.getProperty("millrace.aot"), "main.aot");
        if (Files.exists(cache) && isOf(cache, jar)) {
            command.addAll(List.of("-XX:AOTCache=" + cache, "-Xlog:aot*=off", "-Xlog:aot*=error:stderr"));
        }
        command.addAll(List.of("-jar", jar.toString()));
        return command;
    }

    /** The JVM does not look whether the jars that another names have changed since: it would run their old classes. */
    private static boolean isOf(Path cache, Path jar) throws IOException {
        FileTime made = Files.getLastModifiedTime(cache);
        try (Stream<Path> others = Files.list(jar.resolveSibling("lib"))) {
            for (Path each : Stream.concat(Stream.of(jar), others).toList()) {
                if (Files.getLastModifiedTime(each).compareTo(made) > 0) {
                    return false;
                }
            }
        }
        return true;
    }

    private static List<String> jvm() {
        return List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-XX:+UseSerialGC",
                "-XX:+UseCompactObjectHeaders",
                "-XX:TieredStopAtLevel=1",
                "-XX:-UsePerfData",
                "-Xmx384m",
                "--enable-native-access=ALL-UNNAMED",
                "--sun-misc-unsafe-memory-access=allow",
                "-Dmillrace.registry=" + System.getProperty("millrace.registry"),
                "-Dmillrace.aot=" + System.getProperty("millrace.aot"));
    }

    private static Process start(
            List<String> millrace,
            Path folder,
            String name,
            Map<String, String> environment,
            List<String> prefix,
            String... arguments)
            throws IOException {
        List<String> command = new ArrayList<>(prefix);
        command.addAll(millrace);
        command.addAll(List.of(arguments));
        ProcessBuilder builder = new ProcessBuilder(command)
                .redirectOutput(folder.resolve(name + ".out").toFile())
                .redirectError(folder.resolve(name + ".err").toFile());
        // what the machine sets is not for the test
        builder.environment().keySet().removeIf(variable -> variable.startsWith("MILLRACE_"));
        builder.environment().putAll(environment);
        return builder.start();
    }

    /** Runs a command to its end, which must come within a minute. */
    static Result run(Path folder, Map<String, String> environment, String... arguments)
            throws IOException, InterruptedException {
        String name = "run-" + System.nanoTime();
        Process process = start(folder, name, environment, arguments);
        if (!process.waitFor(60, TimeUnit.SECONDS)) {
            process.destroyForcibly().waitFor();
            throw new AssertionError(List.of(arguments) + " did not end; it said " + said(folder, name));
        }
        return new Result(process.exitValue(), read(folder, name + ".out"), read(folder, name + ".err"));
    }

    /**
     * Waits until a started {@code up} is ready.
     *
     * @param name of its output
     * @return where it listens
     */
    static String awaitReady(Process up, Path folder, String name) {
        return Awaitility.await("ready")
                .atMost(START)
                .until(
                        () -> {
                            assertThat(up.isAlive()).as(said(folder, name)).isTrue();
                            Matcher ready = READY.matcher(read(folder, name + ".out"));
                            return ready.find() ? ready.group(1) : "";
                        },
                        url -> !url.isEmpty());
    }

    /** Ends a process as {@code down} does, and as a kill does when that takes too long. */
    static void stop(Process process) throws InterruptedException {
        process.destroy();
        if (!process.waitFor(15, TimeUnit.SECONDS)) {
            process.destroyForcibly().waitFor();
        }
    }

    /** What a command has said so far. */
    static String said(Path folder, String name) throws IOException {
        return read(folder, name + ".out") + read(folder, name + ".err");
    }

    static String read(Path folder, String file) throws IOException {
        return Files.readString(folder.resolve(file), StandardCharsets.UTF_8);
    }
}
