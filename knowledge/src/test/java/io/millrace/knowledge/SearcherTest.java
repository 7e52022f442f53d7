package io.millrace.knowledge;

import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.schema.Hit;
import io.millrace.schema.Passage;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What of the candidates a search gives back. */
class SearcherTest {
    private static final String TEXT = "The mill shop opens at seven.";
    private static final float[] NEAR = {1, 0, 0};
    private static final float[] FARTHER = {0.8f, 0.6f, 0};

    @TempDir
    Path folder;

    private LuceneIndex index;
    private Searcher searcher;

    @BeforeEach
    void open() {
        index = LuceneIndex.open(folder, "test:1");
        searcher = new Searcher(index, new NoEmbedder(), List.of("notes"));
    }

    @AfterEach
    void close() {
        index.close();
    }

    @ParameterizedTest
    @ValueSource(strings = {"keyword", "semantic", "hybrid", "tree"})
    void shouldGiveTheSameTextOneSlot(String mode) {
        for (int i = 0; i < 6; i++) {
            put("copy" + i, i % 2 == 0 ? TEXT : "The mill  shop\nOpens at seven. ", "imported", false, NEAR);
        }
        put("other", "The mill shop closes at noon.", "imported", false, FARTHER);

        assertThat(texts(mode)).containsExactlyInAnyOrder(TEXT, "The mill shop closes at noon.");
    }

    /** Also when it ranks behind as many as were asked for, and is titled otherwise. */
    @Test
    void shouldKeepTheMoreTrustedOfTwoThatSayTheSame() {
        put("a", TEXT, "generated", false, NEAR);
        put("b", TEXT, "imported", false, NEAR);
        put("c", TEXT, "trusted", false, FARTHER);
        put("other", "The mill shop closes at noon.", "imported", false, new float[] {0.6f, 0.8f, 0});

        List<Hit> hits = search("semantic", 1, Set.of()).hits();

        assertThat(hits)
                .singleElement()
                .satisfies(hit -> assertThat(hit.getPassageId()).isEqualTo("c"));
    }

    /** Or a copy that may be shown would let a question leave the machine with the text of one that may not. */
    @Test
    void shouldKeepTheCopyThatMayNotLeaveTheMachine() {
        put("a", TEXT, "trusted", false, NEAR);
        put("b", TEXT, "imported", true, NEAR);

        assertThat(search("semantic", 5, Set.of()).hits())
                .singleElement()
                .satisfies(hit -> assertThat(hit.getLocalOnly()).isTrue());
    }

    @Test
    void shouldNotGiveACopyOfWhatIsExcludedAndTellHowWellAllOfItAnswers() {
        put("a", TEXT, "imported", false, NEAR);
        put("copy", TEXT, "imported", false, NEAR);
        put("other", "The heron stands in the pond.", "imported", false, new float[] {0.1f, 0.995f, 0});

        Searcher.Result all = search("semantic", 5, Set.of());
        Searcher.Result rest = search("semantic", 5, Set.of("a"));

        assertThat(all.coveredScore()).isEmpty();
        assertThat(rest.hits()).extracting(Hit::getPassageId).containsExactly("other");
        assertThat(rest.contextScore().orElseThrow()).isLessThan(0.1);
        assertThat(rest.coveredScore()).isEqualTo(all.contextScore());
        assertThat(all.contextScore().orElseThrow()).isGreaterThan(0.9);
    }

