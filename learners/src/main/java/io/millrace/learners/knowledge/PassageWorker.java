package io.millrace.learners.knowledge;

import io.millrace.id.Ids;
import io.millrace.knowledge.Chunker;
import io.millrace.knowledge.Chunker.Chunk;
import io.millrace.knowledge.Embedder;
import io.millrace.knowledge.Vectors;
import io.millrace.log.Log;
import io.millrace.log.LogRecord;
import io.millrace.log.LogWorker;
import io.millrace.log.Topics;
import io.millrace.schema.Document;
import io.millrace.schema.Envelope;
import io.millrace.schema.Passage;
import io.millrace.service.Service;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;

/** Documents in, passages with vectors out. A document all of whose passages are on the log already changes nothing. */
public final class PassageWorker implements Service {
    /** Texts given to the model at once. */
    private static final int BATCH = 32;

    /** A document of one passage is embedded on one core, and while one waits for the log another can be. */
    private static final int CONCURRENCY = 2 * Runtime.getRuntime().availableProcessors();

    private final Log log;
    private final Embedder embedder;
    private final PassageTable passages;
    private final LogWorker<Document> worker;

    public PassageWorker(Log log, Embedder embedder) {
        this.log = log;
        this.embedder = embedder;
        this.passages = new PassageTable(log);
        this.worker = new LogWorker<>("passages", Topics.DOCUMENTS, log, CONCURRENCY, this::cut);
    }

    private void cut(LogRecord<Document> record) throws ExecutionException, InterruptedException {
        passages.await();
        String id = record.key();
        Document document = record.value();
        Map<String, String> before = passages.of(id);
        if (document == null) {
            forget(before.keySet());
            return;
        }
        List<Chunk> chunks = Chunker.chunk(document.getTitle(), document.getContent());
        Set<String> wanted = new HashSet<>();
        chunks.forEach(chunk -> wanted.add(passageId(document, chunk)));
        String version = document.getChecksum() + embedder.fingerprint();
        if (before.keySet().equals(wanted) && before.values().stream().allMatch(version::equals)) {
            return;
        }
        Set<String> surplus = new HashSet<>(before.keySet());
        List<CompletableFuture<?>> sent = new ArrayList<>();
        for (int from = 0; from < chunks.size(); from += BATCH) {
            List<Chunk> batch = chunks.subList(from, Math.min(chunks.size(), from + BATCH));
            List<float[]> vectors = embedder.embed(batch.stream()
                    .map(chunk -> chunk.title() + "\n" + chunk.text())
                    .toList());
            for (int i = 0; i < batch.size(); i++) {
                Passage passage = passage(document, batch.get(i), vectors.get(i), chunks.size());
                surplus.remove(passage.getPassageId());
                sent.add(log.producer()
                        .send(Topics.PASSAGES, passage.getPassageId(), passage)
                        .thenAccept(at -> passages.wrote(passage.getPassageId(), passage, at)));
            }
        }
        for (CompletableFuture<?> each : sent) {
            each.get();
        }
        forget(surplus);
    }

    private static String passageId(Document document, Chunk chunk) {
        return Ids.content(document.getDocumentId(), String.valueOf(chunk.index()), Chunker.VERSION);
    }

    private Passage passage(Document document, Chunk chunk, float[] vector, int count) {
        Map<String, String> metadata = new HashMap<>(document.getMetadata());
        metadata.put("checksum", document.getChecksum());
        return Passage.newBuilder()
                .setEnvelope(Envelope.newBuilder(document.getEnvelope())
                        .setOccurredAt(System.currentTimeMillis())
                        .build())
                .setPassageId(passageId(document, chunk))
                .setDocumentId(document.getDocumentId())
                .setChunkIndex(chunk.index())
                .setChunkCount(count)
                .setCollection(document.getCollection())
                .setSource(document.getSource())
                .setPath(document.getPath())
                .setTitle(chunk.title())
                .setText(chunk.text())
                .setTokens((chunk.text().length() + 3) / 4)
                .setVector(Vectors.toBytes(vector))
                .setEmbeddingModel(embedder.fingerprint())
                .setChunker(Chunker.VERSION)
                .setTrust(document.getTrust())
                .setTags(document.getTags())
                .setMetadata(metadata)
                .setQuarantined(document.getQuarantined())
                .setLocalOnly(document.getLocalOnly())
                .setModifiedAt(document.getModifiedAt())
                .build();
    }

    private void forget(Iterable<String> ids) throws ExecutionException, InterruptedException {
        for (String id : ids) {
            passages.wrote(
                    id, null, log.producer().tombstone(Topics.PASSAGES, id).get());
        }
    }

    @Override
    public String name() {
        return "passages";
    }

    @Override
    public void start() {
        passages.start();
        worker.start();
    }

    @Override
    public boolean isEssential() {
        return false;
    }

    @Override
    public boolean isReady() {
        return worker.isReady();
    }

    @Override
    public void close() {
        worker.close();
        passages.close();
    }
}
