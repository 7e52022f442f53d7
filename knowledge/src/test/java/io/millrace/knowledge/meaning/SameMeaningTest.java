package io.millrace.knowledge.meaning;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.millrace.knowledge.MiniLmEmbedder;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SameMeaningTest {
    private static MiniLmEmbedder embedder;
    private static SameMeaning shipped;

    @BeforeAll
    static void open() {
        embedder = new MiniLmEmbedder(1);
        shipped = SameMeaning.shipped();
    }

    @AfterAll
    static void close() {
        embedder.close();
    }

    @Test
    void shouldShipAVerifierForTheDefaultEmbedder() {
        assertThat(shipped.embedder()).isEqualTo(embedder.fingerprint());
        assertThat(shipped.threshold(0.02)).isBetween(shipped.threshold(0.05), 0.99);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "How do I learn to play the violin? | How can I learn to play the violin?",
                "How do I reset a forgotten password? | How can I reset my forgotten password?",
                "How can I build a water wheel? | How do I build a water wheel?"
            })
    void shouldServeWhatSaysTheSameInOtherWords(String a, String b) {
        assertThat(probability(a, b)).isGreaterThan(shipped.threshold(0.02));
        assertThat(probability(b, a)).as("either way round").isCloseTo(probability(a, b), within(1e-9));
    }

    /** Each has a cosine above 0.83, most of them above what a fixed threshold serves. */
    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "What happens if petrol is used in a diesel engine? | What happens if diesel is used in a petrol engine?",
                "How do I install nginx 1.24 on NixOS? | How do I install nginx 1.26 on NixOS?",
                "How do I enable the firewall? | How do I disable the firewall?",
                "What is the meaning of --dry-run in git? | What is the meaning of --no-run in git?"
            })
    void shouldNotServeWhatDiffersInOneThingThatMatters(String a, String b) {
        assertThat(probability(a, b)).isLessThan(shipped.threshold(0.02));
    }

    @Test
    void shouldJudgeTheSameAfterBeingWrittenAndRead() throws IOException {
        SameMeaning read = SameMeaning.read(new ByteArrayInputStream(shipped.toBytes()));

        assertThat(read.toBytes()).isEqualTo(shipped.toBytes());
        Question a = question("How do I build a water wheel?");
        Question b = question("What is a water wheel built of?");
        assertThat(read.probability(a, b)).isEqualTo(shipped.probability(a, b));
    }

    @Test
    void shouldLearnWhatTellsPairsApartAndPromiseNothingOnTooFew() {
        List<LabelledPair> pairs = new ArrayList<>();
        Random random = new Random(7);
        for (int i = 0; i < 400; i++) {
            // the cosine says nothing here, only the words do
            boolean same = random.nextBoolean();
            pairs.add(new LabelledPair(
                    Question.of("how deep is pond number w" + i, unit(random)),
                    Question.of((same ? "how deep is pond number w" : "where flows brook colour x") + i, unit(random)),
                    same,
                    i));
        }
        SameMeaning learned = SameMeaning.train(pairs, "test", done -> {});

        Question asked = Question.of("how deep is pond number y", unit(random));
        double same = learned.probability(asked, Question.of("how deep is pond number y", unit(random)));
        double other = learned.probability(asked, Question.of("where flows brook colour z", unit(random)));
        assertThat(same).isGreaterThan(0.9);
        assertThat(other).isLessThan(0.1);
        assertThat(learned.threshold(0.05)).isLessThan(1);
        assertThat(learned.threshold(0.001)).as("200 pairs cannot show that").isInfinite();
    }

    private static float[] unit(Random random) {
        float[] vector = new float[8];
        double square = 0;
        for (int i = 0; i < vector.length; i++) {
            vector[i] = (float) random.nextGaussian();
            square += vector[i] * vector[i];
        }
        for (int i = 0; i < vector.length; i++) {
            vector[i] /= (float) Math.sqrt(square);
        }
        return vector;
    }

    private static double probability(String a, String b) {
        return shipped.probability(question(a), question(b));
    }

    private static Question question(String text) {
        return Question.of(text, embedder.embed(List.of(text)).getFirst());
    }
}
