package io.millrace.knowledge.meaning;

import java.util.ArrayList;
import java.util.List;

/**
 * Two questions to compare, with the vectors of what only one of them says: "tall" and "the height of" are close though their letters
 * are not, "petrol" and "diesel" close too, and how close says which kind of difference it is.
 * Immutable.
 */
public final class QuestionPair {
    private final Question a;
    private final Question b;
    /** Of the words that the other question has not; all zero when there are none. */
    final float[] onlyA;

    final float[] onlyB;

    QuestionPair(Question a, Question b, float[] onlyA, float[] onlyB) {
        this.a = a;
        this.b = b;
        this.onlyA = onlyA;
        this.onlyB = onlyB;
    }

    public Question a() {
        return a;
    }

    public Question b() {
        return b;
    }

    /** What only {@code a} says and what only {@code b} says; empty when that is nothing. */
    public static List<String> remainders(Question a, Question b) {
        return List.of(remainder(a, b), remainder(b, a));
    }

    /**
     * A pair, with its remainders put into vectors.
     *
     * @param embed a vector for each text that is not empty
     */
    public static QuestionPair of(Question a, Question b, Embedding embed) throws InterruptedException {
        List<String> texts = remainders(a, b);
        return new QuestionPair(a, b, vector(texts.getFirst(), a, embed), vector(texts.getLast(), b, embed));
    }

    /** A text's vector, made or remembered. */
    @FunctionalInterface
    public interface Embedding {
        float[] of(String text) throws InterruptedException;
    }

    private static float[] vector(String text, Question of, Embedding embed) throws InterruptedException {
        return text.isEmpty() ? new float[of.vector.length] : embed.of(text);
    }

    private static String remainder(Question of, Question without) {
        List<String> only = new ArrayList<>();
        for (int i = 0; i < of.words.length; i++) {
            if (!without.stemSet.contains(of.stems[i])) {
                only.add(of.words[i]);
            }
        }
        return String.join(" ", only);
    }
}
