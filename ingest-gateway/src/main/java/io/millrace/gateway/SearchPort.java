package io.millrace.gateway;

import io.millrace.schema.Hit;
import io.millrace.schema.QueryGap;
import io.millrace.schema.SourceStatus;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.Optional;
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

    /**
     * The model that makes the vectors of searches. Does not block.
     *
     * @param name as a request names it
     * @param fingerprint name and version, by which a request may name it, too
     * @param dimension length of its vectors
     */
    record EmbeddingModel(String name, String fingerprint, int dimension) {}

    EmbeddingModel embeddingModel();

    /**
     * Vectors.
     *
     * @param vectors one for each text, of length 1
     * @param tokens estimate of what the texts have together
     */
    record Embedded(List<float[]> vectors, long tokens) {
        public Embedded {
            vectors = List.copyOf(vectors);
        }
    }

    /**
     * Embeds texts as they are: neither as questions nor as passages.
     *
     * @param texts sanitized, none blank
     * @throws RefusedTextsException when the model will never embed them
     */
    Embedded embed(List<String> texts) throws RefusedTextsException;

    /** The model does not take these texts, and is well. */
    final class RefusedTextsException extends Exception {
        private static final long serialVersionUID = 1L;

        public RefusedTextsException(Throwable cause) {
            super(cause.getMessage(), cause);
        }
    }

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

    /**
     * Documents that no answer used and that did not change since, and those that repeat others; deletes them unless asked not to. At most the first 1,000 are told.
     *
     * @throws BehindException while the store does not have all that the log says of their use
     * @throws Exception when the store of interactions cannot be asked
     */
    Garbage collectGarbage(Instant unchangedSince, boolean dryRun) throws Exception;

    /** A store does not have yet what the log has. */
    final class BehindException extends Exception {
        private static final long serialVersionUID = 1L;

        public BehindException(Throwable cause) {
            super(cause.getMessage(), cause);
        }
    }

    /**
     * Documents with how they were used, by source and path: a page of them, in an order that does not change with the page.
     *
     * @throws Exception when the store of documents cannot be asked
     */
    Listed documents(Asking asking) throws Exception;

    /**
     * Where the document of this id is; empty when there is none.
     *
     * @throws Exception when the store of documents cannot be asked
     */
    Optional<Place> place(String documentId) throws Exception;

    /**
     * Where a document is.
     *
     * @param path as it is shown: secrets in it are redacted
     */
    record Place(String source, String path) {}

    /**
     * Which documents.
     *
     * @param source empty for all
     * @param trust empty for all
     * @param limit at least 1
     * @param offset documents before the first that is listed, at least 0
     */
    record Asking(String source, String trust, int limit, int offset) {}

    /** @param total of all that were asked for, on this page or not */
    record Listed(long total, List<Stored> documents) {
        public Listed {
            documents = List.copyOf(documents);
        }
    }

    /**
     * A document without its content.
     *
     * @param size bytes in UTF-8
     * @param uses answers and searches that it was part of
     */
    record Stored(
            String documentId,
            String source,
            String path,
            String title,
            String collection,
            String trust,
            boolean quarantined,
            long size,
            Instant updatedAt,
            Optional<Instant> lastAccessedAt,
            long uses) {}

    /**
     * A document of no use.
     *
     * @param reason {@code unused}, or which document it repeats
     */
    record Unused(String documentId, String source, String path, String collection, String reason) {}

    /** What a collection found. */
    record Garbage(long total, Map<String, Long> byCollection, List<Unused> first) {
        public Garbage {
            byCollection = Map.copyOf(byCollection);
            first = List.copyOf(first);
        }
    }

    /** Whose session of which name. */
    record SessionName(String tenant, String principal, String id) {}

    /**
     * What was asked and sent in a session.
     *
     * @param lastAccessed time of the last query
     * @param turns queries
     * @param passagesSent passages in the contexts of all turns
     * @param tokensSent tokens of these contexts
     * @param queries the last ones, oldest first; without those that may not be stored
     * @param metadata as the last turn that had some gave it
     */
    record Session(
            Instant createdAt,
            Instant lastAccessed,
            int turns,
            long passagesSent,
            long tokensSent,
            List<String> queries,
            Map<String, String> metadata) {
        public Session {
            queries = List.copyOf(queries);
            metadata = Map.copyOf(metadata);
        }
    }

    /**
     * A session that was used in the last hour.
     *
     * @throws Exception when the sessions are not known now
     */
    Optional<Session> session(SessionName name) throws Exception;

    /**
     * Forgets a session.
     *
     * @throws Exception when the sessions cannot be reached
     */
    void clearSession(SessionName name) throws Exception;

    /**
     * What each knowledge source does; one of kind {@code file} tells what is wrong with their declaration. Does not block.
     *
     * @return empty while that is not read from the log yet
     */
    Optional<List<SourceStatus>> sources();

    /** Questions that the knowledge did not cover in the last seven days that they were asked on. Does not block. */
    List<QueryGap> gaps();
}
