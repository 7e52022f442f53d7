package io.millrace.knowledge;

import java.util.List;

/** Turns text into unit vectors. The port to an embedding model. */
public interface Embedder {
    /**
     * One vector for each text, of length 1.
     *
     * @throws EmbeddingException when there is none; never a zero vector in its place
     */
    List<float[]> embed(List<String> texts);

    /** Names the model and its version: vectors of different fingerprints are never compared. */
    String fingerprint();

    /** Length of the vectors. */
    int dimension();

    /** The model did not answer. */
    final class EmbeddingException extends RuntimeException {
        private static final long serialVersionUID = 1L;
        private final boolean passing;

        /** Of texts that it will never embed. */
        public EmbeddingException(String message, Throwable cause) {
            this(message, cause, false);
        }

        /** @param passing whether the same texts may be embedded later: the model is away, and nothing is wrong with them */
        public EmbeddingException(String message, Throwable cause, boolean passing) {
            super(message, cause);
            this.passing = passing;
        }

        public boolean isPassing() {
            return passing;
        }
    }
}
