package io.millrace.routers.retrieval;

import io.millrace.config.MillraceConfig;
import io.millrace.knowledge.ContextScore;
import io.millrace.knowledge.Embedder;
import io.millrace.knowledge.Searcher;
import io.millrace.knowledge.Vectors;
import io.millrace.log.Log;
import io.millrace.log.LogRecord;
import io.millrace.log.LogWorker;
import io.millrace.log.Topics;
import io.millrace.routers.cache.ResponseCache;
import io.millrace.routers.cache.SemanticCache;
import io.millrace.schema.CachedAnswer;
import io.millrace.schema.Envelope;
import io.millrace.schema.Feature;
import io.millrace.schema.Hit;
import io.millrace.schema.Query;
import io.millrace.schema.Retrieval;
import io.millrace.service.Service;
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

    private final Log log;
    private final MillraceConfig config;
    private final Searcher searcher;
    private final EmbeddingCache cache;
    private final ResponseCache responses;
    private final Optional<SemanticCache> similar;
    private final LogWorker<Query> worker;
    private final ExecutorService searches = Executors.newVirtualThreadPerTaskExecutor();

    /** What failed the last search, by part; empty when the last one went well. */
    private volatile Map<String, String> troubles = Map.of();

    public RetrievalWorker(
            Log log,
            MillraceConfig config,
            Searcher searcher,
            EmbeddingCache cache,
            ResponseCache responses,
            Optional<SemanticCache> similar) {
        this.log = log;
        this.config = config;
        this.searcher = searcher;
        this.cache = cache;
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
        return Map.copyOf(details);
    }

    private void retrieve(LogRecord<Query> record) throws InterruptedException, ExecutionException {
        Query query = record.required();
        long began = System.nanoTime();
        Retrieval.Builder retrieval = Retrieval.newBuilder().setMode("off");
        ResponseCache.Look look = look(query);
        if (!query.getRetrieval().equals("off") && look.found().isEmpty()) {
            Future<Retrieval.Builder> search = searches.submit(() -> search(query));
            try {
                retrieval = search.get(config.retrieval().timeout().toMillis(), TimeUnit.MILLISECONDS);
                troubles = Map.of();
            } catch (TimeoutException e) {
                search.cancel(true);
                degrade(query, retrieval, "timeout", e);
            } catch (ExecutionException e) {
                boolean model = e.getCause() instanceof Embedder.EmbeddingException;
                degrade(query, retrieval, model ? "embedder" : "index", e.getCause() == null ? e : e.getCause());
            }
        }
        Envelope envelope = Envelope.newBuilder(query.getEnvelope())
                .setOccurredAt(System.currentTimeMillis())
                .build();
        retrieval
                .setEnvelope(envelope)
                .setCached(look.found().orElse(null))
                // what was answered without its evidence must not be answered so again
                .setCacheTicket(retrieval.hasDegraded() ? "" : look.ticket())
                .setInteractionId(query.getInteractionId())
                .setQuery(query)
                .setTimings(List.of(new Feature("total", (System.nanoTime() - began) / 1e6)));
        log.producer()
                .send(Topics.RETRIEVALS, query.getInteractionId(), retrieval.build())
                .get();
    }

    private ResponseCache.Look look(Query query) throws InterruptedException {
        String version =
                query.getRetrieval().equals("off") ? "" : searcher.index().version();
        try {
            ResponseCache.Look exact = responses.look(query, version);
            if (similar.isEmpty() || exact.ticket().isEmpty()) {
                return exact;
            }
            Optional<String> scope = SemanticCache.scope(query, version);
            if (scope.isEmpty()) {
                return exact;
            }
            float[] vector = cache.embed(searcher.embedder(), query.getVariant(), query.getText());
            Optional<CachedAnswer> near = similar.get().look(query, scope.get(), exact.ticket(), vector);
            return near.isEmpty() ? exact : new ResponseCache.Look(near, "");
        } catch (RuntimeException e) {
            LOG.warn("{} is not looked up in the response cache: {}", query.getInteractionId(), e.toString());
            return ResponseCache.Look.NOTHING;
        }
    }

    private void degrade(Query query, Retrieval.Builder retrieval, String part, Throwable error) {
        LOG.warn("{} goes on without evidence: {}", query.getInteractionId(), error.toString());
        retrieval.setDegraded(List.of(part));
        troubles = Map.of(part, "failed: queries go on without evidence: " + error);
    }

    private Retrieval.Builder search(Query query) throws InterruptedException {
        Retrieval.Builder retrieval = Retrieval.newBuilder();
        String mode = query.getRetrieval().equals("auto") ? "hybrid" : query.getRetrieval();
        float[] vector = cache.embed(searcher.embedder(), query.getVariant(), query.getText());
        int limit = Math.clamp(query.getLimit(), 1, 50);
        Searcher.Result found = searcher.search(
                new Searcher.Request(query.getText(), mode, query.getCollections(), limit, query.getScoreThreshold()),
                vector);
        retrieval
                .setMode(mode)
                .setHits(found.hits())
                .setContextScore(found.contextScore())
                .setScoreModel(ContextScore.VERSION)
                .setEmbedding(Vectors.toBytes(vector))
                .setEmbeddingModel(searcher.embedder().fingerprint())
                .setKnowledgeVersion(searcher.index().version());
        if (cache.isDown()) {
            retrieval.setDegraded(List.of("redis"));
        }
        retrieval.setTokensBefore(
                found.hits().stream().mapToInt(hit -> tokens(hit.getText())).sum());
        boolean add = query.getAddContext()
                && !query.getTools()
                && found.contextScore() >= config.retrieval().minContextScore();
        if (add) {
            String context = context(found.hits());
            retrieval.setContext(context).setTokensAfter(tokens(context));
        }
        return retrieval;
    }

    /** Whole passages, best first, as far as the budget goes. */
    private String context(List<Hit> hits) {
        List<String> blocks = new ArrayList<>();
        int left = config.retrieval().contextTokens();
        for (int i = 0; i < hits.size(); i++) {
            Hit hit = hits.get(i);
            String block = "[" + (i + 1) + "] " + hit.getTitle() + " (" + hit.getPath() + ")\n" + hit.getText();
            int cost = tokens(block);
            if (cost <= left) {
                blocks.add(block);
                left -= cost;
            }
        }
        return String.join("\n\n", blocks);
    }

    /** Four characters a token, the usual rule for English. */
    private static int tokens(String text) {
        return (text.length() + 3) / 4;
    }

    @Override
    public void close() {
        worker.close();
        searches.shutdownNow();
    }
}
