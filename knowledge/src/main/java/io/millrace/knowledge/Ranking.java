package io.millrace.knowledge;

import io.millrace.knowledge.VectorIndex.Candidate;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Objects;
import java.util.stream.IntStream;

/**
 * The order of candidates: fusion, support by neighbours, decay and boosts, diversity.
 *
 * <p><b>Fusion</b> is a weighted sum of each candidate's exact BM25 score and the third power of its exact cosine, as they are: both say
 * something on their own scale, and dividing them by their spread among the candidates (z-scores, as before) or taking their ranks only
 * (Cormack et al. 2009) lets the weaker side speak as loud as the stronger one. The power is because near things are relevant far more
 * often than things half as near. The weights are the same for every question; see {@code docs/decisions/013}.
 *
 * <p><b>Support</b> follows the cluster hypothesis (Diaz 2005, "Regularizing ad hoc retrieval scores"): a candidate's score moves a
 * little towards that of the candidates most similar to it. It costs {@code SUPPORTED²/2} dot products, about 0.3 ms.
 *
 * <p><b>Decay and boosts</b> multiply a positive score. For hybrid that is e<sup>sum − best sum</sup>: 1 for the best, so that a factor
 * means the same whatever the question.
 */
final class Ranking {
    /** Weights of the cosine's third power and of BM25, in the exponent: with these a boost of 1.3 is worth a third of the scores' spread. */
    private static final double DENSE = 7.4;

    private static final double SPARSE = 0.115;

    /** Candidates that are supported by each other. */
    private static final int SUPPORTED = 50;

    private static final int NEIGHBOURS = 10;
    private static final double SUPPORT = 0.35;

    private static final double VERIFIED = 1.5;
    private static final double SUCCESSFUL = 1.3;
    private static final double SUCCESSFUL_FROM = 0.8;
    private static final double LIKED = 1.3;
    private static final double USED_LATELY = 1.25;
    private static final Duration LATELY = Duration.ofDays(7);

    private Ranking() {}

    /**
     * A candidate with what orders it.
     *
     * @param score positive, in the unit of the mode; comparable within one question only
     * @param factor decay times boosts: what the score was multiplied by
     */
    record Ranked(Candidate candidate, double score, double factor) {}

    /**
     * Best first.
     *
     * @param mode keyword, semantic or hybrid
     * @param aging factor by age
     * @param now milliseconds
     */
    static List<Ranked> rank(List<Candidate> candidates, String mode, Aging aging, long now) {
        if (candidates.isEmpty()) {
            return List.of();
        }
        double[] scores = switch (mode) {
            case "keyword" -> candidates.stream().mapToDouble(Ranking::bm25).toArray();
            case "semantic" ->
                candidates.stream()
                        .mapToDouble(candidate -> Math.max(0, cosine(candidate)))
                        .toArray();
            default -> fused(candidates);
        };
        List<Ranked> ranked = new ArrayList<>();
        for (int i = 0; i < scores.length; i++) {
            Candidate candidate = candidates.get(i);
            double factor = aging.factor(candidate.facts().since(), now) * boost(candidate.facts(), now);
            ranked.add(new Ranked(candidate, scores[i] * factor, factor));
        }
        ranked.sort(
                Comparator.comparingDouble(Ranked::score).reversed().thenComparing(each -> each.candidate.passageId()));
        return ranked;
    }

    private static double[] fused(List<Candidate> candidates) {
        double[] sum = candidates.stream()
                .mapToDouble(each -> DENSE * Math.pow(Math.max(0, cosine(each)), 3) + SPARSE * bm25(each))
                .toArray();
        double[] supported = supported(candidates, sum);
        double best = Double.NEGATIVE_INFINITY;
        for (double score : supported) {
            best = Math.max(best, score);
        }
        for (int i = 0; i < supported.length; i++) {
            supported[i] = Math.exp(supported[i] - best);
        }
        return supported;
    }

