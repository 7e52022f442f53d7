package io.millrace.knowledge;

import io.millrace.schema.Passage;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** A searchable projection of {@code passages}. The port to a vector store. */
public interface VectorIndex extends AutoCloseable {
    /**
     * A question to the index. With both sides the candidates of either get the scores of both.
     *
     * @param vector unit vector for the dense side; empty for none
     * @param terms weights by term for the keyword side, from {@link Terms}; empty for none
     * @param limit most candidates of each side, at least 1
     */
    @SuppressWarnings("ArrayRecordComponent") // never compared, and read once for each passage
    record Question(float[] vector, Map<String, Double> terms, int limit, Filter filter) {}

    /**
     * A passage that may answer. Not the passage itself: of a hundred candidates ten are read.
     *
     * @param vector its unit vector
     * @param cosine to the question's vector, -1..1; null without one
     * @param bm25 at least 0, comparable only within one question; null when no term of the question is in it
     */
    @SuppressWarnings("ArrayRecordComponent") // the same
    record Candidate(
            String passageId,
            String documentId,
            float[] vector,
            @Nullable Double cosine,
            @Nullable Double bm25,
            Facts facts) {}

    /**
     * Adds a passage, or replaces the one with its id. Visible after {@link #refresh}.
     *
     * @throws IllegalStateException or {@link java.io.UncheckedIOException} when the index does not do its part: the same passage may be
     *     put again; what else is thrown is the passage's fault
     */
    void put(Passage passage);

    /** Removes a passage. */
    void delete(String passageId);

    /** Makes everything written before visible to searches. */
    void refresh();

    /**
     * Puts in order what was written, so that searches get faster; for when nothing comes in for a while. May take a core for minutes, and
     * fails when the index is closed meanwhile. What it did is durable after the next {@link #commit}.
     *
     * @return whether there was something to do
     */
    boolean settle();

    /**
     * Makes everything written before durable, together with the offsets up to which the log is in it.
     *
     * @param offsets next offset by partition
     */
    void commit(Map<Integer, Long> offsets);

    /** The offsets of the last commit; empty for a new index. */
    Map<Integer, Long> committed();

    /**
     * The nearest passages by cosine and the best by BM25, each once, in no particular order. Quarantined passages are never returned.
     */
    List<Candidate> candidates(Question question);

    /** Visible passages by id; one that is gone is missing. */
    Map<String, Passage> load(Collection<String> passageIds);

    /** Visible passages of a document that are not quarantined, from one chunk index to another, both inclusive, in order. */
    List<Passage> section(String documentId, int from, int to);

    /** In how many passages each term stands, of {@link #count}. */
    Map<String, Long> frequencies(Collection<String> terms);

    /** Whether a visible passage belongs to this document, in this version of its text where one is given. */
    boolean hasDocument(String documentId, @Nullable String checksum);

    /** Ids of the visible passages of a document. */
    List<String> passagesOf(String documentId);

    /** Number of visible passages. */
    long count();

    /** Changes with every refresh that showed something new, and with nothing else while the index is open. */
    String version();

    @Override
    void close();
}
