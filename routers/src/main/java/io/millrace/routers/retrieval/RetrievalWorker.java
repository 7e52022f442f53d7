package io.millrace.routers.retrieval;

import io.millrace.config.MillraceConfig;
import io.millrace.knowledge.ContextScore;
import io.millrace.knowledge.DocumentCatalog;
import io.millrace.knowledge.Embedder;
import io.millrace.knowledge.QueryExpander;
import io.millrace.knowledge.Searcher;
import io.millrace.knowledge.Vectors;
import io.millrace.log.Log;
import io.millrace.log.LogProducer;
import io.millrace.log.LogRecord;
import io.millrace.log.LogWorker;
import io.millrace.log.Topics;
import io.millrace.routers.cache.ResponseCache;
import io.millrace.routers.cache.SemanticCache;
import io.millrace.routers.retrieval.ProgressiveContext.Evidence;
import io.millrace.schema.CachedAnswer;
import io.millrace.schema.Envelope;
import io.millrace.schema.Feature;
import io.millrace.schema.Hit;
import io.millrace.schema.Query;
import io.millrace.schema.Retrieval;
import io.millrace.service.Service;
import io.millrace.text.DocumentQuestion.QuestionException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Retrieval: embeds the question, searches, and says how well the evidence answers it. Evidence that fails never fails the query. */
public final class RetrievalWorker implements Service {
    private static final Logger LOG = LoggerFactory.getLogger(RetrievalWorker.class);

    /** Of a text that is longer, its beginning and its end are searched for. The embedding model reads a quarter of it. */
    private static final int MOST_SEARCHED_CHARS = 4_096;

    /** In {@code degraded} and in what health tells. */
    private static final String EMBEDDER = "embedder";

    private final Log log;
    private final Searcher searcher;
    private final EmbeddingCache cache;
    private final Sessions sessions;
    private final Duration patience;
    private final ProgressiveContext progressive;
    private final ResponseCache responses;
    private final Optional<SemanticCache> similar;
    private final LogWorker<Query> worker;
    private final ExecutorService searches = Executors.newVirtualThreadPerTaskExecutor();

    /** What failed the last search, by part; empty when the last one went well. */
    private volatile Map<String, String> troubles = Map.of();

    /** @param expander rewords questions whose first search is not convincing */
    public RetrievalWorker(
            Log log,
            MillraceConfig config,
            Searcher searcher,
            EmbeddingCache cache,
            ResponseCache responses,
            Optional<SemanticCache> similar,
            Sessions sessions,
            Optional<QueryExpander> expander) {
        this.log = log;
        this.sessions = sessions;
        MillraceConfig.Retrieval retrieval = config.retrieval();
        // the model's time comes on top, where there is one
        this.patience = expander.isEmpty()
                ? retrieval.timeout()
                : retrieval.timeout().plus(retrieval.expansion().timeout());
        this.searcher = searcher;
        this.cache = cache;
        this.progressive = new ProgressiveContext(config, searcher, expander);
        this.responses = responses;
        // vectors of another model cannot be judged
        this.similar = similar.filter(
                each -> each.embedder().equals(searcher.embedder().fingerprint()));
        if (similar.isPresent() && this.similar.isEmpty()) {
            LOG.warn(
                    "the semantic cache is off: its verdict was learned with {} and not with {}",
                    similar.get().embedder(),
                    searcher.embedder().fingerprint());
        }
        this.worker = new LogWorker<>(
                "retrieval", Topics.QUERIES, log, config.retrieval().concurrency(), this::retrieve);
    }

    @Override
    public String name() {
        return "retrieval";
    }

    @Override
    public void start() {
        worker.start();
    }

    @Override
    public boolean isReady() {
        return worker.isReady();
    }

    @Override
    public Map<String, String> details() {
        Map<String, String> details = new HashMap<>(troubles);
        if (cache.isDown()) {
            details.put("redis", "down: embeddings are not cached");
        }
        similar.flatMap(SemanticCache::trouble).ifPresent(trouble -> details.put("semantic_cache", trouble));
        return Map.copyOf(details);
    }

