package io.millrace.knowledge.meaning;

import java.util.List;

/**
 * Two questions to compare, with their vectors from a second embedding model: two models are seldom wrong about the same pair.
 * Immutable.
 */
public final class QuestionPair {
    private final Question a;
    private final Question b;
    final float[] secondA;
    final float[] secondB;

    QuestionPair(Question a, Question b, float[] secondA, float[] secondB) {
        this.a = a;
        this.b = b;
        this.secondA = secondA;
        this.secondB = secondB;
    }

    public Question a() {
        return a;
    }

    public Question b() {
        return b;
    }

    /**
     * A pair.
     *
     * @param second the second model: a vector of unit length for each text
     */
    public static QuestionPair of(Question a, Question b, Second second) {
        List<float[]> vectors = second.of(List.of(a.text(), b.text()));
        return new QuestionPair(a, b, vectors.getFirst(), vectors.getLast());
    }

    /** The vectors of texts, made or remembered. */
    @FunctionalInterface
    public interface Second {
        List<float[]> of(List<String> texts);
    }
}
