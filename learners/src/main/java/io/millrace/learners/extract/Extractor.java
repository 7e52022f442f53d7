package io.millrace.learners.extract;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Reads PDF, Office and other files with Apache Tika, in a process of its own: a file that needs more memory than it may have, or does
 * not end, costs that process and nothing else. It is started with the first file and stopped after a minute without one.
 *
 * <p>Limits: 30 s and 256 MB of heap a file, {@value #MAX_CHARS} characters of text; Tika itself refuses what unpacks to 100 times its
 * size (zip bombs).
 */
public final class Extractor implements AutoCloseable {
    /** Longest text of a document. */
    public static final int MAX_CHARS = 2_000_000;

    private static final Logger LOG = LoggerFactory.getLogger(Extractor.class);
    private static final Duration IDLE = Duration.ofSeconds(60);

    private final Duration limit;
    private final ExecutorService waiting = Executors.newVirtualThreadPerTaskExecutor();
    private @Nullable Child child;
    private long lastUse;
    private @Nullable Future<?> reaper;

    /** A file that cannot be read; the message says why, for people. */
    public static class UnreadableException extends Exception {
        private static final long serialVersionUID = 1L;

        public UnreadableException(String message) {
            super(message);
        }
    }

    /** A file that can be read, and holds no text. */
    public static final class NoTextException extends UnreadableException {
        private static final long serialVersionUID = 1L;

        public NoTextException() {
            super("there is no text in it");
        }
    }

    private record Child(Process process, DataOutputStream in, DataInputStream out) {}

    private record Answer(boolean good, String text) {}

    public Extractor() {
        this(Duration.ofSeconds(30));
    }

    Extractor(Duration limit) {
        this.limit = limit;
    }

    /**
     * The text of a file, one file at a time.
     *
     * @throws UnreadableException when it has none, is broken, or is over a limit
     */
    public synchronized HtmlText.Page extract(String name, String mediaType, byte[] bytes)
            throws UnreadableException, InterruptedException {
        if (bytes.length == 0) {
            // to the parser it is a broken one
            throw new NoTextException();
        }
        Child running = running();
        CompletableFuture<Answer> answer = new CompletableFuture<>();
        waiting.execute(() -> {
            try {
                answer.complete(ask(running, name, mediaType, bytes));
            } catch (IOException | RuntimeException e) {
                answer.completeExceptionally(e);
            }
        });
        try {
            Answer given = answer.get(limit.toMillis(), TimeUnit.MILLISECONDS);
            if (!given.good()) {
                throw new UnreadableException(given.text());
            }
            HtmlText.Page page = HtmlText.of(given.text());
            if (page.text().isBlank()) {
                throw new NoTextException();
            }
            return page;
        } catch (TimeoutException e) {
            stop();
            throw new UnreadableException("is not parsed within " + limit.toSeconds() + " s");
        } catch (ExecutionException e) {
            stop();
            throw new UnreadableException("ended the parser: " + e.getCause());
        } catch (InterruptedException e) {
            stop();
            throw e;
        } finally {
            lastUse = System.nanoTime();
        }
    }

    private static Answer ask(Child child, String name, String mediaType, byte[] bytes) throws IOException {
        child.in.writeUTF(name.length() > 1_000 ? name.substring(name.length() - 1_000) : name);
        child.in.writeUTF(mediaType);
        child.in.writeInt(bytes.length);
        child.in.write(bytes);
        child.in.flush();
        boolean good = child.out.readBoolean();
        return new Answer(good, new String(child.out.readNBytes(child.out.readInt()), StandardCharsets.UTF_8));
    }

    private Child running() throws UnreadableException {
        Child known = child;
        if (known != null && known.process.isAlive()) {
            return known;
        }
        try {
            Process process = new ProcessBuilder(List.of(
                            Path.of(System.getProperty("java.home"), "bin", "java")
                                    .toString(),
                            "-XX:+UseSerialGC",
                            "-Xmx256m",
                            "-Xss1m",
                            "-XX:TieredStopAtLevel=1",
                            "-XX:-UsePerfData",
                            "-Djava.awt.headless=true",
                            "-Djava.io.tmpdir=" + System.getProperty("java.io.tmpdir"),
                            "-cp",
                            System.getProperty("java.class.path"),
                            ExtractorMain.class.getName(),
                            String.valueOf(MAX_CHARS)))
                    .redirectError(ProcessBuilder.Redirect.DISCARD)
                    .start();
            Child started = new Child(
                    process,
                    new DataOutputStream(new BufferedOutputStream(process.getOutputStream())),
                    new DataInputStream(new BufferedInputStream(process.getInputStream())));
            child = started;
            lastUse = System.nanoTime();
            if (reaper == null) {
                reaper = waiting.submit(this::reap);
            }
            return started;
        } catch (IOException e) {
            throw new UnreadableException("no parser can be started: " + e.getMessage());
        }
    }

    private void reap() {
        try {
            while (true) {
                Thread.sleep(IDLE.toMillis() / 4);
                synchronized (this) {
                    if (child != null && System.nanoTime() - lastUse > IDLE.toNanos()) {
                        stop();
                    }
                }
            }
        } catch (InterruptedException e) {
            LOG.debug("the extractor is closed");
        }
    }

    private void stop() {
        Child known = child;
        child = null;
        if (known != null) {
            known.process.destroyForcibly();
        }
    }

    @Override
    public synchronized void close() {
        stop();
        waiting.shutdownNow();
    }
}
