package io.millrace.knowledge;

import io.millrace.schema.Hit;
import java.util.List;
import java.util.Objects;

/**
 * The probability that the evidence answers the question: a logistic map of the best cosine, the mean cosine of the best three, and the
 * share of the question's words that the best three passages hold.
 *
 * <p>All weights are positive, so better evidence never scores lower. A raw cosine would not do: MiniLM gives 0.5 to a good hit.
 */
public final class ContextScore {
    /** Changes whenever the same evidence may score differently. */
    public static final String VERSION = "1";

    static final double BIAS = -7.76;
    static final double TOP = 8.30;
    static final double MEAN = 7.01;
    static final double COVERAGE = 4.27;

    private ContextScore() {}

    /**
     * The score of non-empty evidence, 0..1.
     *
     * @param hits best first
     * @param coverage share of the question's words in the best passages, weighted by rarity, 0..1
     */
    public static double of(List<Hit> hits, double coverage) {
        double top = hits.stream().mapToDouble(ContextScore::cosine).max().orElse(0);
        double mean = hits.stream()
                .mapToDouble(ContextScore::cosine)
                .boxed()
                .sorted(java.util.Comparator.reverseOrder())
                .limit(3)
                .mapToDouble(d -> d)
                .average()
                .orElse(0);
        return of(top, mean, coverage);
    }

    static double of(double top, double mean, double coverage) {
        return 1 / (1 + Math.exp(-(BIAS + TOP * top + MEAN * mean + COVERAGE * coverage)));
    }

    private static double cosine(Hit hit) {
        return Math.max(0, Objects.requireNonNullElse(hit.getCosine(), 0.0));
    }
}
