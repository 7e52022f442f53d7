package io.millrace.knowledge;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.millrace.knowledge.VectorIndex.Candidate;
import io.millrace.knowledge.VectorIndex.Question;
import io.millrace.schema.Passage;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** What every vector index does. */
abstract class VectorIndexContract {
    static final float[] NORTH = {1, 0, 0, 0};
    static final float[] EAST = {0, 1, 0, 0};
    static final float[] NORTH_EAST = {0.8f, 0.6f, 0, 0};
    private static final String DIGITS = "0123456789abcdef";

    VectorIndex index;

    /** An empty index of four dimensions, or what the last close left. */
    abstract VectorIndex open() throws Exception;

    @BeforeEach
    void openIndex() throws Exception {
        index = open();
    }

    @AfterEach
    void closeIndex() {
        index.close();
    }

    @Test
    void shouldFindTheNearestWithTheirCosines() {
        put(passage(1, NORTH, "north"), passage(2, EAST, "east"), passage(3, NORTH_EAST, "between"));

        Map<String, Candidate> found = ask(NORTH, "", 2, Filter.NONE);

        assertThat(found).containsOnlyKeys(id(1), id(3));
        assertThat(at(found, 1).cosine()).isCloseTo(1, within(1e-3));
        assertThat(at(found, 3).cosine()).isCloseTo(0.8, within(1e-3));
        assertThat(at(found, 3).vector()).containsExactly(NORTH_EAST, within(1e-3f));
        assertThat(at(found, 1).bm25()).isNull();
        assertThat(at(found, 1).documentId()).isEqualTo("d1");
    }

    @Test
    void shouldFindByWordsAndScoreRareOnesHigher() {
        put(
                passage(1, NORTH, "the mill wheel turns"),
                passage(2, NORTH, "the mill stands still"),
                passage(3, NORTH, "the mill has a sluice"),
                passage(4, NORTH, "nothing of that"));

        Map<String, Candidate> found = ask(new float[0], "mills and sluices", 10, Filter.NONE);

        assertThat(found).containsOnlyKeys(id(1), id(2), id(3));
        assertThat(at(found, 3).bm25())
                .isGreaterThan(Objects.requireNonNull(at(found, 1).bm25()));
        assertThat(at(found, 1).bm25()).isPositive();
        assertThat(at(found, 3).cosine()).isNull();
    }

    @Test
    void shouldFindByTitle() {
        put(
                Passage.newBuilder(passage(1, NORTH, "it says something"))
                        .setTitle("Sluice")
                        .build(),
                passage(2, NORTH, "something else"));

        assertThat(ask(new float[0], "sluice", 10, Filter.NONE)).containsOnlyKeys(id(1));
    }

    @Test
    void shouldScoreACandidateOfEitherSideOnBoth() {
        put(passage(1, NORTH, "near"), passage(2, EAST, "sluice far away"), passage(3, NORTH_EAST, "sluice close by"));

        Map<String, Candidate> found = ask(NORTH, "sluice", 1, Filter.NONE);

        // one of each side: the nearest has no word of it, and one of the others was found by the word
        assertThat(found).containsKey(id(1)).hasSize(2);
        assertThat(at(found, 1).bm25()).isNull();
        Candidate byWord = found.values().stream()
                .filter(each -> !each.passageId().equals(id(1)))
                .findFirst()
                .orElseThrow();
        assertThat(byWord.bm25()).isPositive();
        assertThat(byWord.cosine()).isNotNull();
        // asked for more, the second nearest has its keyword score although it was found by both
        assertThat(at(ask(NORTH, "sluice", 3, Filter.NONE), 3).bm25()).isPositive();
    }

    @Test
    void shouldWeighTerms() {
        put(passage(1, NORTH, "alpha gamma"), passage(2, NORTH, "beta gamma"));

        Map<String, Candidate> found =
                byId(index.candidates(new Question(new float[0], Map.of("alpha", 1.0, "beta", 0.2), 5, Filter.NONE)));

        assertThat(Objects.requireNonNull(at(found, 2).bm25())
                        / Objects.requireNonNull(at(found, 1).bm25()))
                .isCloseTo(0.2, within(0.01));
    }