    /** Evidence for the query, or none: whatever goes wrong here costs the evidence and not the query. */
    private void retrieve(LogRecord<Query> record) throws InterruptedException, ExecutionException {
        Query query = record.required();
        if (query.getDirect()) {
            // routing has read it
            return;
        }
        long began = System.nanoTime();
        Retrieval.Builder found;
        try {
            found = System.currentTimeMillis() < query.getDeadlineAt() ? gather(query) : tooLate();
        } catch (RuntimeException | LinkageError | StackOverflowError | AssertionError e) {
            found = without(query, "retrieval", e);
        }
        try {
            send(query, found, began);
        } catch (ExecutionException | RuntimeException e) {
            // an absent log is waited for; what is left is that the log does not take the record
            if (LogProducer.isOutage(e)) {
                throw e;
            }
            send(query, without(query, "retrieval", e), began);
        }
    }

    /** Nobody waits any more: after an outage those who still do come first. Routing says that it is too late. */
    private static Retrieval.Builder tooLate() {
        return Retrieval.newBuilder().setMode("off").setDegraded(List.of("timeout"));
    }

    /** With as much of a long text as is worth searching for: a pasted log has its question before it or after it. */
    private static Query asked(Query query) {
        String text = query.getText();
        return text.length() <= MOST_SEARCHED_CHARS
                ? query
                : Query.newBuilder(query)
                        .setText(text.substring(0, MOST_SEARCHED_CHARS / 2)
                                + "\n"
                                + text.substring(text.length() - MOST_SEARCHED_CHARS / 2))
                        .build();
    }

    private Retrieval.Builder gather(Query query) throws InterruptedException {
        Query asked = asked(query);
        Looked looked = look(asked);
        ResponseCache.Look look = looked.answer;
        if (query.getRetrieval().equals("off") || look.found().isPresent()) {
            return Retrieval.newBuilder()
                    .setMode("off")
                    .setCached(look.found().orElse(null))
                    .setCacheTicket(look.ticket());
        }
        Future<Retrieval.Builder> search = searches.submit(() -> search(asked, looked.vector));
        try {
            Retrieval.Builder found = search.get(patience.toMillis(), TimeUnit.MILLISECONDS);
            troubles = found.getDegraded().contains(EMBEDDER)
                    ? Map.of(EMBEDDER, "away: only words are searched for")
                    : Map.of();
            // what was answered without its evidence must not be answered so again
            return found.setCacheTicket(found.getDegraded().isEmpty() ? look.ticket() : "");
        } catch (TimeoutException e) {
            search.cancel(true);
            return without(query, "timeout", e);
        } catch (ExecutionException e) {
            Throwable cause = e.getCause() == null ? e : e.getCause();
            if (cause instanceof QuestionException) {
                // the gateway has read it, but it was cut or redacted since: nothing of ours is broken
                LOG.warn("{} is no question about documents: {}", query.getInteractionId(), cause.getMessage());
                return Retrieval.newBuilder().setMode("off").setDegraded(List.of("question"));
            }
            return without(
                    query,
                    switch (cause) {
                        case Embedder.EmbeddingException model -> EMBEDDER;
                        case DocumentCatalog.CatalogException database -> "postgres";
                        default -> "index";
                    },
                    cause);
        }
    }

    private void send(Query query, Retrieval.Builder found, long began)
            throws InterruptedException, ExecutionException {
        Envelope envelope = Envelope.newBuilder(query.getEnvelope())
                .setOccurredAt(System.currentTimeMillis())
                .build();
        Retrieval retrieval = found.setEnvelope(envelope)
                .setInteractionId(query.getInteractionId())
                .setQuery(confined(query, found.hasHits() ? found.getHits() : List.of()))
                .setTimings(List.of(new Feature("total", (System.nanoTime() - began) / 1e6)))
                .build();
        log.producer()
                .send(Topics.RETRIEVALS, query.getInteractionId(), retrieval)
                .get();
    }

