package io.millrace.knowledge;

import java.util.Comparator;
import java.util.List;

/**
 * The probability that the evidence answers the question: a logistic map of the best cosine, the mean cosine of the best three, and the
 * share of the question's words that the best three passages hold.
 *
 * <p>All weights are positive, so better evidence never scores lower. A raw cosine would not do: MiniLM gives 0.5 to a good hit.
 */
public final class ContextScore {
    /** Changes whenever the same evidence may score differently. */
    public static final String VERSION = "1";

    /** Whose cosines it was fitted to: those of another model mean something else. */
    public static final String EMBEDDER = "all-MiniLM-L6-v2-q:1";

    static final double BIAS = -7.76;
    static final double TOP = 8.30;
    static final double MEAN = 7.01;
    static final double COVERAGE = 4.27;

    private static final int BEST = 3;

    private ContextScore() {}

    /**
     * The score of non-empty evidence, 0..1.
     *
     * @param cosines of the best hits to the question, by {@link #EMBEDDER}
     * @param coverage share of the question's words in the best passages, weighted by rarity, 0..1
     */
    public static double of(List<Double> cosines, double coverage) {
        List<Double> best = cosines.stream()
                .map(cosine -> Math.max(0, cosine))
                .sorted(Comparator.reverseOrder())
                .limit(BEST)
                .toList();
        double mean = best.stream().mapToDouble(cosine -> cosine).average().orElse(0);
        return of(best.isEmpty() ? 0 : best.getFirst(), mean, coverage);
    }

    static double of(double top, double mean, double coverage) {
        return 1 / (1 + Math.exp(-(BIAS + TOP * top + MEAN * mean + COVERAGE * coverage)));
    }
}
