package io.millrace.knowledge.meaning;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class ErrorBoundTest {
    /** With a uniform prior and one trial more, P(K = 0) is b / (a + b); all outcomes together are certain. */
    @Test
    void shouldPredictAnotherSampleAsTheBetaBinomialDoes() {
        assertThat(ErrorBound.atMost(0, 1, 1, 3)).isCloseTo(0.75, within(1e-12));
        // uniform over 0..n
        assertThat(ErrorBound.atMost(4, 9, 1, 1)).isCloseTo(0.5, within(1e-12));
        assertThat(ErrorBound.atMost(50, 50, 2.5, 48.5)).isCloseTo(1, within(1e-9));
    }

    @Test
    void shouldServeAsManyOfTheDifferentPairsAsTheBoundAllows() {
        double[] scores =
                IntStream.range(0, 1_000).mapToDouble(i -> 1 - i / 1_000.0).toArray();

        double threshold = ErrorBound.threshold(scores, 1_000, 0.02);

        int served =
                (int) Arrays.stream(scores).filter(score -> score > threshold).count();
        assertThat(served).isBetween(8, 14);
        assertThat(ErrorBound.keeps(served, 1_000, 0.02)).isTrue();
        assertThat(ErrorBound.keeps(served + 1, 1_000, 0.02)).isFalse();
    }

    /** The promise itself: thresholds chosen on one sample, the share served counted on another. */
    @Test
    void shouldKeepTheBoundInAnotherSampleNineteenTimesOfTwenty() {
        Random random = new Random(11);
        int kept = 0;
        for (int round = 0; round < 1_000; round++) {
            double[] known = random.doubles(1_900)
                    .map(score -> -score)
                    .sorted()
                    .map(score -> -score)
                    .toArray();
            double threshold = ErrorBound.threshold(known, known.length, 0.02);
            long served =
                    random.doubles(1_900).filter(score -> score > threshold).count();
            kept += served <= 0.02 * 1_900 ? 1 : 0;
        }
        assertThat(kept).isBetween(935, 985);
    }

    @Test
    void shouldServeNothingWhenThereAreTooFewToTell() {
        assertThat(ErrorBound.threshold(new double[] {0.9, 0.1}, 2, 0.02)).isInfinite();
    }
}
