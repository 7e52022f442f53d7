package io.millrace.knowledge;

import io.millrace.schema.Hit;
import io.millrace.text.DocumentQuestion;
import java.util.List;

/** What is known of documents beside their text. The port to the database that holds it. */
public interface DocumentCatalog {
    /**
     * One hit for each document, its text being the fields that were asked for; or one hit with a count.
     *
     * @param filter holds in addition
     * @param limit most hits, where the question names no other
     * @throws CatalogException when the database does not answer
     */
    List<Hit> ask(DocumentQuestion question, Filter filter, int limit);

    /** The database did not answer. */
    final class CatalogException extends RuntimeException {
        private static final long serialVersionUID = 1L;

        public CatalogException(String message, Throwable cause) {
            super(message, cause);
        }
    }
}
