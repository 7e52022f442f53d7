package io.millrace.routers.retrieval;

import io.millrace.config.MillraceConfig;
import io.millrace.knowledge.ContextBlock;
import io.millrace.knowledge.Filter;
import io.millrace.knowledge.QueryExpander;
import io.millrace.knowledge.QueryExpander.ExpansionException;
import io.millrace.knowledge.Searcher;
import io.millrace.schema.Hit;
import io.millrace.schema.Query;
import io.millrace.schema.SearchNote;
import io.millrace.text.ContextLevel;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Context for a prompt: small first, more when it is not confident. Prompt tokens cost money and time, and a passage that is not
 * needed distracts the model; so a question whose first hits answer it gets half the budget, and one whose do not gets all of it. For
 * one whose do not, a model rewords the question where one is configured, a level looks into the other collections, and what stands around the
 * best hits is read.
 *
 * <p>The context score is that of the last search of its own. Surroundings do not change it: it is fitted on hits, and routing must not
 * believe that more passages are better ones.
 */
final class ProgressiveContext {
    private static final Logger LOG = LoggerFactory.getLogger(ProgressiveContext.class);

    /** Context score from which the first search is enough: what routing takes for confident enough to try. */
    static final double CONFIDENT = 0.70;

    private static final int MOST_HITS = 50;
    private static final String AUTO = "auto";

    private final MillraceConfig config;
    private final Searcher searcher;
    private final Optional<QueryExpander> expander;

    ProgressiveContext(MillraceConfig config, Searcher searcher, Optional<QueryExpander> expander) {
        this.config = config;
        this.searcher = searcher;
        this.expander = expander;
    }

    /**
     * @param context what goes into the prompt; empty for nothing
     * @param note how it came about
     */
    record Evidence(Searcher.Result found, String context, SearchNote note) {}

    /** The contracts whose answer is the context itself. */
    static boolean asksForContext(Query query) {
        return query.getApi().equals("augment") || query.getApi().equals("context");
    }

    /**
     * @param text what to search for
     * @param vector of that text
     * @param turn of the query's session
     */
    Evidence gather(Query query, String text, float[] vector, Sessions.Turn turn) {
        Optional<ContextLevel> level = ContextLevel.of(query.getContextLevel());
        List<String> collections =
                level.map(each -> each.collections(config.collections())).orElse(query.getCollections());
        Search search = new Search(query, text, vector, excluded(query, turn));
        Searcher.Result found = search.in(collections, query.getRetrieval(), List.of());
        double score = score(found);
        boolean wanted = query.getAddContext() && (query.getGenerate() || asksForContext(query)) && !query.getTools();
        int rounds = 1;
        List<String> degraded = new ArrayList<>(found.degraded());
        List<String> rewordings = List.of();
        if (wanted && score < CONFIDENT && found.contextScore().isPresent()) {
            rewordings = query.getRetrieval().equals(AUTO) ? reworded(query, text, degraded) : List.of();
            boolean narrow = level.isPresent() && !collections.isEmpty();
            if (narrow || !rewordings.isEmpty()) {
                Searcher.Result second = search.in(narrow ? List.of() : collections, query.getRetrieval(), rewordings);
                rounds++;
                if (score(second) > score) {
                    found = second;
                    score = score(second);
                    collections = narrow ? List.of() : collections;
                } else {
                    rewordings = List.of();
                }
            }
        }
        boolean add = wanted
                && score >= config.retrieval().minContextScore()
                && !found.hits().isEmpty();
        // where the client chose how to search, that is how it is searched
        if (add && score < CONFIDENT && query.getRetrieval().equals(AUTO)) {
            Searcher.Result wider = search.in(collections, "tree", rewordings);
            found = new Searcher.Result(
                    wider.mode(), wider.hits(), found.contextScore(), found.coveredScore(), List.of());
            degraded.addAll(wider.degraded());
            rounds++;
        }
        found = new Searcher.Result(
                found.mode(),
                found.hits(),
                found.contextScore(),
                found.coveredScore(),
                degraded.stream().distinct().toList());
        List<String> queries = new ArrayList<>();
        if (!text.equals(query.getText())) {
            queries.add(text);
        }
        queries.addAll(rewordings);
        SearchNote.Builder note = SearchNote.newBuilder()
                .setMode(found.mode())
                .setRounds(rounds)
                .setCollections(collections)
                .setSessionTurn(turn.turn())
                .setQueries(queries);
        if (!add) {
            note.setTokensBefore(found.hits().stream()
                    .map(Hit::getText)
                    .mapToInt(ContextBlock::tokens)
                    .sum());
            return new Evidence(found, "", note.build());
        }
        int budget = budget(query, score);
        ContextBlock block = ContextBlock.of(text, found.hits(), budget);
        note.setTokenBudget(budget)
                .setTokensBefore(block.tokensBefore())
                .setTokensAfter(block.tokensAfter())
                .setUsed(block.used());
        return new Evidence(found, block.text(), note.build());
    }

    private static double score(Searcher.Result found) {
        return found.contextScore().orElse(1.0);
    }

    /** What a client gave is its room, not a target of ours: it is not halved. */
    private int budget(Query query, double score) {
        if (query.getContextTokens() > 0) {
            return query.getContextTokens();
        }
        int most = config.retrieval().contextTokens();
        return score >= CONFIDENT ? most / 2 : most;
    }

    /** What a client that collects context has already; a model that answers forgets between questions and needs it again. */
    private static Set<String> excluded(Query query, Sessions.Turn turn) {
        Set<String> excluded = new HashSet<>(query.getExclude());
        if (query.getApi().equals("context")) {
            excluded.addAll(turn.sent());
        }
        return excluded;
    }

    private List<String> reworded(Query query, String text, List<String> degraded) {
        if (expander.isEmpty() || (query.getLocalOnly() && !expander.get().isLocal())) {
            return List.of();
        }
        try {
            return expander.get().reword(text);
        } catch (ExpansionException e) {
            LOG.warn("{} is searched for in its own words: {}", query.getInteractionId(), e.getMessage());
            degraded.add("expander");
            return List.of();
        }
    }

    private final class Search {
        private final Query query;
        private final String text;
        private final float[] vector;
        private final Set<String> exclude;

        Search(Query query, String text, float[] vector, Set<String> exclude) {
            this.query = query;
            this.text = text;
            this.vector = vector;
            this.exclude = exclude;
        }

        Searcher.Result in(List<String> collections, String mode, List<String> rewordings) {
            return searcher.search(
                    new Searcher.Request(
                            text,
                            mode,
                            new Filter(collections, query.getFilters(), query.getTags(), query.getMinSuccessRate()),
                            Math.clamp(query.getLimit(), 1, MOST_HITS),
                            query.getScoreThreshold(),
                            query.getAddContext() ? config.retrieval().diversity() : 0,
                            new Searcher.More(rewordings, exclude, query.getLocalOnly())),
                    vector);
        }
    }
}
