package io.millrace.knowledge;

import io.millrace.knowledge.VectorIndex.Scored;
import io.millrace.schema.Hit;
import io.millrace.schema.Passage;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.ToDoubleFunction;
import org.jspecify.annotations.Nullable;

/**
 * Search over the knowledge: keyword, semantic, or both.
 *
 * <p>Hybrid fuses the two candidate lists by a weighted sum of z-scores within the list: unlike reciprocal ranks it keeps how far ahead
 * a hit is. A candidate that one list lacks has that list's lowest score. The dense weight rises with the length of the question, since
 * a long one says more in its meaning than in its words, and a short one is a look-up of words.
 */
public final class Searcher {
    /** Candidates of each kind: fusion reorders the top, and the tail beyond this is noise. */
    private static final int CANDIDATES = 60;

    private final VectorIndex index;
    private final Embedder embedder;
    private final Set<String> collections;

    /** @param collections the configured ones: any other name is an error */
    public Searcher(VectorIndex index, Embedder embedder, List<String> collections) {
        this.index = index;
        this.embedder = embedder;
        this.collections = Set.copyOf(collections);
    }

    /**
     * A question.
     *
     * @param mode keyword, semantic or hybrid; auto is hybrid
     * @param collections to search; empty for all
     * @param limit most hits, 1..100
     * @param minCosine least cosine of a hit that no keyword found, -1..1
     */
    public record Request(String text, String mode, List<String> collections, int limit, double minCosine) {
        public Request {
            collections = List.copyOf(collections);
        }
    }

    /**
     * What was found.
     *
     * @param hits best first
     * @param contextScore fitted probability that the hits answer the question, 0..1
     */
    public record Result(List<Hit> hits, double contextScore) {
        public Result {
            hits = List.copyOf(hits);
        }
    }

    /** A collection that is not configured. */
    public static final class UnknownCollectionException extends RuntimeException {
        private static final long serialVersionUID = 1L;

        UnknownCollectionException(String name, Set<String> known) {
            super("there is no collection " + name + "; there are " + String.join(", ", new TreeSet<>(known)));
        }
    }

    private static final class Candidate {
        private final Passage passage;
        private @Nullable Double cosine;
        private @Nullable Double bm25;

        Candidate(Passage passage) {
            this.passage = passage;
        }
    }

    /** The index that is searched. */
    public VectorIndex index() {
        return index;
    }

    /** The model that embeds questions. */
    public Embedder embedder() {
        return embedder;
    }

    /**
     * Searches with a vector made before.
     *
     * @param vector unit vector of the text; ignored for keyword
     * @throws UnknownCollectionException when a collection is not configured
     */
    public Result search(Request request, float[] vector) {
        for (String name : request.collections()) {
            if (!collections.contains(name)) {
                throw new UnknownCollectionException(name, collections);
            }
        }
        boolean dense = !request.mode().equals("keyword");
        boolean sparse = !request.mode().equals("semantic");
        Map<String, Candidate> candidates = new LinkedHashMap<>();
        if (dense) {
            for (Scored hit : index.nearest(vector, CANDIDATES, request.collections())) {
                candidate(candidates, hit.passage()).cosine = hit.score();
            }
        }
        if (sparse) {
            for (Scored hit : index.matching(request.text(), CANDIDATES, request.collections())) {
                candidate(candidates, hit.passage()).bm25 = hit.score();
            }
        }
        if (dense) {
            candidates.values().forEach(candidate -> {
                if (candidate.cosine == null) {
                    candidate.cosine = Vectors.cosine(vector, Vectors.fromBytes(candidate.passage.getVector()));
                }
            });
        }
        List<Candidate> kept = candidates.values().stream()
                .filter(c -> c.bm25 != null || Objects.requireNonNullElse(c.cosine, 1.0) >= request.minCosine())
                .toList();
        List<Hit> hits = rank(request, kept, dense, sparse);
        List<Passage> top = hits.stream()
                .limit(3)
                .map(hit -> Objects.requireNonNull(candidates.get(hit.getPassageId())).passage)
                .toList();
        double coverage = hits.isEmpty() ? 0 : index.coverage(request.text(), top);
        return new Result(hits, hits.isEmpty() ? 0 : ContextScore.of(hits, coverage));
    }

    /** Embeds the question and searches. */
    public Result search(Request request) {
        float[] vector = request.mode().equals("keyword")
                ? new float[0]
                : embedder.embed(List.of(request.text())).get(0);
        return search(request, vector);
    }

    private static Candidate candidate(Map<String, Candidate> candidates, Passage passage) {
        return candidates.computeIfAbsent(passage.getPassageId(), id -> new Candidate(passage));
    }

    private static List<Hit> rank(Request request, List<Candidate> candidates, boolean dense, boolean sparse) {
        ToDoubleFunction<Candidate> score;
        String unit;
        if (dense && sparse) {
            double weight = denseWeight(request.text());
            ToDoubleFunction<Candidate> byCosine = standardized(candidates, c -> c.cosine);
            ToDoubleFunction<Candidate> byBm25 = standardized(candidates, c -> c.bm25);
            score = c -> weight * byCosine.applyAsDouble(c) + (1 - weight) * byBm25.applyAsDouble(c);
            unit = "fused";
        } else {
            score = c -> Objects.requireNonNullElse(dense ? c.cosine : c.bm25, 0.0);
            unit = dense ? "cosine" : "bm25";
        }
        record Ranked(Candidate candidate, double score) {}
        return candidates.stream()
                .map(c -> new Ranked(c, score.applyAsDouble(c)))
                .sorted(Comparator.comparingDouble(Ranked::score)
                        .reversed()
                        .thenComparing(r -> r.candidate.passage.getPassageId()))
                .limit(request.limit())
                .map(r -> hit(r.candidate, r.score, unit))
                .toList();
    }

    /** Half and half at 8 words, 0.35 at one, at most 0.65. */
    private static double denseWeight(String text) {
        int words = text.strip().split("\\s+").length;
        return Math.clamp(0.35 + 0.02 * words, 0.35, 0.65);
    }

    private interface Part {
        @Nullable
        Double of(Candidate candidate);
    }

    private static ToDoubleFunction<Candidate> standardized(List<Candidate> candidates, Part part) {
        List<Double> values = new ArrayList<>();
        candidates.forEach(c -> {
            Double value = part.of(c);
            if (value != null) {
                values.add(value);
            }
        });
        if (values.isEmpty()) {
            return c -> 0;
        }
        double mean = values.stream().mapToDouble(v -> v).average().orElse(0);
        double deviation = Math.sqrt(values.stream()
                .mapToDouble(v -> (v - mean) * (v - mean))
                .average()
                .orElse(0));
        double lowest = values.stream().mapToDouble(v -> v).min().orElse(0);
        double scale = deviation == 0 ? 1 : deviation;
        return c -> {
            Double value = part.of(c);
            return ((value == null ? lowest : value) - mean) / scale;
        };
    }

    private static Hit hit(Candidate candidate, double score, String unit) {
        Passage passage = candidate.passage;
        return Hit.newBuilder()
                .setPassageId(passage.getPassageId())
                .setDocumentId(passage.getDocumentId())
                .setCollection(passage.getCollection())
                .setTitle(passage.getTitle())
                .setPath(passage.getPath())
                .setChunkIndex(passage.getChunkIndex())
                .setText(passage.getText())
                .setScore(score)
                .setUnit(unit)
                .setCosine(candidate.cosine)
                .setBm25(candidate.bm25)
                .setTrust(passage.getTrust())
                .setLocalOnly(passage.getLocalOnly())
                .build();
    }
}
