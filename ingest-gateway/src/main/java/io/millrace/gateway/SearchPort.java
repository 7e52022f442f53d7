package io.millrace.gateway;

import io.millrace.schema.Hit;
import java.util.List;

/** The knowledge as the gateway sees it. Calls block and come from worker threads; what they throw is answered as 503. */
public interface SearchPort {
    /**
     * Passages, best first.
     *
     * @param text sanitized, not blank
     * @param mode keyword, semantic or hybrid
     * @param collections configured names; empty means all
     * @param limit most hits, 1..50
     * @param minCosine least cosine of a semantic hit, 0..1
     */
    List<Hit> search(String text, String mode, List<String> collections, int limit, double minCosine);

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
