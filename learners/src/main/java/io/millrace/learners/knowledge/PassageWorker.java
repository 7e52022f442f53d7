package io.millrace.learners.knowledge;

import io.millrace.id.Ids;
import io.millrace.knowledge.Chunker;
import io.millrace.knowledge.Chunker.Chunk;
import io.millrace.knowledge.Embedder;
import io.millrace.knowledge.VectorIndex;
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

/** Documents in, passages with vectors out. A document whose content is indexed already changes nothing. */
public final class PassageWorker implements Service {
    /** Texts given to the model at once. */
    private static final int BATCH = 32;

    private final Log log;
    private final Embedder embedder;
    private final VectorIndex index;
    private final LogWorker<Document> worker;

    /** @param index the projection of passages in this process: it tells what a document has already */
    public PassageWorker(Log log, Embedder embedder, VectorIndex index) {
        this.log = log;
        this.embedder = embedder;
        this.index = index;
        this.worker = new LogWorker<>("passages", Topics.DOCUMENTS, log, 2, this::cut);
    }

    private void cut(LogRecord<Document> record) throws ExecutionException, InterruptedException {
        String id = record.key();
        Document document = record.value();
        List<String> before = index.passagesOf(id);
        if (document == null) {
            forget(before);
            return;
        }
        if (index.hasDocument(id, document.getChecksum())) {
            return;
        }
        List<Chunk> chunks = Chunker.chunk(document.getTitle(), document.getContent());
        Set<String> surplus = new HashSet<>(before);
        List<CompletableFuture<?>> sent = new ArrayList<>();
        for (int from = 0; from < chunks.size(); from += BATCH) {
            List<Chunk> batch = chunks.subList(from, Math.min(chunks.size(), from + BATCH));
            List<float[]> vectors = embedder.embed(batch.stream()
                    .map(chunk -> chunk.title() + "\n" + chunk.text())
                    .toList());
            for (int i = 0; i < batch.size(); i++) {
                Passage passage = passage(document, batch.get(i), vectors.get(i), chunks.size());
                surplus.remove(passage.getPassageId());
                sent.add(log.producer().send(Topics.PASSAGES, passage.getPassageId(), passage));
            }
        }
        for (CompletableFuture<?> each : sent) {
            each.get();
        }
        forget(surplus);
    }

    private Passage passage(Document document, Chunk chunk, float[] vector, int count) {
        Map<String, String> metadata = new HashMap<>(document.getMetadata());
        metadata.put("checksum", document.getChecksum());
        return Passage.newBuilder()
                .setEnvelope(Envelope.newBuilder(document.getEnvelope())
                        .setOccurredAt(System.currentTimeMillis())
                        .build())
                .setPassageId(Ids.content(document.getDocumentId(), String.valueOf(chunk.index()), Chunker.VERSION))
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

    private void forget(Iterable<String> passages) throws ExecutionException, InterruptedException {
        for (String passage : passages) {
            log.producer().tombstone(Topics.PASSAGES, passage).get();
        }
    }

    @Override
    public String name() {
        return "passages";
    }

    @Override
    public void start() {
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
    }
}
