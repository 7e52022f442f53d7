package io.millrace.learners.evaluation;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class RankingMetricsTest {
    @Test
    void shouldUseGradesAsGains() {
        RankingMetrics metrics = RankingMetrics.of(List.of("x", "b", "a"), Map.of("a", 3.0, "b", 1.0, "c", 2.0));

        // 1/log2(3) + 3/log2(4), over 3/log2(2) + 2/log2(3) + 1/log2(4)
        assertThat(metrics.ndcg10()).isCloseTo((0.63093 + 1.5) / (3 + 1.26186 + 0.5), within(1e-4));
        assertThat(metrics.recall100()).isCloseTo(2.0 / 3, within(1e-9));
        assertThat(metrics.mrr()).isEqualTo(0.5);
    }

    @Test
    void shouldBeOneWhenTheRankingIsIdeal() {
        RankingMetrics metrics = RankingMetrics.of(List.of("a", "c", "b"), Map.of("a", 3.0, "b", 1.0, "c", 2.0));

        assertThat(metrics).isEqualTo(new RankingMetrics(1, 1, 1));
    }

    @Test
    void shouldCountAGradeOfZeroOrLessAsNotRelevant() {
        RankingMetrics metrics =
                RankingMetrics.of(List.of("no", "never", "a"), Map.of("a", 1.0, "no", 0.0, "never", -1.0));

        assertThat(metrics.mrr()).isCloseTo(1.0 / 3, within(1e-9));
        assertThat(metrics.ndcg10()).isCloseTo(0.5, within(1e-9));
    }

    @Test
    void shouldLookNoFurtherThanTenForGainAndAHundredForTheRest() {
        List<String> ranked = IntStream.range(0, 200).mapToObj(String::valueOf).toList();

        RankingMetrics metrics = RankingMetrics.of(ranked, Map.of("10", 1.0, "99", 1.0, "100", 1.0, "199", 1.0));

        assertThat(metrics.ndcg10()).isZero();
        assertThat(metrics.recall100()).isEqualTo(0.5);
        assertThat(metrics.mrr()).isCloseTo(1.0 / 11, within(1e-9));
    }
}
