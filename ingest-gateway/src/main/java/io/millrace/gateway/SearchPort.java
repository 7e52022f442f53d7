package io.millrace.gateway;

import io.millrace.schema.Hit;
import java.util.List;

/** Search over the knowledge, as the gateway needs it. Calls block and are made off the event loop. */
public interface SearchPort {
    /**
     * Hits, best first.
     *
     * @param mode keyword, semantic or hybrid
     * @param collections to search; empty for all
     */
    List<Hit> search(String text, String mode, List<String> collections, int limit, double minCosine);

    /** Whether this document is searchable now. */
    boolean isVisible(String documentId);
}