    @Test
    void shouldRestrictBothSidesByEveryFilter() {
        put(
                Passage.newBuilder(passage(1, NORTH, "sluice"))
                        .setCollection("one")
                        .setSource("git")
                        .setTrust("trusted")
                        .setTags(List.of("x", "y"))
                        .setMetadata(Map.of("language", "nix", "version", "25.05", "success_rate", "0.9"))
                        .build(),
                Passage.newBuilder(passage(2, NORTH, "sluice"))
                        .setCollection("two")
                        .setSource("api")
                        .setTags(List.of("y"))
                        .setMetadata(Map.of("language", "java", "success_rate", "0.4"))
                        .build());

        List<Filter> first = List.of(
                Filter.collections(List.of("one")),
                filter(Map.of("language", "nix")),
                filter(Map.of("version", "25.05")),
                filter(Map.of("source", "git")),
                filter(Map.of("trust", "trusted")),
                filter(Map.of("language", "nix", "version", "25.05")),
                new Filter(List.of(), Map.of(), List.of("x"), 0),
                new Filter(List.of(), Map.of(), List.of("x", "y"), 0),
                new Filter(List.of(), Map.of(), List.of(), 0.5));

        for (Filter each : first) {
            assertThat(ask(NORTH, "", 5, each)).as("dense, %s", each).containsOnlyKeys(id(1));
            assertThat(ask(new float[0], "sluice", 5, each))
                    .as("words, %s", each)
                    .containsOnlyKeys(id(1));
            assertThat(ask(NORTH, "sluice", 5, each)).as("both, %s", each).containsOnlyKeys(id(1));
        }
        assertThat(ask(NORTH, "sluice", 5, new Filter(List.of("one", "two"), Map.of(), List.of("y"), 0.3)))
                .hasSize(2);
        assertThat(ask(NORTH, "sluice", 5, filter(Map.of("language", "cobol")))).isEmpty();
    }

    @Test
    void shouldNeverFindWhatIsQuarantined() {
        put(Passage.newBuilder(passage(1, NORTH, "sluice")).setQuarantined(true).build(), passage(2, EAST, "mill"));

        assertThat(ask(NORTH, "sluice", 5, Filter.NONE)).containsOnlyKeys(id(2));
        assertThat(index.section("d1", 0, 9)).isEmpty();
    }

    @Test
    void shouldReplaceAndDelete() {
        put(passage(1, NORTH, "sluice"), passage(2, NORTH, "wheel"));
        put(passage(1, NORTH, "hoist"));
        index.delete(id(2));
        index.refresh();

        assertThat(index.count()).isEqualTo(1);
        assertThat(ask(new float[0], "sluice wheel", 5, Filter.NONE)).isEmpty();
        assertThat(ask(new float[0], "hoist", 5, Filter.NONE)).containsOnlyKeys(id(1));
    }

    @Test
    void shouldGiveBackPassagesWhole() {
        Passage whole = Passage.newBuilder(passage(1, NORTH, "Ein Mühlrad — 水車"))
                .setTitle("A › B")
                .setPath("a/b.md")
                .setTags(List.of("t"))
                .setMetadata(Map.of("language", "de"))
                .setModifiedAt(5L)
                .build();
        put(whole);

        assertThat(index.load(List.of(id(1), id(9)))).containsOnlyKeys(id(1)).containsValue(whole);
        assertThat(index.load(List.of())).isEmpty();
    }

    @Test
    void shouldTellFactsOfCandidates() {
        put(
                Passage.newBuilder(passage(1, NORTH, "sluice"))
                        .setModifiedAt(1_000_000L)
                        .setMetadata(Map.of("success_rate", "0.85", "solution_verified", "true"))
                        .build(),
                Passage.newBuilder(passage(2, NORTH, "sluice"))
                        .setMetadata(Map.of(
                                "ingested_at", "2025-01-01T00:00:00Z",
                                "last_used", "2025-02-01",
                                "feedback_linked", "true"))
                        .build());

        Map<String, Candidate> found = ask(NORTH, "", 5, Filter.NONE);

        assertThat(at(found, 1).facts()).isEqualTo(new Facts(1_000_000L, 0, 0.85, true, false));
        assertThat(at(found, 2).facts()).isEqualTo(new Facts(1_735_689_600_000L, 1_738_368_000_000L, 0, false, true));
    }

    @Test
    void shouldReadASectionOfADocumentInOrder() {
        for (int i = 4; i >= 0; i--) {
            put(Passage.newBuilder(passage(i, NORTH, "part " + i))
                    .setDocumentId("d")
                    .setChunkIndex(i)
                    .build());
        }

        assertThat(index.section("d", 1, 3)).extracting(Passage::getChunkIndex).containsExactly(1, 2, 3);
        assertThat(index.section("d", -1, 0)).extracting(Passage::getChunkIndex).containsExactly(0);
        assertThat(index.section("d", 0, Integer.MAX_VALUE))
                .extracting(Passage::getChunkIndex)
                .containsExactly(0, 1, 2, 3, 4);
        assertThat(index.section("other", 0, 9)).isEmpty();
        assertThat(index.section("other", 0, Integer.MAX_VALUE)).isEmpty();
    }

