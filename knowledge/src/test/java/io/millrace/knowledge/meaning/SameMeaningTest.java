package io.millrace.knowledge.meaning;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.millrace.knowledge.BgeEmbedder;
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
    private static BgeEmbedder second;
    private static SameMeaning shipped;

    @BeforeAll
    static void open() {
        embedder = new MiniLmEmbedder(1);
        second = new BgeEmbedder(1);
        shipped = SameMeaning.shipped();
    }

    @AfterAll
    static void close() {
        embedder.close();
        second.close();
    }

    @Test
    void shouldShipAVerifierForTheDefaultEmbedder() {
        assertThat(shipped.embedder()).isEqualTo(embedder.fingerprint());
        assertThat(shipped.second()).isEqualTo(second.fingerprint());
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
                "What is the meaning of --dry-run in git? | What is the meaning of --no-run in git?",
                "What is the best phone under 500 dollars? | What is the best phone over 500 dollars?",
                "Which lakes lie above sea level? | Which lakes lie below sea level?",
                "Do I need to pay taxes if I live abroad? | Do I not need to pay taxes if I live abroad?",
                "Is it safe to eat raw eggs? | Is it unsafe to eat raw eggs?",
                "Should I grease the baking tin? | Should I not grease the baking tin?",
                "Why can I see who viewed my profile? | Why can't I see who viewed my profile?",
                "How do I drink coffee with sugar? | How do I drink coffee without sugar?",
                "Are higher taxes better for growth? | Are lower taxes better for growth?"
            })
    void shouldNotServeWhatDiffersInOneThingThatMatters(String a, String b) {
        assertThat(probability(a, b)).isLessThan(shipped.threshold(0.02));
    }

    /** A rule that saw a contradiction here would keep answers from whom they are for. */
    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "Why am I not able to log in? | Why am I unable to log in?",
                "Why is my phone not charging? | Why has my phone stopped charging?",
                "How do I get over a break up? | How do I get over a breakup?",
                "Is it unsafe to eat raw eggs? | Is it unsafe to eat eggs raw?"
            })
    void shouldLeaveToTheWeightsWhatNoRuleSettles(String a, String b) {
        assertThat(SameMeaning.differ(question(a), question(b))).isFalse();
    }

    @Test
    void shouldJudgeTheSameAfterBeingWrittenAndRead() throws IOException {
        SameMeaning read = SameMeaning.read(new ByteArrayInputStream(shipped.toBytes()));

        assertThat(read.toBytes()).isEqualTo(shipped.toBytes());
        QuestionPair pair = pair("How do I build a water wheel?", "What is a water wheel built of?");
        assertThat(read.probability(pair)).isEqualTo(shipped.probability(pair)).isPositive();
    }

    @Test
    void shouldLearnWhatTellsPairsApartAndPromiseNothingOnTooFew() {
        List<LabelledPair> pairs = new ArrayList<>();
        Random random = new Random(7);
        for (int i = 0; i < 400; i++) {
            // the cosine says nothing here, only the words do
            boolean same = random.nextBoolean();
            float[] vector = unit(random);
            pairs.add(new LabelledPair(
                    pair(
                            "how deep is pond number w" + i,
                            (same ? "how deep is pond number w" : "where flows brook colour x") + i,
                            vector),
                    same,
                    i));
        }
        SameMeaning learned = SameMeaning.train(pairs, "test", "other", done -> {});

        float[] vector = unit(random);
        double same = learned.probability(pair("how deep is pond number y", "how deep is pond number y", vector));
        double other = learned.probability(pair("how deep is pond number y", "where flows brook colour z", vector));
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

    /** Both questions and all remainders in the same direction: only the words can tell them apart. */
    private static QuestionPair pair(String a, String b, float[] vector) {
        return new QuestionPair(Question.of(a, vector), Question.of(b, vector), vector, vector);
    }

    private static QuestionPair pair(String a, String b) {
        return QuestionPair.of(question(a), question(b), second::embed);
    }

    private static double probability(String a, String b) {
        return shipped.probability(pair(a, b));
    }

    private static Question question(String text) {
        return Question.of(text, embed(text));
    }

    private static float[] embed(String text) {
        return embedder.embed(List.of(text)).getFirst();
    }
}
