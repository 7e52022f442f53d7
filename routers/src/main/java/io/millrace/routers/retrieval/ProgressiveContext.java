package io.millrace.routers.retrieval;

import io.millrace.config.MillraceConfig;
import io.millrace.knowledge.ContextBlock;
import io.millrace.knowledge.Filter;
import io.millrace.knowledge.Searcher;
import io.millrace.schema.Hit;
import io.millrace.schema.Query;
import io.millrace.schema.SearchNote;

/**
 * Context for a prompt: small first, more when it is not confident. Prompt tokens cost money and time, and a passage that is not
 * needed distracts the model; so a question whose first hits answer it gets half the budget, and one whose do not gets all of it, and what
 * stands around the best hits.
 *
 * <p>The context score stays that of the first search: it is fitted on its hits, and routing must not believe that more passages are
 * better ones.
 */
final class ProgressiveContext {
    /** Context score from which the first search is enough: what routing takes for confident enough to try. */
    static final double CONFIDENT = 0.70;

    private static final int MOST_HITS = 50;

    private final MillraceConfig.Retrieval config;
    private final Searcher searcher;

    ProgressiveContext(MillraceConfig.Retrieval config, Searcher searcher) {
        this.config = config;
        this.searcher = searcher;
    }

    /**
     * @param context what goes into the prompt; empty for nothing
     * @param note how it came about
     */
    record Evidence(Searcher.Result found, String context, SearchNote note) {}

    /** @param vector of the query's text */
    Evidence gather(Query query, float[] vector) {
        int limit = Math.clamp(query.getLimit(), 1, MOST_HITS);
        Searcher.Result found = searcher.search(request(query, query.getRetrieval(), limit), vector);
        double score = found.contextScore().orElse(1.0);
        boolean add = query.getAddContext()
                && query.getGenerate()
                && !query.getTools()
                && score >= config.minContextScore()
                && !found.hits().isEmpty();
        int rounds = 1;
        int budget = score >= CONFIDENT ? config.contextTokens() / 2 : config.contextTokens();
        // where the client chose how to search, that is how it is searched
        if (add && score < CONFIDENT && query.getRetrieval().equals("auto")) {
            Searcher.Result wider = searcher.search(request(query, "tree", limit), vector);
            found = new Searcher.Result(wider.mode(), wider.hits(), found.contextScore(), wider.degraded());
            rounds = 2;
        }
        SearchNote.Builder note = SearchNote.newBuilder().setMode(found.mode()).setRounds(rounds);
        if (!add) {
            note.setTokensBefore(found.hits().stream()
                    .map(Hit::getText)
                    .mapToInt(ContextBlock::tokens)
                    .sum());
            return new Evidence(found, "", note.build());
        }
        ContextBlock block = ContextBlock.of(query.getText(), found.hits(), budget);
        note.setTokenBudget(budget).setTokensBefore(block.tokensBefore()).setTokensAfter(block.tokensAfter());
        return new Evidence(found, block.text(), note.build());
    }

    private Searcher.Request request(Query query, String mode, int limit) {
        return new Searcher.Request(
                query.getText(),
                mode,
                new Filter(query.getCollections(), query.getFilters(), query.getTags(), query.getMinSuccessRate()),
                limit,
                query.getScoreThreshold(),
                query.getAddContext() ? config.diversity() : 0);
    }
}
