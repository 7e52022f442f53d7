package io.millrace.standalone;

import io.millrace.gateway.SearchPort;
import io.millrace.knowledge.VectorIndex;
import io.millrace.learners.knowledge.FolderLoader;
import io.millrace.standalone.Standalone.Knowledge;
import io.millrace.standalone.cli.Terminal;
import io.millrace.standalone.error.UserException;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import org.apache.kafka.common.errors.InterruptException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Folders on their way into the index, with progress told every other second, and what is left out on standard error. */
final class Ingestion implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(Ingestion.class);

    private static final Duration TELL_EVERY = Duration.ofSeconds(2);
    /** The log, how far the documents are: it costs two requests. */
    private static final Duration ASK_EVERY = Duration.ofSeconds(1);

    private static final Duration LOOK_EVERY = Duration.ofMillis(50);

    private final Services services;
    private final Path logFile;
    private final Consumer<String> say;
    private final CountDownLatch done = new CountDownLatch(1);
    private final Thread thread;

    private Ingestion(Services services, List<Knowledge> folders, Path logFile, Consumer<String> say) {
        this.services = services;
        this.logFile = logFile;
        this.say = say;
        this.thread = Thread.ofVirtual().name("ingestion").unstarted(() -> {
            try {
                // all of them first: a document of one that cannot be embedded now holds up no other
                List<Sent> sent = folders.stream()
                        .map(this::send)
                        .flatMap(Optional::stream)
                        .toList();
                SearchPort.Progress progress = services.writtenUntilNow();
                for (Sent each : sent) {
                    await(each, progress);
                }
            } catch (InterruptedException e) {
                // the process stops; what was sent is in the log and goes on at the next start
            } finally {
                done.countDown();
            }
        });
    }

    /** @param logFile where the files that are left out are named */
    static Ingestion start(Services services, List<Knowledge> folders, Path logFile, Consumer<String> say) {
        Ingestion ingestion = new Ingestion(services, folders, logFile, say);
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

    /** A folder whose documents are in the log. */
    private record Sent(Knowledge folder, List<FolderLoader.Loaded> documents) {}

    private Optional<Sent> send(Knowledge folder) {
        try {
            FolderLoader.Outcome outcome =
                    new FolderLoader(services.log()).load(folder.folder(), folder.name(), folder.collection());
            warn(folder, outcome.leftOut());
            return Optional.of(new Sent(folder, outcome.loaded()));
        } catch (IOException e) {
            say.accept("knowledge %s: %s cannot be read: %s".formatted(folder.name(), folder.folder(), e.getMessage()));
            return Optional.empty();
        } catch (InterruptException e) {
            // it is to stop; the next start does the rest
            return Optional.empty();
        } catch (RuntimeException e) {
            LOG.warn("{} was not taken into the log; the next start does", folder.folder(), e);
            say.accept("knowledge %s: the log does not take %s now, the next start does; see %s"
                    .formatted(folder.name(), folder.folder(), logFile));
            return Optional.empty();
        }
    }

    /** Waits for a folder's documents to be searchable, as far as they ever will be. */
    private void await(Sent sent, SearchPort.Progress progress) throws InterruptedException {
        VectorIndex index = services.searcher().orElseThrow().index();
        String name = sent.folder.name();
        int all = sent.documents.size();
        List<FolderLoader.Loaded> waiting = new ArrayList<>(sent.documents);
        long told = System.nanoTime();
        long asked = System.nanoTime();
        int toldOf = all;
        while (true) {
            // before the look: what came to the index since is seen by it
            boolean over = false;
            if (System.nanoTime() - asked > ASK_EVERY.toNanos()) {
                over = isOver(progress);
                asked = System.nanoTime();
            }
            try {
                waiting.removeIf(document -> index.hasDocument(document.documentId(), document.checksum()));
            } catch (RuntimeException e) {
                // whichever: each index has its own
                LOG.debug("the index does not say which documents it has", e);
            }
            if (waiting.isEmpty()) {
                say.accept("knowledge %s: %d documents".formatted(name, all));
                return;
            }
            if (over) {
                say.accept("knowledge %s: %d of %d documents; the others have no text that can be searched, see %s"
                        .formatted(name, all - waiting.size(), all, logFile));
                return;
            }
            if (waiting.size() < toldOf && System.nanoTime() - told > TELL_EVERY.toNanos()) {
                told = System.nanoTime();
                toldOf = waiting.size();
                say.accept("knowledge %s: %d of %d documents".formatted(name, all - waiting.size(), all));
            }
            Thread.sleep(LOOK_EVERY);
        }
    }

    /** Whether all that was sent is in the index or became a dead letter. */
    private static boolean isOver(SearchPort.Progress progress) throws InterruptedException {
        try {
            return progress.isVisible();
        } catch (InterruptedException e) {
            throw e;
        } catch (Exception e) {
            LOG.debug("the log does not say how far the documents are", e);
            return false;
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
