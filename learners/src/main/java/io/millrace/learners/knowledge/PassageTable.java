package io.millrace.learners.knowledge;

import io.millrace.log.Log;
import io.millrace.log.Topics;
import io.millrace.schema.Passage;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.jspecify.annotations.Nullable;

/**
 * Which passages are on the log, by document, each with the checksum of the version of the document it was cut from. Asked of the log
 * and not of an index, which is behind, and may have lost some after a crash in the middle of a document.
 */
final class PassageTable implements AutoCloseable {
    private final Map<String, Map<String, String>> byDocument = new ConcurrentHashMap<>();
    private final Map<String, String> documents = new ConcurrentHashMap<>();
    private final WrittenTable<Passage> written;

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
        String version = version(passage);
        documents.put(id, passage.getDocumentId());
        byDocument.compute(passage.getDocumentId(), (key, before) -> {
            Map<String, String> passages = before == null ? new ConcurrentHashMap<>() : before;
            passages.put(id, version);
            return passages;
        });
    }

    /** Whether a passage was embedded by another model than the one of this fingerprint. */
    boolean hasOthers(String model) {
        String own = version("", model);
        return byDocument.values().stream()
                .flatMap(passages -> passages.values().stream())
                .anyMatch(version -> !version.endsWith(own));
    }

    /** Whether what stands on the log for this id is of this version, as far as is known. */
    boolean isStill(Passage passage) {
        return version(passage)
                .equals(byDocument
                        .getOrDefault(passage.getDocumentId(), Map.of())
                        .get(passage.getPassageId()));
    }

    private static String version(Passage passage) {
        return version(passage.getMetadata().getOrDefault("checksum", ""), passage.getEmbeddingModel());
    }

    /** Of a document with this checksum, embedded by the model of this fingerprint. */
    static String version(String checksum, String model) {
        return checksum + "|" + model;
    }

    void await() throws InterruptedException {
        written.await();
    }

    /** Version by passage id. */
    Map<String, String> of(String document) {
        return new HashMap<>(byDocument.getOrDefault(document, Map.of()));
    }

    @Override
    public void close() {
        written.close();
    }
}
