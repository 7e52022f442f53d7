package io.millrace.learners.evaluation;

import java.util.List;
import java.util.Map;

/**
 * How good a ranking is, averaged over queries.
 *
 * @param ndcg10 normalized discounted cumulative gain of the first ten, gain = grade, as in trec_eval and BEIR, 0..1
 * @param recall100 share of the relevant documents among the first hundred, 0..1
 * @param mrr mean reciprocal rank of the first relevant one among the first hundred, 0..1
 */
public record RankingMetrics(double ndcg10, double recall100, double mrr) {
    private static final int TOP = 10;
    private static final int DEEP = 100;

    /**
     * The metrics of one ranking.
     *
     * @param ranked document ids, best first, each once
     * @param grades by document, at least one above 0
     */
    public static RankingMetrics of(List<String> ranked, Map<String, Double> grades) {
        double gain = 0;
        double first = 0;
        int found = 0;
        for (int rank = 0; rank < Math.min(DEEP, ranked.size()); rank++) {
            double grade = grades.getOrDefault(ranked.get(rank), 0.0);
            if (grade <= 0) {
                continue;
            }
            found++;
            if (first == 0) {
                first = 1.0 / (rank + 1);
            }
            if (rank < TOP) {
                gain += grade / log2(rank + 2);
            }
        }
        List<Double> ideal = grades.values().stream()
                .filter(grade -> grade > 0)
                .sorted(java.util.Comparator.reverseOrder())
                .toList();
        double best = 0;
        for (int rank = 0; rank < Math.min(TOP, ideal.size()); rank++) {
            best += ideal.get(rank) / log2(rank + 2);
        }
        return new RankingMetrics(gain / best, (double) found / ideal.size(), first);
    }

    /** The mean of several, which are not empty. */
    static RankingMetrics mean(List<RankingMetrics> all) {
        return new RankingMetrics(
                all.stream().mapToDouble(RankingMetrics::ndcg10).average().orElseThrow(),
                all.stream().mapToDouble(RankingMetrics::recall100).average().orElseThrow(),
                all.stream().mapToDouble(RankingMetrics::mrr).average().orElseThrow());
    }

    private static double log2(double x) {
        return Math.log(x) / Math.log(2);
    }
}
