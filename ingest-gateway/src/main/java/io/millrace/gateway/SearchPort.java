package io.millrace.gateway;

import io.millrace.schema.Hit;
import java.util.List;

/** The knowledge as the gateway sees it. Calls block and come from worker threads; what they throw is answered as 503. */
public interface SearchPort {
    /**
     * @param query sanitized text, not blank
     * @param mode keyword, semantic or hybrid
     * @param collections configured names; empty means all
     * @param limit most hits, 1..50
     */
    record Request(String query, String mode, List<String> collections, int limit) {
        public Request {
            collections = List.copyOf(collections);
        }
    }

    /** Passages, best first. */
    List<Hit> search(Request request);

    /** Whether searches find passages of this document now. */
    boolean isVisible(String documentId);
}