    /** Such a chat got no evidence, and the index was told to be broken. */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "Select the opening hours of the mill shop from the notes",
                "SELECT s.opens FROM mill m JOIN shop s ON s.mill = m.id; why is this slow?",
                "select opens from documents"
            })
    void shouldSearchInAutoForWhatOnlyLooksLikeAQuestionAboutDocuments(String text) {
        put("a", TEXT, "imported", false, NEAR);
        Searcher withCatalog = with(Optional.empty());

        Searcher.Result found = withCatalog.search(new Searcher.Request(text, "auto", List.of(), 5, -1), NEAR);

        assertThat(found.mode()).isNotEqualTo("sql");
        assertThat(found.hits()).extracting(Hit::getText).containsExactly(TEXT);
        assertThat(found.degraded()).isEmpty();
        assertThat(withCatalog
                        .search(new Searcher.Request("SELECT path FROM documents", "auto", List.of(), 5, -1), NEAR)
                        .hits())
                .extracting(Hit::getText)
                .containsExactly("row");
    }

    @Test
    void shouldGiveAsManyHitsAsWereAskedForWhenAModelReadsTheFirst() {
        for (int i = 0; i < 30; i++) {
            double angle = Math.toRadians(3 * i);
            put("p" + i, "Mill " + i + ".", "imported", false, new float[] {
                (float) Math.cos(angle), (float) Math.sin(angle), 0
            });
        }

        List<Hit> hits = with(Optional.of(new Liking("Mill 7.")))
                .search(new Searcher.Request("mill", "semantic", List.of(), 25, -1), NEAR)
                .hits();

        assertThat(hits).hasSize(25);
        assertThat(hits.getFirst().getText()).isEqualTo("Mill 7.");
        assertThat(hits.subList(20, 25))
                .extracting(Hit::getText)
                .containsExactly("Mill 20.", "Mill 21.", "Mill 22.", "Mill 23.", "Mill 24.");
    }

    @Test
    void shouldKeepHitsUnlikeEachOtherWhenAModelReadsThem() {
        put("a", "Mill wheel, mill race.", "imported", false, NEAR);
        put("b", "Mill wheel, mill pond.", "imported", false, new float[] {0.999f, 0.045f, 0});
        put("c", "Barn.", "imported", false, new float[] {0.1f, 0, 0.995f});

        Searcher.Result found = with(Optional.of(new Liking("Mill")))
                .search(new Searcher.Request("mill", "semantic", Filter.NONE, 2, -1, 0.8), NEAR);

        assertThat(found.hits()).extracting(Hit::getPassageId).containsExactly("a", "c");
    }

    /** Finds the texts relevant that hold a word. */
    private record Liking(String word) implements Reranker {
        @Override
        public List<Double> relevances(String question, List<String> texts) {
            return texts.stream().map(text -> text.contains(word) ? 0.9 : 0.1).toList();
        }

        @Override
        public boolean isLocal() {
            return true;
        }
    }

    private Searcher with(Optional<Reranker> reranker) {
        return new Searcher(
                index,
                new NoEmbedder(),
                List.of("notes"),
                new Searcher.Options(
                        false,
                        Aging.DEFAULT,
                        reranker,
                        Linkage.NONE,
                        Optional.of((question, filter, limit) ->
                                List.of(Hit.newBuilder().setText("row").build())),
                        Optional.empty(),
                        false));
    }

    private List<String> texts(String mode) {
        return search(mode, 5, Set.of()).hits().stream()
                .map(Hit::getText)
                .map(text -> text.strip().replaceAll("\\s+", " ").replace("Opens", "opens"))
                .toList();
    }

    private Searcher.Result search(String mode, int limit, Set<String> exclude) {
        return searcher.search(
                new Searcher.Request(
                        "When does the mill shop open?",
                        mode,
                        Filter.NONE,
                        limit,
                        -1,
                        0,
                        new Searcher.More(List.of(), exclude, false)),
                NEAR);
    }

    private void put(String id, String text, String trust, boolean localOnly, float[] vector) {
        index.put(Passage.newBuilder()
                .setPassageId(id)
                .setDocumentId("d-" + id)
                .setCollection("notes")
                .setTitle(id)
                .setText(text)
                .setTrust(trust)
                .setLocalOnly(localOnly)
                .setVector(Vectors.toBytes(Vectors.unit(vector)))
                .build());
        index.refresh();
    }

    /** Nothing here is embedded: the vectors are given. */
    private static final class NoEmbedder implements Embedder {
        @Override
        public List<float[]> embed(List<String> texts) {
            throw new EmbeddingException("not here", new IllegalStateException());
        }

        @Override
        public String fingerprint() {
            return "test:1";
        }

        @Override
        public int dimension() {
            return 3;
        }
    }
}
