package io.millrace.learners.knowledge;

import io.millrace.log.Log;
import io.millrace.log.Topics;
import io.millrace.schema.Passage;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Predicate;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.jspecify.annotations.Nullable;

/**
 * Which passages are on the log, by document, each with what it was made of and by. Asked of the log
 * and not of an index, which is behind, and may have lost some after a crash in the middle of a document.
 */
final class PassageTable implements AutoCloseable {
    private final Map<String, Map<String, Version>> byDocument = new ConcurrentHashMap<>();
    private final Map<String, String> documents = new ConcurrentHashMap<>();
    private final WrittenTable<Passage> written;

    /**
     * What a passage was made of and by.
     *
     * @param checksum of the document
     * @param chunker what cut it
     * @param model fingerprint of what embedded it
     */
    record Version(String checksum, String chunker, String model) {
        private static Version of(Passage passage) {
            return new Version(
                    passage.getMetadata().getOrDefault("checksum", ""),
                    // a few, of thousands of passages
                    passage.getChunker().intern(),
                    passage.getEmbeddingModel().intern());
        }
    }

    PassageTable(Log log) {
        this.written = new WrittenTable<>("passages-table", Topics.PASSAGES, log, this::apply);
    }

    void start() {
        written.start();
    }

    /** Says what was written. */
    void wrote(String id, @Nullable Passage passage, RecordMetadata at) {
        written.wrote(id, passage, at);
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
        Version version = Version.of(passage);
        documents.put(id, passage.getDocumentId());
        byDocument.compute(passage.getDocumentId(), (key, before) -> {
            Map<String, Version> passages = before == null ? new ConcurrentHashMap<>() : before;
            passages.put(id, version);
            return passages;
        });
    }

    /** Whether there is such a passage. */
    boolean has(Predicate<Version> wanted) {
        return byDocument.values().stream()
                .flatMap(passages -> passages.values().stream())
                .anyMatch(wanted);
    }

    /** Whether what stands on the log for this id is of this version, as far as is known. */
    boolean isStill(Passage passage) {
        return Version.of(passage)
                .equals(byDocument
                        .getOrDefault(passage.getDocumentId(), Map.of())
                        .get(passage.getPassageId()));
    }

    void await() throws InterruptedException {
        written.await();
    }

    /** Version by passage id. */
    Map<String, Version> of(String document) {
        return new HashMap<>(byDocument.getOrDefault(document, Map.of()));
    }

    @Override
    public void close() {
        written.close();
    }
}
