package io.millrace.learners.knowledge;

import io.millrace.log.Log;
import io.millrace.log.LogRecord;
import io.millrace.log.LogTail;
import io.millrace.log.Topics;
import io.millrace.schema.Document;
import io.millrace.service.Service;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import org.jspecify.annotations.Nullable;

/**
 * What is on {@code documents}, without its text: some 300 bytes a document in memory. It tells the normalizer what changes nothing,
 * and what a source has.
 */
public final class DocumentTable implements Service {
    private final Map<String, Entry> byId = new ConcurrentHashMap<>();
    private final Map<String, Map<String, String>> bySource = new ConcurrentHashMap<>();
    /** Offsets of our own writes that the tail has yet to reach. */
    private final Map<String, Long> ahead = new HashMap<>();

    private final LogTail<Document> tail;

    /** A document as it is on the log. */
    public record Entry(String source, String path, String checksum, boolean quarantined) {}

    public DocumentTable(Log log) {
        this.tail = new LogTail<>("documents-table", Topics.DOCUMENTS, LogTail.From.BEGINNING, log, this::read);
    }

    private synchronized void read(LogRecord<Document> record) {
        Long own = ahead.get(record.key());
        if (own != null) {
            if (record.offset() < own) {
                return;
            }
            ahead.remove(record.key());
        }
        apply(record.key(), record.value());
    }

    /** Says what was written, before the tail reads it; what the tail reads of the time before does not undo it. */
    synchronized void wrote(String id, @Nullable Document document, long offset) {
        ahead.put(id, offset);
        apply(id, document);
    }

    private void apply(String id, @Nullable Document document) {
        Entry before = document == null
                ? byId.remove(id)
                : byId.put(
                        id,
                        new Entry(
                                document.getSource(),
                                document.getPath(),
                                document.getChecksum(),
                                document.getQuarantined()));
        if (document == null && before != null) {
            bySource.computeIfPresent(before.source(), (source, paths) -> {
                paths.remove(id);
                return paths;
            });
        } else if (document != null) {
            bySource.computeIfAbsent(document.getSource(), source -> new ConcurrentHashMap<>())
                    .put(id, document.getPath());
        }
    }

    /** Waits until what was on the log at the start is here. */
    public void await() throws InterruptedException {
        try {
            tail.caughtUp().get();
        } catch (ExecutionException e) {
            throw new IllegalStateException("the documents cannot be read", e.getCause());
        }
    }

    /** Documents of a source: path by id. */
    public Map<String, String> of(String source) {
        return new HashMap<>(bySource.getOrDefault(source, Map.of()));
    }

    /** How a document is on the log; null when it is not. */
    public @Nullable Entry entry(String id) {
        return byId.get(id);
    }

    @Override
    public String name() {
        return "documents-table";
    }

    @Override
    public void start() {
        tail.start();
    }

    @Override
    public boolean isReady() {
        return tail.caughtUp().isDone() && !tail.caughtUp().isCompletedExceptionally();
    }

    @Override
    public void close() {
        tail.close();
    }
}
