package io.millrace.learners.evaluation;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.millrace.knowledge.Embedder;
import io.millrace.knowledge.meaning.LabelledPair;
import io.millrace.learners.evaluation.CacheEvaluation.Pair;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class CacheEvaluationTest {
    @TempDir
    Path folder;

    private static final Embedder FLAT = new Embedder() {
        @Override
        public List<float[]> embed(List<String> texts) {
            return texts.stream().map(text -> new float[] {1, 0}).toList();
        }

        @Override
        public String fingerprint() {
            return "flat";
        }

        @Override
        public int dimension() {
            return 2;
        }
    };

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "{\"a\":\"x\",\"b\":\"y\"} | same is missing",
                "{\"a\":\"x\",\"b\":\"y\",\"same\":1} | same is missing or neither",
                "{\"a\":\"x\",\"same\":true} | b is missing",
                "{\"a\":\" \",\"b\":\"y\",\"same\":true} | a is missing, empty",
                "[1] | is not a JSON object",
                "{ | is not JSON"
            })
    void shouldNameTheLineAndTheFieldThatIsWrong(String line, String message) throws IOException {
        Path file = folder.resolve("pairs.jsonl");
        Files.writeString(file, "{\"a\":\"x\",\"b\":\"y\",\"same\":true}\n\n" + line + "\n");

        assertThatThrownBy(() -> CacheEvaluation.read(file))
                .hasMessageStartingWith(file + ":3: ")
                .hasMessageContaining(message);
    }

    @Test
    void shouldSayThatAFileIsMissingOrEmpty() throws IOException {
        Path file = folder.resolve("pairs.jsonl");
        assertThatThrownBy(() -> CacheEvaluation.read(file)).hasMessage(file + ": is not there");
        Files.writeString(file, "\n");
        assertThatThrownBy(() -> CacheEvaluation.read(file)).hasMessage(file + ": holds no pair");
    }

    @Test
    void shouldGroupPairsThatShareAQuestionWhateverTheirOrder() {
        List<Pair> pairs = List.of(
                new Pair("one", "two", true),
                new Pair("three", "four", false),
                new Pair("Two ", "three", false),
                new Pair("five", "six", true));

        List<LabelledPair> labelled = CacheEvaluation.label(pairs, FLAT, FLAT, (what, done, all) -> {});
        List<LabelledPair> reversed = CacheEvaluation.label(pairs.reversed(), FLAT, FLAT, (what, done, all) -> {});

        assertThat(labelled.get(1).group()).isEqualTo(labelled.get(0).group());
        assertThat(labelled.get(2).group()).isEqualTo(labelled.get(0).group());
        assertThat(labelled.get(3).group()).isNotEqualTo(labelled.get(0).group());
        assertThat(reversed.reversed().stream().map(LabelledPair::group))
                .containsExactlyElementsOf(
                        labelled.stream().map(LabelledPair::group).toList());
    }
}
