package io.millrace.learners.knowledge;

import io.millrace.id.Ids;
import io.millrace.knowledge.Chunker;
import io.millrace.knowledge.Chunker.Chunk;
import io.millrace.knowledge.Embedder;
import io.millrace.knowledge.Vectors;
import io.millrace.learners.knowledge.IngestEmbedder.Outcome.Embedded;
import io.millrace.learners.knowledge.IngestEmbedder.Outcome.Refused;
import io.millrace.learners.knowledge.PassageTable.Version;
import io.millrace.log.ClientConfig;
import io.millrace.log.Log;
import io.millrace.log.LogRecord;
import io.millrace.log.LogSettings;
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
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.locks.ReentrantLock;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Documents in, passages with vectors out. A document all of whose passages are on the log already changes nothing.
 *
 * <p>A passage that the model refuses is a dead letter by itself: the others of its document are searchable, and what stood in its place goes.
 *
 * <p>Passages that another model embedded, before the configuration named this one, are embedded anew as they are found on the log. A
 * group for each model reads them, so that whatever one model wrote is seen by the next, and again by the first when it comes back. Documents
 * that another version of the chunker cut are cut anew: another group reads all documents, from the beginning at each start that finds some.
 */
public final class PassageWorker implements Service {
    private static final Logger LOG = LoggerFactory.getLogger(PassageWorker.class);

    /** Consumer group that makes passages of documents. */
    public static final String GROUP = "passages";

    private static final String STEP = GROUP;

    /** A document of one passage is embedded on one core, and while one waits for the log another can be. */
    private static final int CONCURRENCY = 2 * Runtime.getRuntime().availableProcessors();

    private static final int TURNS = 64;
    private static final int GROUP_DIGITS = 8;
    private static final String CUT_ANEW = "passages-cut-" + Chunker.VERSION;

    private final Log log;
    private final IngestEmbedder embedder;
    private final PassageTable passages;
    private final DocumentTable documents;
    private final LogWorker<Document> worker;

    /** By document: what is embedded anew must not overtake what is cut anew. */
    private final ReentrantLock[] turns = new ReentrantLock[TURNS];

    private final Thread looking = Thread.ofVirtual().name("passages-model").unstarted(this::lookForOthers);
    private final List<LogWorker<?>> renewing = new CopyOnWriteArrayList<>();
    private boolean closed;

