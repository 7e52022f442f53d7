package io.millrace.sinks.upkeep;

import io.millrace.knowledge.Filter;
import io.millrace.knowledge.VectorIndex;
import io.millrace.knowledge.VectorIndex.Candidate;
import io.millrace.knowledge.VectorIndex.Question;
import io.millrace.knowledge.Vectors;
import io.millrace.schema.Passage;
import java.util.Collection;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.function.Predicate;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * Tells whether a document only repeats another one: each of its passages is at least 0.95 alike one of the other's, and it has no word
 * that the other has not. The second is asked because "valve 7" and "valve 8" are more than 0.95 alike, too, and deleting is for ever.
 */
final class Duplicates {
    /** Cosine from which two passages say the same. */
    static final double ALIKE = 0.95;

    private static final int NEIGHBOURS = 16;
    private static final Pattern BETWEEN_WORDS = Pattern.compile("[^\\p{L}\\p{N}]+");
    private static final List<String> TRUST = List.of("generated", "imported", "trusted");

    /** Of the metadata. Not where it came from: that is what copies differ in; trust is compared by its rank. */
    private static final List<String> RESTRICTED_BY = Stream.concat(
                    Filter.FIELDS.stream().filter(field -> !field.equals("source") && !field.equals("trust")),
                    Stream.of("success_rate"))
            .toList();

    private final VectorIndex index;

    Duplicates(VectorIndex index) {
        this.index = index;
    }

    /**
     * A passage of the document that says all that this one says, of the same collection and tenant, trusted no less and kept no more
     * private; empty when there is none.
     *
     * @param checksums of the documents as they are, by id; the index may have what they said before
     * @param stays whether the document of a passage is going to stay
     */
    Optional<Passage> original(String documentId, Map<String, String> checksums, Predicate<Passage> stays) {
        List<Passage> passages = passages(documentId);
        if (!isWhole(passages, checksums)) {
            return Optional.empty();
        }
        Set<String> candidates = Set.of();
        for (int i = 0; i < passages.size() && (i == 0 || !candidates.isEmpty()); i++) {
            Passage passage = passages.get(i);
            Set<String> alike = new LinkedHashSet<>();
            for (Passage other : near(passage)) {
                if (replaces(other, passage) && isOfNow(other, checksums) && stays.test(other)) {
                    alike.add(other.getDocumentId());
                }
            }
            if (i > 0) {
                alike.retainAll(candidates);
            }
            candidates = alike;
        }
        Set<String> said = words(passages);
        return candidates.stream()
                .map(this::passages)
                .map(other -> other.stream()
                        .filter(passage -> isOfNow(passage, checksums))
                        .toList())
                .filter(other -> !other.isEmpty() && words(other).containsAll(said))
                .map(List::getFirst)
                .findFirst();
    }

    /** Passages of its collection that say the same as one. */
    private Collection<Passage> near(Passage passage) {
        List<String> ids = index
                .candidates(new Question(
                        Vectors.fromBytes(passage.getVector()),
                        Map.of(),
                        NEIGHBOURS,
                        Filter.collections(List.of(passage.getCollection()))))
                .stream()
                .filter(candidate -> candidate.cosine() != null && candidate.cosine() >= ALIKE)
                .map(Candidate::passageId)
                .toList();
        return index.load(ids).values();
    }

    private List<Passage> passages(String documentId) {
        return index.section(documentId, 0, Integer.MAX_VALUE);
    }

    /** What is not embedded yet, or is in quarantine, may be what no other document says. */
    private static boolean isWhole(List<Passage> passages, Map<String, String> checksums) {
        return !passages.isEmpty()
                && passages.size() == passages.getFirst().getChunkCount()
                && passages.stream().allMatch(passage -> isOfNow(passage, checksums));
    }

    private static boolean isOfNow(Passage passage, Map<String, String> checksums) {
        String checksum = checksums.get(passage.getDocumentId());
        return checksum != null && checksum.equals(passage.getMetadata().get("checksum"));
    }

    private static boolean replaces(Passage other, Passage passage) {
        return !other.getDocumentId().equals(passage.getDocumentId())
                && other.getEnvelope().getTenant().equals(passage.getEnvelope().getTenant())
                && other.getLocalOnly() == passage.getLocalOnly()
                && isFoundAs(other, passage)
                && TRUST.indexOf(other.getTrust()) >= TRUST.indexOf(passage.getTrust());
    }

    /** Whether a search that is restricted by what a document says of itself finds the one where it finds the other. */
    private static boolean isFoundAs(Passage other, Passage passage) {
        Map<String, String> metadata = passage.getMetadata();
        return RESTRICTED_BY.stream()
                        .allMatch(field -> Objects.equals(other.getMetadata().get(field), metadata.get(field)))
                && Set.copyOf(other.getTags()).containsAll(passage.getTags());
    }

    private static Set<String> words(List<Passage> passages) {
        Set<String> words = new HashSet<>();
        for (Passage passage : passages) {
            words.addAll(List.of(
                    BETWEEN_WORDS.split((passage.getTitle() + " " + passage.getText()).toLowerCase(Locale.ROOT))));
        }
        words.remove("");
        return words;
    }
}
