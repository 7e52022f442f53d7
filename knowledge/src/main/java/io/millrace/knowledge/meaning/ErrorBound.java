package io.millrace.knowledge.meaning;

/**
 * Where to serve from, so that few of the pairs that mean different things are served: the lowest threshold at which, with a probability
 * of 95 %, at most the stated share of <em>another</em> sample as large as the known one is served.
 *
 * <p>A bound of the rate alone (Clopper and Pearson's) is not enough: who measures sees a sample too, and it varies as much as the one
 * that was learned from. With k of n seen and Jeffreys' prior, what another n pairs show is beta-binomial (Gelman et al., Bayesian Data
 * Analysis, 2.3).
 */
public final class ErrorBound {
    /** How probable it is that another sample keeps the bound. */
    public static final double CONFIDENCE = 0.95;

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
        if (negatives.length == 0 || !keeps(0, count, bound)) {
            return Double.POSITIVE_INFINITY;
        }
        int served = 0;
        while (served + 1 < negatives.length && keeps(served + 1, count, bound)) {
            served++;
        }
        return negatives[served];
    }

    /** Whether another {@code count} keep the bound when {@code events} of {@code count} were seen. */
    static boolean keeps(int events, int count, double bound) {
        return atMost((int) (bound * count), count, events + 0.5, count - events + 0.5) >= CONFIDENCE;
    }

    /** P(K <= most) of a beta-binomial with as many trials as {@code count}. */
    static double atMost(int most, int count, double alpha, double beta) {
        // ln P(0) = ln B(alpha, count + beta) - ln B(alpha, beta): a product of count ratios
        double log = 0;
        for (int i = 0; i < count; i++) {
            log += Math.log((beta + i) / (alpha + beta + i));
        }
        double term = Math.exp(log);
        double sum = term;
        for (int k = 0; k < most && k < count; k++) {
            term *= (count - k) * (alpha + k) / ((k + 1) * (beta + count - k - 1));
            sum += term;
        }
        return sum;
    }
}