    /**
     * @param embedder of all passages
     * @param documents those of the log, run by somebody else
     */
    public PassageWorker(Log log, Embedder embedder, DocumentTable documents) {
        this.log = log;
        this.documents = documents;
        this.embedder = new IngestEmbedder(embedder);
        this.passages = new PassageTable(log);
        this.worker = new LogWorker<>(STEP, Topics.DOCUMENTS, log, CONCURRENCY, this::cut);
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

    private static String embedded(String title, String text) {
        return title + "\n" + text;
    }

    private void lookForOthers() {
        try {
            passages.await();
            if (passages.has(this::isOfAnotherModel)) {
                LOG.info("passages of another embedding model are embedded by {}", embedder.fingerprint());
                String group = "passages-" + Ids.content(embedder.fingerprint()).substring(0, GROUP_DIGITS);
                begin(new LogWorker<>(group, Topics.PASSAGES, log, CONCURRENCY, this::renew));
            }
            documents.await();
            boolean cutByAnother = passages.has(PassageWorker::isOfAnotherChunker);
            // another version may have found nothing in them; this one is asked once, and not at each start
            if (cutByAnother || documents.any(id -> passages.of(id).isEmpty())) {
                if (cutByAnother) {
                    LOG.info("documents that another version cut are cut by {}", Chunker.VERSION);
                    forgetGroup();
                }
                begin(new LogWorker<>(CUT_ANEW, Topics.DOCUMENTS, log, CONCURRENCY, this::cutAnew));
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private boolean isOfAnotherModel(Version version) {
        return !version.model().equals(embedder.fingerprint());
    }

    private static boolean isOfAnotherChunker(Version version) {
        return !version.chunker().equals(Chunker.VERSION);
    }

    private synchronized void begin(LogWorker<?> made) {
        if (closed) {
            made.close();
            return;
        }
        renewing.add(made);
        made.start();
    }

    /** How far it was read says nothing when another version cut documents since. */
    private void forgetGroup() throws InterruptedException {
        LogSettings settings = log.settings();
        try (Admin admin = Admin.create(ClientConfig.admin(settings.bootstrapServers()))) {
            admin.deleteConsumerGroups(List.of(settings.group(CUT_ANEW))).all().get();
        } catch (ExecutionException e) {
            if (e.getCause() instanceof GroupIdNotFoundException || e.getCause() instanceof GroupNotEmptyException) {
                // there is none yet, or another process, or one that was killed, reads as one of it
                LOG.debug("the group {} is as it was", CUT_ANEW, e);
            } else {
                LOG.warn(
                        "how far documents were cut anew is not forgotten: those of before are, at the next start: {}",
                        e.getCause() == null ? e : e.getCause().toString());
            }
        }
    }

    private void cutAnew(LogRecord<Document> record) throws ExecutionException, InterruptedException {
        Document document = record.value();
        if (document == null) {
            return;
        }
        inTurn(record.key(), () -> {
            Map<String, Version> cut = passages.of(record.key());
            // and of no newer version of the document, which the log has as well
            boolean stale = cut.isEmpty()
                    ? isNewest(record.key(), document)
                    : cut.values().stream()
                            .anyMatch(version -> isOfAnotherChunker(version)
                                    && version.checksum().equals(document.getChecksum()));
            if (stale) {
                cutOne(record, true);
            }
        });
    }

    private boolean isNewest(String id, Document document) {
        DocumentTable.Entry newest = documents.entry(id);
        return newest != null && newest.checksum().equals(document.getChecksum());
    }

    private void renew(LogRecord<Passage> record) throws ExecutionException, InterruptedException {
        Passage passage = record.value();
        if (passage == null
                || passage.getEmbeddingModel().equals(embedder.fingerprint())
                // its document is cut anew
                || !passage.getChunker().equals(Chunker.VERSION)) {
            return;
        }
        inTurn(passage.getDocumentId(), () -> {
            if (passages.isStill(passage)) {
                renewOne(record, passage);
            }
        });
    }

    private void renewOne(LogRecord<Passage> record, Passage passage) throws ExecutionException, InterruptedException {
        switch (embedder.embed(List.of(embedded(passage.getTitle(), passage.getText())))
                .getFirst()) {
            case Embedded embedded -> {
                Passage renewed = Passage.newBuilder(passage)
                        .setVector(Vectors.toBytes(embedded.vector()))
                        .setEmbeddingModel(embedder.fingerprint())
                        .build();
                passages.wrote(
                        record.key(),
                        renewed,
                        log.producer()
                                .send(Topics.PASSAGES, record.key(), renewed)
                                .get());
            }
            case Refused refused -> {
                bury(record, passage.getChunkIndex(), passage.getChunkCount(), refused);
                // no search finds it, and nobody would know whether all are embedded
                forget(Set.of(record.key()));
            }
        }
    }

    private void bury(LogRecord<?> record, int index, int count, Refused refused)
            throws ExecutionException, InterruptedException {
        String reason = "passage " + (index + 1) + " of " + count + ": " + refused.reason();
        LOG.warn("{} {}: {}", record.topic().name(), record.key(), reason);
        Burial.bury(log, record, record.key(), STEP, reason);
    }

    private void cut(LogRecord<Document> record) throws ExecutionException, InterruptedException {
        passages.await();
        inTurn(record.key(), () -> cutOne(record, false));
    }

    /** @param anew another process may have cut a newer version while this one was embedded: it stays */
    private void cutOne(LogRecord<Document> record, boolean anew) throws ExecutionException, InterruptedException {
        String id = record.key();
        Document document = record.value();
        Map<String, Version> before = passages.of(id);
        if (document == null) {
            forget(before.keySet());
            return;
        }
        List<Chunk> chunks = Chunker.chunk(document.getTitle(), document.getContent());
        Version version = new Version(document.getChecksum(), Chunker.VERSION, embedder.fingerprint());
        Set<String> surplus = new HashSet<>(before.keySet());
        List<Chunk> missing = new ArrayList<>();
        for (Chunk chunk : chunks) {
            // also after an attempt that was broken off: a long document goes on where it was
            if (version.equals(before.get(passageId(document, chunk)))) {
                surplus.remove(passageId(document, chunk));
            } else {
                missing.add(chunk);
            }
        }
        List<CompletableFuture<?>> sent = new ArrayList<>();
        Map<Chunk, Refused> left = new LinkedHashMap<>();
        for (int from = 0; from < missing.size(); from += IngestEmbedder.LARGEST) {
            List<Chunk> batch = missing.subList(from, Math.min(missing.size(), from + IngestEmbedder.LARGEST));
            List<IngestEmbedder.Outcome> outcomes = embedder.embed(batch.stream()
                    .map(chunk -> embedded(chunk.title(), chunk.text()))
                    .toList());
            if (anew && from == 0 && !(passages.of(id).equals(before) && isNewest(id, document))) {
                return;
            }
            for (int i = 0; i < batch.size(); i++) {
                switch (outcomes.get(i)) {
                    case Embedded embedded -> {
                        Passage passage = passage(document, batch.get(i), embedded.vector(), chunks.size());
                        surplus.remove(passage.getPassageId());
                        sent.add(log.producer()
                                .send(Topics.PASSAGES, passage.getPassageId(), passage)
                                .thenAccept(at -> passages.wrote(passage.getPassageId(), passage, at)));
                    }
                    // what stood there before is surplus
                    case Refused refused -> left.put(batch.get(i), refused);
                }
            }
        }
        for (CompletableFuture<?> each : sent) {
            each.get();
        }
        // not before: an attempt that waits for the model with a later batch comes to this one again
        for (Map.Entry<Chunk, Refused> each : left.entrySet()) {
            bury(record, each.getKey().index(), chunks.size(), each.getValue());
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
        return STEP;
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
        Map<String, String> details = new HashMap<>();
        if (!renewing.isEmpty()) {
            if (passages.has(this::isOfAnotherModel)) {
                details.put(
                        "passages",
                        "those of another embedding model are embedded anew; until then no search finds them");
            } else if (passages.has(PassageWorker::isOfAnotherChunker)) {
                details.put(
                        "passages",
                        "documents that another version cut are cut anew; until then they are found as they were");
            }
        }
        embedder.waiting().ifPresent(why -> details.put("ingest", "waits: " + why));
        return details;
    }

    @Override
    public void close() {
        synchronized (this) {
            closed = true;
        }
        looking.interrupt();
        renewing.forEach(LogWorker::close);
        worker.close();
        passages.close();
    }
}
