package io.millrace.knowledge;

import java.util.List;

/** Says a question in other words. The port to a language model. */
public interface QueryExpander {
    /**
     * Rewordings of a question, at most two, none of them blank or the question itself.
     *
     * @throws ExpansionException when the model does not answer in time or in form
     */
    List<String> reword(String question);

    /** Whether the question stays on this machine: only then it may read what may not leave. */
    boolean isLocal();

    /** The model did not answer. */
    final class ExpansionException extends RuntimeException {
        private static final long serialVersionUID = 1L;

        public ExpansionException(String message, Throwable cause) {
            super(message, cause);
        }
    }
}
