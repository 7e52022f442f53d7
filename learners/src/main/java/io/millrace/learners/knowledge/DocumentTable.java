package io.millrace.learners.knowledge;

import io.millrace.log.Log;
import io.millrace.log.Topics;
import io.millrace.schema.Document;
import io.millrace.service.Service;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.jspecify.annotations.Nullable;

/**
 * What is on {@code documents}, without its text: some 300 bytes a document in memory. It tells the normalizer what changes nothing,
 * and what a source has.
 */
public final class DocumentTable implements Service {
    private final Map<String, Entry> byId = new ConcurrentHashMap<>();
    private final Map<String, Map<String, String>> bySource = new ConcurrentHashMap<>();
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
        written.await();
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
