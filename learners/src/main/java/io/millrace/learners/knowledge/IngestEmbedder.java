package io.millrace.learners.knowledge;

import io.millrace.knowledge.Embedder;
import io.millrace.knowledge.Embedder.EmbeddingException;
import io.millrace.knowledge.Embedder.EmbeddingException.Reason;
import io.millrace.log.LogWorker;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * Embeds what is ingested, and tells a text that the model cannot take from a model that is away: the one must not hold up all others, and
 * the other must not cost a single passage.
 *
 * <p>One answer does not tell them apart. llama.cpp answers 500 to a request with one text that is too long, and a batch that is too much
 * for a slow server is as late as any answer of one that hangs. So whatever fails is followed by a text that any model can take. When that
 * fails as well the model is away: everything waits. Else the batch is halved, and of a text alone that fails again and again between probes that
 * succeed it is known that it is its own fault.
 *
 * <p>What it costs a server: one that is not there, or lets nobody in, is asked once by each worker, and again with the record's next attempt, 2 s
 * later. One that hangs is asked twice and each time waited for. One bad text of {@value #LARGEST} costs six requests that fail, six probes, five
 * that succeed, and two more of each for the last proof. A batch that was late makes the next ones smaller, for all workers, before it is known whether
 * the server hangs: a probe behind the batches of other workers is late too, and all would come again as large as they were.
 */
final class IngestEmbedder {
    /** Texts given to the model at once. */
    static final int LARGEST = 32;

    /** Failures of a text alone that make it the text's. A text that is refused needs one. */
    private static final int PROOFS = 3;

    /** Full batches in a row until one of twice the size is tried: each that is late costs the whole timeout. */
    private static final int TO_GROW = 16;

    private static final String PROBE = "The mill stands by the river.";
    /** As long as a passage: a server too slow for that is to be given more time, and no passage is at fault. */
    private static final String LONG_PROBE = (PROBE + " ").repeat(30).strip();

    private final Embedder embedder;
    private final Duration pause;
    private volatile @Nullable String waiting;
    private int most = LARGEST;
    private int inARow;

    /** What became of a text. */
    sealed interface Outcome {
        /** @param vector of length 1 */
        @SuppressWarnings("ArrayRecordComponent") // nobody compares vectors
        record Embedded(float[] vector) implements Outcome {}

        /** Only this text: others are embedded. */
        record Refused(String reason) implements Outcome {}
    }

    IngestEmbedder(Embedder embedder) {
        this(embedder, Duration.ofSeconds(1));
    }

    /** @param pause between the proofs, in which what broke down may come up again */
    IngestEmbedder(Embedder embedder, Duration pause) {
        this.embedder = embedder;
        this.pause = pause;
    }

    String fingerprint() {
        return embedder.fingerprint();
    }

    /** Why nothing is embedded just now; empty while something is. */
    Optional<String> waiting() {
        return Optional.ofNullable(waiting);
    }

    /**
     * One outcome for each text, in their order.
     *
     * @throws LogWorker.RetryLaterException when the model is away
     */
    List<Outcome> embed(List<String> texts) throws InterruptedException {
        List<Outcome> outcomes = new ArrayList<>();
        while (outcomes.size() < texts.size()) {
            int from = outcomes.size();
            outcomes.addAll(batch(texts.subList(from, Math.min(texts.size(), from + most()))));
        }
        return outcomes;
    }

    private List<Outcome> batch(List<String> texts) throws InterruptedException {
        try {
            return atOnce(texts);
        } catch (EmbeddingException e) {
            if (texts.size() == 1) {
                return List.of(alone(texts, e));
            }
            int half = texts.size() / 2;
            if (e.reason() == Reason.LATE) {
                shrink(half);
            }
            probe(e);
            List<Outcome> outcomes = new ArrayList<>(batch(texts.subList(0, half)));
            outcomes.addAll(batch(texts.subList(half, texts.size())));
            if (outcomes.stream().allMatch(Outcome.Embedded.class::isInstance)) {
                // none of them was wrong: they were too many
                shrink(half);
            }
            return outcomes;
        }
    }

    private Outcome alone(List<String> text, EmbeddingException first) throws InterruptedException {
        EmbeddingException last = first;
        for (int proofs = 1; ; proofs++) {
            probe(last);
            if (proofs == PROOFS || last.reason() == Reason.REFUSED) {
                return new Outcome.Refused(String.valueOf(last.getMessage()));
            }
            Thread.sleep(pause);
            try {
                return atOnce(text).getFirst();
            } catch (EmbeddingException e) {
                last = e;
            }
        }
    }

    private List<Outcome> atOnce(List<String> texts) {
        try {
            List<float[]> vectors = embedder.embed(texts);
            waiting = null;
            grow(texts.size());
            return vectors.stream().<Outcome>map(Outcome.Embedded::new).toList();
        } catch (EmbeddingException e) {
            if (e.reason() == Reason.AWAY) {
                throw later(e);
            }
            throw e;
        }
    }

    /** Returns when the model is there. */
    private void probe(EmbeddingException failure) {
        try {
            embedder.embed(List.of(failure.reason() == Reason.LATE ? LONG_PROBE : PROBE));
        } catch (EmbeddingException e) {
            throw later(e);
        }
    }

    private LogWorker.RetryLaterException later(EmbeddingException failure) {
        String reason = String.valueOf(failure.getMessage());
        waiting = reason;
        return new LogWorker.RetryLaterException(reason, failure);
    }

    private synchronized int most() {
        return most;
    }

    private synchronized void shrink(int size) {
        most = Math.min(most, size);
        inARow = 0;
    }

    private synchronized void grow(int size) {
        if (size == most && most < LARGEST && ++inARow == TO_GROW) {
            most = Math.min(LARGEST, 2 * most);
            inARow = 0;
        }
    }
}