    private static double[] supported(List<Candidate> candidates, double[] scores) {
        int[] top = IntStream.range(0, scores.length)
                .boxed()
                .sorted(Comparator.comparingDouble((Integer i) -> scores[i]).reversed())
                .limit(SUPPORTED)
                .mapToInt(Integer::intValue)
                .toArray();
        double[][] cosines = new double[top.length][top.length];
        for (int a = 0; a < top.length; a++) {
            for (int b = a + 1; b < top.length; b++) {
                cosines[a][b] = Math.max(
                        0,
                        Vectors.cosine(
                                candidates.get(top[a]).vector(),
                                candidates.get(top[b]).vector()));
                cosines[b][a] = cosines[a][b];
            }
        }
        double[] moved = scores.clone();
        for (int a = 0; a < top.length; a++) {
            // its own place in the row is 0
            double least = Math.max(Double.MIN_VALUE, largest(cosines[a], NEIGHBOURS));
            double weights = 0;
            double sum = 0;
            for (int b = 0; b < top.length; b++) {
                if (cosines[a][b] >= least) {
                    weights += cosines[a][b];
                    sum += cosines[a][b] * scores[top[b]];
                }
            }
            if (weights > 0) {
                moved[top[a]] = (1 - SUPPORT) * scores[top[a]] + SUPPORT * sum / weights;
            }
        }
        return moved;
    }

    /** The n-th largest of values that are at least 0, or the smallest when there are fewer: sorting them all took as long as the cosines. */
    private static double largest(double[] values, int n) {
        double[] most = new double[Math.min(n, values.length)];
        for (double value : values) {
            int at = most.length - 1;
            if (value <= most[at]) {
                continue;
            }
            for (; at > 0 && most[at - 1] < value; at--) {
                most[at] = most[at - 1];
            }
            most[at] = value;
        }
        return most[most.length - 1];
    }

    private static double boost(Facts facts, long now) {
        double boost = 1;
        boost *= facts.verified() ? VERIFIED : 1;
        boost *= facts.successRate() >= SUCCESSFUL_FROM ? SUCCESSFUL : 1;
        boost *= facts.feedbackLinked() ? LIKED : 1;
        boost *= facts.lastUsed() > 0 && now - facts.lastUsed() <= LATELY.toMillis() ? USED_LATELY : 1;
        return boost;
    }

    /**
     * The first of them by maximal marginal relevance (Carbonell and Goldstein 1998): each next one is as relevant as can be and as
     * unlike as can be to the most similar one that was taken.
     *
     * @param diversity weight of being unlike, 0..1; 0 keeps the order
     */
    static List<Ranked> diverse(List<Ranked> ranked, int limit, double diversity) {
        if (diversity <= 0 || ranked.size() < 3) {
            return ranked.subList(0, Math.min(limit, ranked.size()));
        }
        List<Ranked> left = new ArrayList<>(ranked.subList(0, Math.min(ranked.size(), Math.max(SUPPORTED, 2 * limit))));
        double best = left.getFirst().score();
        List<Ranked> taken = new ArrayList<>();
        // largest cosine of each to what was taken
        java.util.Map<Ranked, Double> like = new java.util.HashMap<>();
        while (taken.size() < limit && !left.isEmpty()) {
            Ranked next = Objects.requireNonNull(left.getFirst());
            double most = Double.NEGATIVE_INFINITY;
            for (Ranked each : left) {
                double relevance = best <= 0 ? 0 : each.score() / best;
                double value = (1 - diversity) * relevance - diversity * like.getOrDefault(each, 0.0);
                if (value > most) {
                    most = value;
                    next = each;
                }
            }
            taken.add(next);
            left.remove(next);
            for (Ranked each : left) {
                like.merge(each, Vectors.cosine(each.candidate.vector(), next.candidate.vector()), Math::max);
            }
        }
        return taken;
    }

    static double cosine(Candidate candidate) {
        return Objects.requireNonNullElse(candidate.cosine(), 0.0);
    }

    static double bm25(Candidate candidate) {
        return Objects.requireNonNullElse(candidate.bm25(), 0.0);
    }
}
