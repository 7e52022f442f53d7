package io.millrace.learners.knowledge;

import io.millrace.log.Log;
import io.millrace.log.LogRecord;
import io.millrace.log.LogTail;
import io.millrace.log.Topics;
import io.millrace.schema.Passage;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import org.jspecify.annotations.Nullable;

/**
 * Which passages are on the log, by document, each with the checksum of the version of the document it was cut from. Asked of the log
 * and not of an index, which is behind, and may have lost some after a crash in the middle of a document.
 */
final class PassageTable implements AutoCloseable {
    private final Map<String, Map<String, String>> byDocument = new ConcurrentHashMap<>();
    private final Map<String, String> documents = new ConcurrentHashMap<>();
    /** Offsets of our own writes that the tail has yet to reach. */
    private final Map<String, Long> ahead = new HashMap<>();

    private final LogTail<Passage> tail;

    PassageTable(Log log) {
        this.tail = new LogTail<>("passages-table", Topics.PASSAGES, LogTail.From.BEGINNING, log, this::read);
    }

    void start() {
        tail.start();
    }

    private synchronized void read(LogRecord<Passage> record) {
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
    synchronized void wrote(String id, @Nullable Passage passage, long offset) {
        ahead.put(id, offset);
        apply(id, passage);
    }

    private void apply(String id, @Nullable Passage passage) {
        if (passage == null) {
            String document = documents.remove(id);
            if (document != null) {
                byDocument.computeIfPresent(document, (key, passages) -> {
                    passages.remove(id);
                    return passages.isEmpty() ? null : passages;
                });
            }
            return;
        }
        String version = passage.getMetadata().getOrDefault("checksum", "") + passage.getEmbeddingModel();
        documents.put(id, passage.getDocumentId());
        byDocument.compute(passage.getDocumentId(), (key, before) -> {
            Map<String, String> passages = before == null ? new ConcurrentHashMap<>() : before;
            passages.put(id, version);
            return passages;
        });
    }

    void await() throws InterruptedException {
        try {
            tail.caughtUp().get();
        } catch (ExecutionException e) {
            throw new IllegalStateException("the passages cannot be read", e.getCause());
        }
    }

    /** Version by passage id. */
    Map<String, String> of(String document) {
        return new HashMap<>(byDocument.getOrDefault(document, Map.of()));
    }

    @Override
    public void close() {
        tail.close();
    }
}
