package io.millrace.knowledge.meaning;

/**
 * Where to serve from, so that few of the pairs that mean different things are served: the lowest threshold for which the upper
 * Clopper-Pearson bound of the false-hit rate keeps below the stated one.
 */
public final class ErrorBound {
    /** How sure the bound is, one-sided. */
    public static final double CONFIDENCE = 0.90;

    private ErrorBound() {}

    /**
     * Chooses a threshold: what is above it is served.
     *
     * @param negatives scores of pairs that mean different things, highest first; those below the highest may be left out
     * @param count how many such pairs there were in all
     * @param bound of the share of them that is served, above 0 and below 1
     * @return infinity when there are too few to promise the bound
     */
    public static double threshold(double[] negatives, int count, double bound) {
        if (count == 0 || upper(0, count) > bound) {
            return Double.POSITIVE_INFINITY;
        }
        int served = 0;
        while (served + 1 < negatives.length && upper(served + 1, count) <= bound) {
            served++;
        }
        return negatives[served];
    }

    /** Upper bound of a rate of which {@code events} in {@code count} were seen. */
    static double upper(int events, int count) {
        if (events >= count) {
            return 1;
        }
        double low = (double) events / count;
        double high = 1;
        for (int i = 0; i < 60; i++) {
            double middle = (low + high) / 2;
            if (atMost(events, count, middle) > 1 - CONFIDENCE) {
                low = middle;
            } else {
                high = middle;
            }
        }
        return high;
    }

    /** P(X <= events) of a binomial. */
    private static double atMost(int events, int count, double rate) {
        double term = count * Math.log1p(-rate);
        double odds = Math.log(rate) - Math.log1p(-rate);
        double sum = Math.exp(term);
        for (int k = 1; k <= events; k++) {
            term += Math.log((double) (count - k + 1) / k) + odds;
            sum += Math.exp(term);
        }
        return sum;
    }
}