    /** The query, kept on the machine when its evidence may not leave it. */
    private static Query confined(Query query, List<Hit> hits) {
        if (query.getLocalOnly() || hits.stream().noneMatch(Hit::getLocalOnly)) {
            return query;
        }
        return Query.newBuilder(query)
                .setLocalOnly(true)
                .setLocalOnlyReason("source")
                .build();
    }

    /**
     * What the caches say.
     *
     * @param vector of the question, when it had to be made for that
     */
    private record Looked(ResponseCache.Look answer, Optional<float[]> vector) {}

    private Looked look(Query query) throws InterruptedException {
        try {
            // a broken index throws, and must cost the cached answer only
            String version =
                    query.getRetrieval().equals("off") ? "" : searcher.index().version();
            ResponseCache.Look exact = responses.look(query, version);
            if (similar.isEmpty() || exact.ticket().isEmpty()) {
                return new Looked(exact, Optional.empty());
            }
            Optional<String> scope = SemanticCache.scope(query, version);
            if (scope.isEmpty()) {
                return new Looked(exact, Optional.empty());
            }
            float[] vector = cache.embed(searcher.embedder(), query.getVariant(), query.getText());
            Optional<CachedAnswer> near = similar.get().look(query, scope.get(), exact.ticket(), vector);
            return new Looked(near.isEmpty() ? exact : new ResponseCache.Look(near, ""), Optional.of(vector));
        } catch (RuntimeException e) {
            LOG.warn("{} is not looked up in the response cache: {}", query.getInteractionId(), e.toString());
            return new Looked(ResponseCache.Look.NOTHING, Optional.empty());
        }
    }

    private Retrieval.Builder without(Query query, String part, Throwable error) {
        LOG.warn("{} goes on without evidence: {}", query.getInteractionId(), error.toString());
        troubles = Map.of(part, "failed: queries go on without evidence: " + error);
        return Retrieval.newBuilder().setMode("off").setDegraded(List.of(part));
    }

    private Retrieval.Builder search(Query query, Optional<float[]> made) throws InterruptedException {
        Retrieval.Builder retrieval = Retrieval.newBuilder();
        Sessions.Turn turn = sessions.open(query);
        float[] vector = made.isPresent() ? made.get() : embed(query, query.getText());
        String text = FollowUp.searched(query.getText(), turn.before());
        float[] searched = text.equals(query.getText()) ? vector : embed(query, text);
        Evidence evidence = progressive.gather(query, text, searched, turn);
        sessions.sent(query, evidence.note().getUsed(), evidence.note().getTokensAfter());
        Searcher.Result found = evidence.found();
        List<String> degraded = new ArrayList<>(found.degraded());
        if (cache.isDown() || !turn.known()) {
            degraded.add("redis");
        }
        return retrieval
                .setMode(found.mode())
                .setHits(found.hits())
                .setContextScore(found.contextScore().orElse(null))
                .setCoveredScore(found.coveredScore().orElse(null))
                .setScoreModel(ContextScore.VERSION)
                .setEmbedding(Vectors.toBytes(vector))
                .setEmbeddingModel(searcher.embedder().fingerprint())
                .setKnowledgeVersion(searcher.index().version())
                .setContext(evidence.context())
                .setTokensBefore(evidence.note().getTokensBefore())
                .setTokensAfter(evidence.note().getTokensAfter())
                .setSearch(evidence.note())
                .setDegraded(degraded);
    }

    /** The vector of a text; empty while the model is away that words are searched for without. */
    private float[] embed(Query query, String text) throws InterruptedException {
        try {
            return cache.embed(searcher.embedder(), query.getVariant(), text);
        } catch (Embedder.EmbeddingException e) {
            if (!searcher.goesWithoutVectors()) {
                throw e;
            }
            LOG.warn("{} is searched for by its words only: {}", query.getInteractionId(), e.getMessage());
            return new float[0];
        }
    }

    @Override
    public void close() {
        worker.close();
        searches.shutdownNow();
    }
}
