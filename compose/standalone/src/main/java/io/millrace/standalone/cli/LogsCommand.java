package io.millrace.standalone.cli;

import io.millrace.standalone.error.UserException;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.stream.Stream;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code millrace logs}. */
@Command(name = "logs", description = "What the instance on the data folder wrote.", mixinStandardHelpOptions = true)
public final class LogsCommand implements Callable<Integer> {
    private static final long FOLLOW_MS = 300;
    private static final int AT_ONCE = 1 << 20;

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
        byte[] written = Files.readAllBytes(file);
        // decoded without complaint: a log that is being written may end within a character
        List<String> all = new String(written, StandardCharsets.UTF_8).lines().toList();
        all.subList(Math.max(0, all.size() - lines), all.size()).forEach(Terminal::line);
        long position = written.length;
        while (follow) {
            Thread.sleep(FOLLOW_MS);
            if (!Files.exists(file)) {
                // between two steps of its roll
                continue;
            }
            long size = Files.size(file);
            if (size < position) {
                // it was rolled: what came to it before is in the newest of the old ones
                rest(file, position);
                position = 0;
            }
            try (RandomAccessFile in = new RandomAccessFile(file.toFile(), "r")) {
                in.seek(position);
                byte[] more = new byte[(int) Math.min(AT_ONCE, size - position)];
                in.readFully(more);
                int whole = wholeLines(more);
                if (whole > 0) {
                    Terminal.line(new String(more, 0, whole, StandardCharsets.UTF_8).stripTrailing());
                    position += whole;
                }
            }
        }
        return 0;
    }

    /** Prints what an old log has from here on. */
    private static void rest(Path file, long position) throws IOException {
        Optional<Path> newest;
        try (Stream<Path> old = Files.list(Objects.requireNonNull(file.getParent()))) {
            newest = old.filter(each -> each.getFileName().toString().startsWith(file.getFileName() + "."))
                    .max(Comparator.comparingLong(each -> each.toFile().lastModified()));
        }
        if (newest.isPresent()) {
            byte[] written = Files.readAllBytes(newest.get());
            if (written.length > position) {
                Terminal.line(
                        new String(written, (int) position, (int) (written.length - position), StandardCharsets.UTF_8)
                                .stripTrailing());
            }
        }
    }

    /** So many bytes end with a line, so that no character is cut; all, when there is no end of a line in as many as are read at once. */
    private static int wholeLines(byte[] bytes) {
        int end = bytes.length;
        while (end > 0 && bytes[end - 1] != '\n') {
            end--;
        }
        return end == 0 && bytes.length == AT_ONCE ? bytes.length : end;
    }
}
