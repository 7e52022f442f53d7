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

    /** There is no vector. */
    final class EmbeddingException extends RuntimeException {
        private static final long serialVersionUID = 1L;
        private final Reason reason;

        /** Whose fault it is, as far as one answer tells. */
        public enum Reason {
            /** The model says that these texts, or so many, are none for it. */
            REFUSED,
            /** It broke at them, or made no vectors of them: of the texts or of the server. */
            FAILED,
            /** No answer in time: too much at once, or a server that hangs. */
            LATE,
            /** Nobody is there, or lets us in; it says nothing of the texts. */
            AWAY
        }

        /** Of texts that the model refuses. */
        public EmbeddingException(String message, Throwable cause) {
            this(message, cause, Reason.REFUSED);
        }

        public EmbeddingException(String message, Throwable cause, Reason reason) {
            super(message, cause);
            this.reason = reason;
        }

        public Reason reason() {
            return reason;
        }
    }
}
