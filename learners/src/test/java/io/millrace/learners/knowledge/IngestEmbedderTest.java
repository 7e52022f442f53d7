package io.millrace.learners.knowledge;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.millrace.knowledge.Embedder;
import io.millrace.knowledge.Embedder.EmbeddingException.Reason;
import io.millrace.learners.knowledge.IngestEmbedder.Outcome;
import io.millrace.log.LogWorker.RetryLaterException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class IngestEmbedderTest {
    private final Server server = new Server();
    private final IngestEmbedder embedder = new IngestEmbedder(server, Duration.ofMillis(1));

    /** One text that is too long for llama.cpp stopped all ingest for ever. */
    @ParameterizedTest
    @EnumSource(value = Reason.class, names = "AWAY", mode = EnumSource.Mode.EXCLUDE)
    void shouldRefuseOneTextAndEmbedAllOthersWhenItFailsByItself(Reason reason) throws InterruptedException {
        server.fails = texts -> texts.contains("t20") ? reason : null;

        List<Outcome> outcomes = embedder.embed(texts(32));

        assertThat(outcomes).hasSize(32);
        for (int i = 0; i < outcomes.size(); i++) {
            if (i == 20) {
                assertThat(outcomes.get(i)).isEqualTo(new Outcome.Refused("it is " + reason));
            } else {
                assertThat(((Outcome.Embedded) outcomes.get(i)).vector()).containsExactly(i);
            }
        }
        assertThat(embedder.waiting()).isEmpty();
        assertThat(server.asked).hasSizeLessThan(25);
    }

    @Test
    void shouldEmbedATextThatFailedOnlyForAWhile() throws InterruptedException {
        server.fails = texts -> texts.contains("t0") && server.asked.size() < 4 ? Reason.FAILED : null;

        assertThat(embedder.embed(texts(1))).hasOnlyElementsOfType(Outcome.Embedded.class);
    }

    @ParameterizedTest
    @EnumSource(Reason.class)
    void shouldWaitAndAskNoMoreThanTwiceWhenNothingIsAnswered(Reason reason) {
        server.fails = texts -> reason;

        assertThatThrownBy(() -> embedder.embed(texts(32)))
                .isInstanceOf(RetryLaterException.class)
                .hasMessage("it is " + reason);

        assertThat(server.asked).hasSize(reason == Reason.AWAY ? 1 : 2);
        assertThat(embedder.waiting()).contains("it is " + reason);
    }

    @Test
    void shouldSayNoLongerThatItWaitsWhenTheModelIsBack() throws InterruptedException {
        server.fails = texts -> Reason.AWAY;
        assertThatThrownBy(() -> embedder.embed(texts(1))).isInstanceOf(RetryLaterException.class);
        server.fails = texts -> null;

        embedder.embed(texts(1));

        assertThat(embedder.waiting()).isEmpty();
    }

    /** A text that fails while the model goes away is not known to be at fault. */
    @Test
    void shouldWaitWhenTheModelGoesAwayBetweenTheProofs() {
        server.fails = texts -> texts.contains("t0") ? Reason.FAILED : server.asked.size() > 3 ? Reason.AWAY : null;

        assertThatThrownBy(() -> embedder.embed(texts(1))).isInstanceOf(RetryLaterException.class);
    }

    /** A slow server timed out for ever, each time at full size. */
    @Test
    void shouldAskForLessAtOnceWhenMoreIsLateAndForMoreAgainAfterAWhile() throws InterruptedException {
        server.fails = texts -> texts.size() > 5 ? Reason.LATE : null;
        assertThat(embedder.embed(texts(32))).hasOnlyElementsOfType(Outcome.Embedded.class);
        server.asked.clear();

        assertThat(embedder.embed(texts(32))).hasOnlyElementsOfType(Outcome.Embedded.class);
        assertThat(server.asked).containsOnly(4);

        server.fails = texts -> null;
        embedder.embed(texts(1_000));
        server.asked.clear();
        embedder.embed(texts(32));
        assertThat(server.asked).containsExactly(32);
    }

    /** The probe waits behind the batches of other workers: nothing would ever be in time. */
    @Test
    void shouldComeAgainWithLessWhenTheProbeIsLateAsWell() {
        server.fails = texts -> Reason.LATE;

        for (int attempt = 0; attempt < 6; attempt++) {
            assertThatThrownBy(() -> embedder.embed(texts(32))).isInstanceOf(RetryLaterException.class);
        }

        assertThat(server.asked).containsExactly(32, 1, 16, 1, 8, 1, 4, 1, 2, 1, 1, 1);
    }

    /** text-embeddings-inference takes so many at once and no more. */
    @Test
    void shouldLearnHowManyTheServerTakes() throws InterruptedException {
        server.fails = texts -> texts.size() > 8 ? Reason.REFUSED : null;
        assertThat(embedder.embed(texts(32))).hasOnlyElementsOfType(Outcome.Embedded.class);
        server.asked.clear();

        embedder.embed(texts(32));

        assertThat(server.asked).containsOnly(8);
    }

    private static List<String> texts(int count) {
        return IntStream.range(0, count).mapToObj(i -> "t" + i).toList();
    }

    private interface Failing {
        @org.jspecify.annotations.Nullable
        Reason of(List<String> texts);
    }

    /** The vector of "t7" is 7. */
    private static final class Server implements Embedder {
        private final List<Integer> asked = new ArrayList<>();
        private Failing fails = texts -> null;

        @Override
        public List<float[]> embed(List<String> texts) {
            asked.add(texts.size());
            Reason reason = fails.of(texts);
            if (reason != null) {
                throw new EmbeddingException("it is " + reason, new IllegalStateException(), reason);
            }
            return texts.stream()
                    .map(text -> new float[] {text.startsWith("t") ? Integer.parseInt(text.substring(1)) : -1})
                    .toList();
        }

        @Override
        public String fingerprint() {
            return "server:1";
        }

        @Override
        public int dimension() {
            return 1;
        }
    }
}
