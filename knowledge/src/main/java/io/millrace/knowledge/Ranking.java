package io.millrace.knowledge;

import io.millrace.knowledge.VectorIndex.Candidate;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Objects;
import java.util.function.ToDoubleFunction;

/**
 * The order of candidates: fusion, support by neighbours, decay and boosts, diversity.
 *
 * <p><b>Fusion</b> is a weighted sum of z-scores over the candidates of both sides, each with its exact cosine and its exact BM25
 * score: unlike reciprocal ranks (Cormack et al. 2009) it keeps how far ahead a hit is. Weights per question, from the usual
 * predictors of query performance (Shtok et al. 2012: variance and gap of the scores, idf of the terms, overlap of the lists), were
 * tried and made it worse on at least one of five kinds of data; one weight is used.
 *
 * <p><b>Support</b> follows the cluster hypothesis (Diaz 2005, "Regularizing ad hoc retrieval scores"): a candidate's score moves a
 * little towards that of the candidates most similar to it. It costs {@code SUPPORTED²/2} dot products, about 0.3 ms.
 *
 * <p><b>Decay and boosts</b> multiply a positive score. For hybrid that is e<sup>z − best z</sup>: 1 for the best, so that a factor
 * means the same whatever the question.
 */
final class Ranking {
    /** Weight of the dense side. */
    private static final double DENSE = 0.6;

    /** Candidates that are supported by each other. */
    private static final int SUPPORTED = 50;

    private static final int NEIGHBOURS = 10;
    private static final double SUPPORT = 0.2;

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
        double[] dense = standardized(candidates, Ranking::cosine);
        double[] sparse = standardized(candidates, Ranking::bm25);
        double[] sum = new double[dense.length];
        for (int i = 0; i < sum.length; i++) {
            sum[i] = DENSE * dense[i] + (1 - DENSE) * sparse[i];
        }
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

    private static double[] standardized(List<Candidate> candidates, ToDoubleFunction<Candidate> score) {
        double[] values = candidates.stream().mapToDouble(score).toArray();
        double mean = 0;
        for (double value : values) {
            mean += value / values.length;
        }
        double variance = 0;
        for (double value : values) {
            variance += (value - mean) * (value - mean) / values.length;
        }
        double deviation = variance == 0 ? 1 : Math.sqrt(variance);
        for (int i = 0; i < values.length; i++) {
            values[i] = (values[i] - mean) / deviation;
        }
        return values;
    }

    private static double[] supported(List<Candidate> candidates, double[] scores) {
        List<Integer> top = new ArrayList<>();
        for (int i = 0; i < scores.length; i++) {
            top.add(i);
        }
        top.sort(Comparator.comparingDouble((Integer i) -> scores[i]).reversed());
        top = top.subList(0, Math.min(SUPPORTED, top.size()));
        int n = top.size();
        double[][] cosines = new double[n][n];
        for (int a = 0; a < n; a++) {
            for (int b = a + 1; b < n; b++) {
                cosines[a][b] = Math.max(
                        0,
                        Vectors.cosine(
                                candidates.get(top.get(a)).vector(),
                                candidates.get(top.get(b)).vector()));
                cosines[b][a] = cosines[a][b];
            }
        }
        double[] moved = scores.clone();
        for (int a = 0; a < n; a++) {
            double[] own = cosines[a];
            List<Integer> near = new ArrayList<>();
            for (int b = 0; b < n; b++) {
                if (b != a) {
                    near.add(b);
                }
            }
            near.sort(Comparator.comparingDouble((Integer b) -> own[b]).reversed());
            double weights = 0;
            double sum = 0;
            for (int b : near.subList(0, Math.min(NEIGHBOURS, near.size()))) {
                weights += own[b];
                sum += own[b] * scores[top.get(b)];
            }
            int i = top.get(a);
            moved[i] = weights == 0 ? scores[i] : (1 - SUPPORT) * scores[i] + SUPPORT * sum / weights;
        }
        return moved;
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
