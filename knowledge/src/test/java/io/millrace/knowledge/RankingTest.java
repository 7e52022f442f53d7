package io.millrace.knowledge;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.millrace.knowledge.Ranking.Ranked;
import io.millrace.knowledge.VectorIndex.Candidate;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class RankingTest {
    private static final long NOW = 1_800_000_000_000L;

    @ParameterizedTest
    @CsvSource({"0, 1.0", "89, 1.0", "90, 0.9", "179, 0.9", "180, 0.75", "4000, 0.75"})
    void shouldTakeTenPercentAtNinetyDaysAndAQuarterAtAHundredAndEighty(int days, double left) {
        Facts aged = new Facts(NOW - Duration.ofDays(days).toMillis(), 0, 0, false, false);

        Ranked ranked = Ranking.rank(List.of(candidate("a", 0, 0.5, null, aged)), "semantic", Aging.DEFAULT, NOW)
                .getFirst();

        assertThat(ranked.score()).isCloseTo(0.5 * left, within(1e-9));
        assertThat(ranked.factor()).isCloseTo(left, within(1e-9));
    }

    /** A z-score would change with the candidates that nobody sees, and with it the order. */
    @Test
    void shouldOrderTheBestAlikeHoweverManyWereAskedFor() {
        List<Candidate> best = List.of(
                candidate("near", 0, 0.8, 2.0, Facts.NONE),
                candidate("worded", 1, 0.5, 14.0, Facts.NONE),
                candidate("neither", 2, 0.5, 4.0, Facts.NONE));
        List<Candidate> more = IntStream.range(0, 200)
                .mapToObj(i -> candidate("far-" + i, 3, 0.1, i % 2 == 0 ? null : 0.5, Facts.NONE))
                .toList();
        List<Candidate> all = new ArrayList<>(best);
        all.addAll(more);

        List<Ranked> few = Ranking.rank(best, "hybrid", Aging.DEFAULT, NOW);
        List<Ranked> many = Ranking.rank(all, "hybrid", Aging.DEFAULT, NOW);

        assertThat(few).extracting(each -> each.candidate().passageId()).containsExactly("near", "worded", "neither");
        assertThat(many.subList(0, 3)).isEqualTo(few);
    }

    @Test
    void shouldNotDecayWhatHasNoDate() {
        assertThat(Aging.DEFAULT.factor(0, NOW)).isEqualTo(1);
    }

    @Test
    void shouldPutTheYoungerFirstWhenAllElseIsEqual() {
        Facts old = new Facts(NOW - Duration.ofDays(200).toMillis(), 0, 0, false, false);
        Facts young = new Facts(NOW - Duration.ofDays(2).toMillis(), 0, 0, false, false);

        List<Ranked> ranked = Ranking.rank(
                List.of(candidate("a-old", 0, 0.6, 3.0, old), candidate("b-young", 0, 0.6, 3.0, young)),
                "hybrid",
                Aging.DEFAULT,
                NOW);

        assertThat(ranked).extracting(each -> each.candidate().passageId()).containsExactly("b-young", "a-old");
        assertThat(ranked.getLast().score()).isCloseTo(0.75, within(1e-9));
    }

    @Test
    void shouldRaiseWhatIsVerifiedSuccessfulLikedOrUsedLately() {
        assertThat(factor(new Facts(0, 0, 0, true, false))).isEqualTo(1.5);
        assertThat(factor(new Facts(0, 0, 0.8, false, false))).isEqualTo(1.3);
        assertThat(factor(new Facts(0, 0, 0.79, false, false))).isEqualTo(1);
        assertThat(factor(new Facts(0, 0, 0, false, true))).isEqualTo(1.3);
        assertThat(factor(new Facts(0, NOW - Duration.ofDays(6).toMillis(), 0, false, false)))
                .isEqualTo(1.25);
        assertThat(factor(new Facts(0, NOW - Duration.ofDays(8).toMillis(), 0, false, false)))
                .isEqualTo(1);
    }

    @Test
    void shouldPreferWhatBothSidesFindWhenFusing() {
        List<Candidate> candidates = List.of(
                candidate("meaning", 0, 0.60, null, Facts.NONE),
                candidate("words", 1, 0.20, 9.0, Facts.NONE),
                candidate("both", 2, 0.58, 8.5, Facts.NONE),
                candidate("neither", 3, 0.10, 1.0, Facts.NONE));

        List<Ranked> ranked = Ranking.rank(candidates, "hybrid", Aging.DEFAULT, NOW);

        assertThat(ranked.getFirst().candidate().passageId()).isEqualTo("both");
        assertThat(ranked.getFirst().score()).isCloseTo(1, within(1e-9));
        assertThat(ranked.getLast().candidate().passageId()).isEqualTo("neither");
    }

    /** The predecessor's "MMR" looked at the least similar of what was taken, so that duplicates passed. */
    @Test
    void shouldNotTakeADuplicateBeforeSomethingElseWhenDiversityIsAsked() {
        List<Ranked> ranked = Ranking.rank(
                List.of(
                        candidate("first", 0, 0.90, null, Facts.NONE),
                        candidate("first again", 0, 0.89, null, Facts.NONE),
                        candidate("other", 1, 0.70, null, Facts.NONE),
                        candidate("third", 2, 0.60, null, Facts.NONE)),
                "semantic",
                Aging.DEFAULT,
                NOW);

        assertThat(Ranking.diverse(ranked, 3, 0.3))
                .extracting(each -> each.candidate().passageId())
                .containsExactly("first", "other", "third");
        assertThat(Ranking.diverse(ranked, 3, 0))
                .extracting(each -> each.candidate().passageId())
                .containsExactly("first", "first again", "other");
    }

    @Test
    void shouldOrderNothingWhenThereIsNothing() {
        assertThat(Ranking.rank(List.of(), "hybrid", Aging.DEFAULT, NOW)).isEmpty();
        assertThat(Ranking.diverse(List.of(), 5, 0.5)).isEmpty();
    }

    private static double factor(Facts facts) {
        return Ranking.rank(List.of(candidate("a", 0, 0.5, null, facts)), "semantic", Aging.DEFAULT, NOW)
                .getFirst()
                .factor();
    }

    /** @param axis of its vector: different ones are orthogonal */
    private static Candidate candidate(String id, int axis, double cosine, @Nullable Double bm25, Facts facts) {
        float[] vector = new float[8];
        IntStream.range(0, 8).forEach(i -> vector[i] = i == axis ? 1 : 0);
        return new Candidate(id, "d-" + id, vector, cosine, bm25, facts);
    }
}
