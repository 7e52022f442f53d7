package io.millrace.gateway;

import io.millrace.schema.Hit;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** The knowledge as the gateway sees it. Calls block and come from worker threads; what they throw is answered as 503. */
public interface SearchPort {
    /**
     * A question.
     *
     * @param text sanitized, not blank; in sql mode a valid {@link io.millrace.text.DocumentQuestion}
     * @param mode auto, keyword, semantic, hybrid, tree or sql
     * @param collections configured names; empty means all
     * @param fields exact values by field
     * @param tags all of which a hit must have
     * @param minSuccessRate 0..1; 0 for any
     * @param limit most hits, 1..50
     * @param minCosine least cosine of a semantic hit, 0..1
     * @param diversity weight of unlikeness among the hits, 0..1
     */
    record Asked(
            String text,
            String mode,
            List<String> collections,
            Map<String, String> fields,
            List<String> tags,
            double minSuccessRate,
            int limit,
            double minCosine,
            double diversity) {}

    /**
     * What was found.
     *
     * @param mode what auto chose
     * @param hits best first
     * @param contextScore probability that they answer the question, 0..1; null where that has no meaning
     * @param degraded parts that did not work and were done without
     */
    record Found(String mode, List<Hit> hits, @Nullable Double contextScore, List<String> degraded) {}

    /** Searches. */
    Found search(Asked asked);

    /** Begins to follow what was written to the knowledge until now. */
    Progress writtenUntilNow();

    /** How far into the index something is that was written; it is asked until it is there. */
    @FunctionalInterface
    interface Progress {
        /**
         * Whether searches see its effect, also when that is none, as for a document that is there already.
         *
         * @throws Exception when the log cannot be asked now
         */
        boolean isVisible() throws Exception;
    }
}
