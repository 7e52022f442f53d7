package io.millrace.standalone;

import io.millrace.knowledge.Searcher;
import io.millrace.learners.knowledge.FolderLoader;
import io.millrace.log.Log;
import io.millrace.standalone.Standalone.Knowledge;
import io.millrace.standalone.cli.Terminal;
import io.millrace.standalone.error.UserException;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.stream.Collectors;

/** Folders on their way into the index, one after the other, with progress told every other second, and what is left out on standard error. */
final class Ingestion implements AutoCloseable {
    private static final Duration TELL_EVERY = Duration.ofSeconds(2);
    private static final Duration LOOK_EVERY = Duration.ofMillis(50);

    private final Log log;
    private final Searcher searcher;
    private final Path logFile;
    private final Consumer<String> say;
    private final CountDownLatch done = new CountDownLatch(1);
    private final Thread thread;

    private Ingestion(Log log, Searcher searcher, List<Knowledge> folders, Path logFile, Consumer<String> say) {
        this.log = log;
        this.searcher = searcher;
        this.logFile = logFile;
        this.say = say;
        this.thread = Thread.ofVirtual().name("ingestion").unstarted(() -> {
            try {
                for (Knowledge folder : folders) {
                    ingest(folder);
                }
            } catch (InterruptedException e) {
                // the process stops; what was sent is in the log and goes on at the next start
            } finally {
                done.countDown();
            }
        });
    }

    /** @param logFile where the files that are left out are named */
    static Ingestion start(Log log, Searcher searcher, List<Knowledge> folders, Path logFile, Consumer<String> say) {
        Ingestion ingestion = new Ingestion(log, searcher, folders, logFile, say);
        ingestion.thread.start();
        return ingestion;
    }

    /** Waits until all is searchable, but not longer than this. */
    void await(Duration longest) {
        try {
            if (!done.await(longest.toMillis(), TimeUnit.MILLISECONDS)) {
                say.accept("knowledge: the rest follows while queries are answered already");
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new UserException("interrupted while knowledge was ingested", e);
        }
    }

    private void ingest(Knowledge folder) throws InterruptedException {
        try {
            FolderLoader.Outcome outcome =
                    new FolderLoader(log).load(folder.folder(), folder.name(), folder.collection());
            warn(folder, outcome.leftOut());
            List<FolderLoader.Loaded> loaded = outcome.loaded();
            List<FolderLoader.Loaded> waiting = new ArrayList<>(loaded);
            long told = System.nanoTime();
            while (!waiting.isEmpty()) {
                waiting.removeIf(document -> searcher.index().hasDocument(document.documentId(), document.checksum()));
                if (System.nanoTime() - told > TELL_EVERY.toNanos() && !waiting.isEmpty()) {
                    told = System.nanoTime();
                    say.accept("knowledge %s: %d of %d documents"
                            .formatted(folder.name(), loaded.size() - waiting.size(), loaded.size()));
                }
                Thread.sleep(LOOK_EVERY);
            }
            say.accept("knowledge %s: %d documents".formatted(folder.name(), loaded.size()));
        } catch (IOException e) {
            say.accept("knowledge %s: %s cannot be read: %s".formatted(folder.name(), folder.folder(), e.getMessage()));
        }
    }

    private void warn(Knowledge folder, Map<FolderLoader.Reason, Integer> leftOut) {
        int files = leftOut.values().stream().mapToInt(Integer::intValue).sum();
        if (files > 0) {
            String reasons = leftOut.entrySet().stream()
                    .map(each -> each.getValue() + " " + each.getKey().words())
                    .collect(Collectors.joining(", "));
            Terminal.error(Terminal.inLine("knowledge %s: %d %s left out (%s); see %s"
                    .formatted(folder.name(), files, files == 1 ? "file" : "files", reasons, logFile)));
        }
    }

    @Override
    public void close() {
        thread.interrupt();
        try {
            thread.join(Duration.ofSeconds(1));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