    @Test
    void shouldKnowTheDocumentsAndTheirVersions() {
        put(Passage.newBuilder(passage(1, NORTH, "sluice"))
                .setMetadata(Map.of("checksum", "c1"))
                .build());

        assertThat(index.hasDocument("d1", null)).isTrue();
        assertThat(index.hasDocument("d1", "c1")).isTrue();
        assertThat(index.hasDocument("d1", "c2")).isFalse();
        assertThat(index.hasDocument("d2", null)).isFalse();
        assertThat(index.passagesOf("d1")).containsExactly(id(1));
    }

    @Test
    void shouldCountPassagesByTerm() {
        put(passage(1, NORTH, "sluice sluice"), passage(2, NORTH, "a sluice and a wheel"), passage(3, NORTH, "none"));

        assertThat(index.frequencies(List.of("sluic", "wheel", "hoist")))
                .containsExactlyInAnyOrderEntriesOf(Map.of("sluic", 2L, "wheel", 1L, "hoist", 0L));
    }

    @Test
    void shouldChangeItsVersionWhenSomethingNewIsVisible() {
        String before = index.version();
        put(passage(1, NORTH, "sluice"));

        assertThat(index.version()).isNotEqualTo(before);
    }

    /** Answers are cached by the version: an older one would bring back those of the older texts. */
    @Test
    void shouldNotHaveAVersionAgainAfterARestartWhenTextsChangedSince() throws Exception {
        put(passage(1, NORTH, "sluice"));
        index.commit(Map.of(0, 1L));
        index.close();
        index = open();
        String before = index.version();
        put(passage(1, NORTH, "hoist"));
        index.commit(Map.of(0, 2L));
        index.close();

        index = open();

        assertThat(index.version()).isNotEqualTo(before);
    }

    @Test
    void shouldAnswerTheSameWhenSettled() {
        put(passage(1, NORTH, "the sluice of the mill"));
        put(passage(2, EAST, "a wheel"));
        put(passage(3, NORTH_EAST, "a sluice and a wheel"));
        put(passage(2, EAST, "the hoist"));
        index.delete(id(3));
        index.refresh();
        String before = index.version();

        index.settle();

        assertThat(ask(NORTH, "sluice", 5, Filter.NONE)).containsOnlyKeys(id(1), id(2));
        assertThat(ask(new float[0], "hoist wheel", 5, Filter.NONE)).containsOnlyKeys(id(2));
        assertThat(index.load(List.of(id(1), id(2), id(3)))).containsOnlyKeys(id(1), id(2));
        // answers that were cached stay good
        assertThat(index.version()).isEqualTo(before);
    }

    @Test
    void shouldAnswerNothingWhenEmpty() {
        assertThat(index.count()).isZero();
        assertThat(ask(NORTH, "sluice", 5, Filter.NONE)).isEmpty();
        assertThat(index.committed()).isEmpty();
    }

    @Test
    void shouldKeepWhatIsCommittedWithItsOffsets() throws Exception {
        put(passage(1, NORTH, "sluice"));
        index.commit(Map.of(0, 17L, 3, 4L));
        index.close();

        index = open();

        assertThat(index.committed()).containsExactlyInAnyOrderEntriesOf(Map.of(0, 17L, 3, 4L));
        assertThat(ask(NORTH, "", 5, Filter.NONE)).containsOnlyKeys(id(1));
    }

    void put(Passage... passages) {
        Arrays.stream(passages).forEach(index::put);
        index.refresh();
    }

    Map<String, Candidate> ask(float[] vector, String words, int limit, Filter filter) {
        return byId(index.candidates(new Question(vector, Terms.plain(words), limit, filter)));
    }

    private static Map<String, Candidate> byId(List<Candidate> candidates) {
        return candidates.stream().collect(Collectors.toMap(Candidate::passageId, Function.identity()));
    }

    static Candidate at(Map<String, Candidate> found, int number) {
        return Objects.requireNonNull(found.get(id(number)));
    }

    private static Filter filter(Map<String, String> fields) {
        return new Filter(List.of(), fields, List.of(), 0);
    }

    static String id(int number) {
        return String.valueOf(DIGITS.charAt(number)).repeat(32);
    }

    static Passage passage(int number, float[] vector, @Nullable String text) {
        return Passage.newBuilder()
                .setPassageId(id(number))
                .setDocumentId("d" + number)
                .setCollection("best-practices")
                .setText(text)
                .setVector(Vectors.toBytes(vector))
                .build();
    }
}
