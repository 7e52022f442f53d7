package io.millrace.learners.knowledge;

import io.millrace.log.Log;
import io.millrace.log.Topics;
import io.millrace.schema.Document;
import io.millrace.service.Service;
import java.util.Collections;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Predicate;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.jspecify.annotations.Nullable;

/**
 * What is on {@code documents}, without its text: some 300 bytes a document in memory. It tells the normalizer what changes nothing,
 * and what a source has.
 */
public final class DocumentTable implements Service {
    private final Map<String, Entry> byId = new ConcurrentHashMap<>();
    private final Map<String, Map<String, Entry>> bySource = new ConcurrentHashMap<>();
    private final Map<String, Long> versions = new ConcurrentHashMap<>();
    private final WrittenTable<Document> written;
    private final AtomicLong read = new AtomicLong();

    /** A document as it is on the log. */
    public record Entry(String source, String path, String checksum, boolean quarantined) {}

    public DocumentTable(Log log) {
        this.written = new WrittenTable<>("documents-table", Topics.DOCUMENTS, log, this::apply);
    }

    /** Says what was written. */
    void wrote(String id, @Nullable Document document, RecordMetadata at) {
        written.wrote(id, document, at);
    }

    private void apply(String id, @Nullable Document document) {
        read.incrementAndGet();
        if (document != null) {
            Entry entry = new Entry(
                    document.getSource(), document.getPath(), document.getChecksum(), document.getQuarantined());
            byId.put(id, entry);
            bySource.computeIfAbsent(entry.source(), source -> new ConcurrentHashMap<>())
                    .put(id, entry);
            versions.merge(entry.source(), 1L, Long::sum);
            return;
        }
        Entry before = byId.remove(id);
        if (before != null) {
            bySource.getOrDefault(before.source(), Map.of()).remove(id);
            versions.merge(before.source(), 1L, Long::sum);
        }
    }

    /** Waits until what was on the log at the start is here. */
    public void await() throws InterruptedException {
        written.await();
    }

    /** Documents of a source by id, as they are from moment to moment. */
    public Map<String, Entry> of(String source) {
        return Collections.unmodifiableMap(bySource.getOrDefault(source, Map.of()));
    }

    /** Another number after each change of a document of this source. */
    public long version(String source) {
        return versions.getOrDefault(source, 0L);
    }

    /** Whether there is such a document, by id. */
    boolean any(Predicate<String> such) {
        return byId.keySet().stream().anyMatch(such);
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
        written.start();
    }

    @Override
    public boolean isReady() {
        return written.isReady();
    }

    @Override
    public long progress() {
        return read.get();
    }

    @Override
    public void close() {
        written.close();
    }
}
