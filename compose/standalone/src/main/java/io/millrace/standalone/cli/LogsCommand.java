package io.millrace.standalone.cli;

import io.millrace.standalone.error.UserException;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code millrace logs}. */
@Command(name = "logs", description = "What the instance on the data folder wrote.", mixinStandardHelpOptions = true)
public final class LogsCommand implements Callable<Integer> {
    private static final long FOLLOW_MS = 300;

    @Mixin
    private DataOption data = new DataOption();

    @Option(names = "-f", description = "Go on as more is written.")
    private boolean follow;

    @Option(
            names = "-n",
            paramLabel = "LINES",
            description = "How many lines to begin with. Default: ${DEFAULT-VALUE}.")
    private int lines = 50;

    @Override
    public Integer call() throws IOException, InterruptedException {
        if (lines < 0) {
            throw new UserException("-n is " + lines + " and must be 0 or more");
        }
        Path file = data.folder().resolve("logs/millrace.log");
        if (!Files.exists(file)) {
            throw new UserException("there is no log yet at " + file);
        }
        long position = Files.size(file);
        // decoded without complaint: a log that is being written may end within a character
        List<String> all = new String(Files.readAllBytes(file), StandardCharsets.UTF_8)
                .lines()
                .toList();
        all.subList(Math.max(0, all.size() - lines), all.size()).forEach(System.out::println);
        while (follow) {
            Thread.sleep(FOLLOW_MS);
            if (!Files.exists(file)) {
                // between two steps of its roll
                continue;
            }
            long size = Files.size(file);
            if (size < position) {
                // the log was rolled
                position = 0;
            }
            try (RandomAccessFile in = new RandomAccessFile(file.toFile(), "r")) {
                in.seek(position);
                byte[] more = new byte[(int) Math.min(1 << 20, size - position)];
                in.readFully(more);
                System.out.write(more, 0, more.length);
                System.out.flush();
                position += more.length;
            }
        }
        return 0;
    }
}
