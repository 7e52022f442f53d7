package io.millrace.knowledge;

import io.millrace.schema.Passage;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** A searchable projection of {@code passages}. The port to a vector store. */
public interface VectorIndex extends AutoCloseable {
    /** A passage with one score, whose unit the method that returned it says. */
    record Scored(Passage passage, double score) {}

    /** Adds a passage, or replaces the one with its id. Visible after {@link #refresh}. */
    void put(Passage passage);

    /** Removes a passage. */
    void delete(String passageId);

    /** Makes everything written before visible to searches. */
    void refresh();

    /**
     * Makes everything written before durable, together with the offsets up to which the log is in it.
     *
     * @param offsets next offset by partition
     */
    void commit(Map<Integer, Long> offsets);

    /** The offsets of the last commit; empty for a new index. */
    Map<Integer, Long> committed();

    /** Nearest passages by cosine, best first. Quarantined passages are never returned. */
    List<Scored> nearest(float[] vector, int limit, List<String> collections);

    /** Best passages by BM25, best first. Quarantined passages are never returned. */
    List<Scored> matching(String text, int limit, List<String> collections);

    /** Visible passages of a document that are not quarantined, from one chunk index to another, both inclusive, in order. */
    List<Passage> section(String documentId, int from, int to);

    /** The share of the query's words, weighted by how rare they are, that the passages hold, 0..1. */
    double coverage(String text, List<Passage> passages);

    /** Whether a visible passage belongs to this document, in this version of its text where one is given. */
    boolean hasDocument(String documentId, @Nullable String checksum);

    /** Ids of the visible passages of a document. */
    List<String> passagesOf(String documentId);

    /** Number of visible passages. */
    long count();

    /** Changes with every refresh that showed something new. */
    String version();

    @Override
    void close();
}
