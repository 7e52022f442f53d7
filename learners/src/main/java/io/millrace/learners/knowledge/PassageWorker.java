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
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Documents in, passages with vectors out. A document all of whose passages are on the log already changes nothing.
 *
 * <p>Passages that another model embedded, before the configuration named this one, are embedded anew as they are found on the log. A
 * group for each model reads them, so that whatever one model wrote is seen by the next, and again by the first when it comes back.
 */
public final class PassageWorker implements Service {
    private static final Logger LOG = LoggerFactory.getLogger(PassageWorker.class);

    /** Texts given to the model at once. */
    private static final int BATCH = 32;

    /** A document of one passage is embedded on one core, and while one waits for the log another can be. */
    private static final int CONCURRENCY = 2 * Runtime.getRuntime().availableProcessors();

    private static final int TURNS = 64;
    private static final int GROUP_DIGITS = 8;

    private final Log log;
    private final Embedder embedder;
    private final PassageTable passages;
    private final LogWorker<Document> worker;

    /** By document: what is embedded anew must not overtake what is cut anew. */
    private final ReentrantLock[] turns = new ReentrantLock[TURNS];

    private final Thread looking = Thread.ofVirtual().name("passages-model").unstarted(this::lookForOthers);
    private volatile @Nullable LogWorker<Passage> renewing;
    private boolean closed;

    /** @param embedder of all passages */
    public PassageWorker(Log log, Embedder embedder) {
        this.log = log;
        this.embedder = embedder;
        this.passages = new PassageTable(log);
        this.worker = new LogWorker<>("passages", Topics.DOCUMENTS, log, CONCURRENCY, this::cut);
        Arrays.setAll(turns, i -> new ReentrantLock());
    }

    private interface Work {
        void run() throws ExecutionException, InterruptedException;
    }

    private void inTurn(String document, Work work) throws ExecutionException, InterruptedException {
        ReentrantLock turn = turns[Math.floorMod(document.hashCode(), TURNS)];
        turn.lockInterruptibly();
        try {
            work.run();
        } finally {
            turn.unlock();
        }
    }

    /** A model that is away keeps nothing from being embedded: the record comes again. */
    private List<float[]> embed(List<String> texts) {
        try {
            return embedder.embed(texts);
        } catch (Embedder.EmbeddingException e) {
            if (e.isPassing()) {
                throw new LogWorker.RetryLaterException(String.valueOf(e.getMessage()), e);
            }
            throw e;
        }
    }

    private static String embedded(String title, String text) {
        return title + "\n" + text;
    }

    private void lookForOthers() {
        try {
            passages.await();
            if (passages.hasOthers(embedder.fingerprint())) {
                String group = "passages-" + Ids.content(embedder.fingerprint()).substring(0, GROUP_DIGITS);
                begin(new LogWorker<>(group, Topics.PASSAGES, log, CONCURRENCY, this::renew));
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private synchronized void begin(LogWorker<Passage> made) {
        if (closed) {
            made.close();
            return;
        }
        LOG.info("passages of another embedding model are embedded by {}", embedder.fingerprint());
        renewing = made;
        made.start();
    }

    private void renew(LogRecord<Passage> record) throws ExecutionException, InterruptedException {
        Passage passage = record.value();
        if (passage == null || passage.getEmbeddingModel().equals(embedder.fingerprint())) {
            return;
        }
        inTurn(passage.getDocumentId(), () -> {
            if (passages.isStill(passage)) {
                float[] vector = embed(List.of(embedded(passage.getTitle(), passage.getText())))
                        .getFirst();
                Passage renewed = Passage.newBuilder(passage)
                        .setVector(Vectors.toBytes(vector))
                        .setEmbeddingModel(embedder.fingerprint())
                        .build();
                passages.wrote(
                        record.key(),
                        renewed,
                        log.producer()
                                .send(Topics.PASSAGES, record.key(), renewed)
                                .get());
            }
        });
    }

    private void cut(LogRecord<Document> record) throws ExecutionException, InterruptedException {
        passages.await();
        inTurn(record.key(), () -> cutOne(record));
    }

    private void cutOne(LogRecord<Document> record) throws ExecutionException, InterruptedException {
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
        String version = PassageTable.version(document.getChecksum(), embedder.fingerprint());
        if (before.keySet().equals(wanted) && before.values().stream().allMatch(version::equals)) {
            return;
        }
        Set<String> surplus = new HashSet<>(before.keySet());
        List<CompletableFuture<?>> sent = new ArrayList<>();
        for (int from = 0; from < chunks.size(); from += BATCH) {
            List<Chunk> batch = chunks.subList(from, Math.min(chunks.size(), from + BATCH));
            List<float[]> vectors = embed(batch.stream()
                    .map(chunk -> embedded(chunk.title(), chunk.text()))
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
        looking.start();
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
    public Map<String, String> details() {
        return renewing != null && passages.hasOthers(embedder.fingerprint())
                ? Map.of(
                        "passages",
                        "those of another embedding model are embedded anew; until then no search finds them")
                : Map.of();
    }

    @Override
    public void close() {
        LogWorker<Passage> begun;
        synchronized (this) {
            closed = true;
            begun = renewing;
        }
        looking.interrupt();
        if (begun != null) {
            begun.close();
        }
        worker.close();
        passages.close();
    }
}
