package io.millrace.knowledge;

import java.util.List;

/** Reads a question and passages together, as a cross-encoder does. The port to a reranking model. */
public interface Reranker {
    /**
     * How well each text answers the question, 0..1, in the order of the texts.
     *
     * @throws RerankException when the model does not answer in time or in form
     */
    List<Double> relevances(String question, List<String> texts);

    /** Whether texts stay on this machine: only then it may read what may not leave. */
    boolean isLocal();

    /** The model did not answer. */
    final class RerankException extends RuntimeException {
        private static final long serialVersionUID = 1L;

        public RerankException(String message, Throwable cause) {
            super(message, cause);
        }
    }
}
