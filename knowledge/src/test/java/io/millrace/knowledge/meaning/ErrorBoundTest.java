package io.millrace.knowledge.meaning;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class ErrorBoundTest {
    /** None of n: 1 - 0.1^(1/n); 1 of 2: the square root of 0.9. */
    @Test
    void shouldBoundARateAsClopperAndPearsonDo() {
        assertThat(ErrorBound.upper(0, 100)).isCloseTo(1 - Math.pow(0.1, 0.01), within(1e-9));
        assertThat(ErrorBound.upper(1, 2)).isCloseTo(Math.sqrt(0.9), within(1e-9));
        assertThat(ErrorBound.upper(5, 5)).isEqualTo(1);
    }

    @Test
    void shouldServeAsManyOfTheDifferentPairsAsTheBoundAllows() {
        double[] scores =
                IntStream.range(0, 1_000).mapToDouble(i -> 1 - i / 1_000.0).toArray();

        double threshold = ErrorBound.threshold(scores, 1_000, 0.02);

        int served = (int) java.util.Arrays.stream(scores)
                .filter(score -> score > threshold)
                .count();
        assertThat(ErrorBound.upper(served, 1_000)).isLessThanOrEqualTo(0.02);
        assertThat(ErrorBound.upper(served + 1, 1_000)).isGreaterThan(0.02);
    }

    @Test
    void shouldServeNothingWhenThereAreTooFewToTell() {
        assertThat(ErrorBound.threshold(new double[] {0.9, 0.1}, 2, 0.02)).isInfinite();
    }
}
