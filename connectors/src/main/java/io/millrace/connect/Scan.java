package io.millrace.connect;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;

/**
 * One pass over a source, pulled document by document, so that what a slow broker does not take is not read.
 *
 * <p>A pass that cannot go on throws {@link ScanException}; what is wrong with one document is told by {@link Step.Skipped} and the pass
 * goes on.
 */
interface Scan extends AutoCloseable {
    /** The next step; empty at the end. May block for as long as a download takes. */
    Optional<Step> next() throws ScanException;

    /** Documents that this pass is going to look at, as far as is known. */
    int found();

    /** Paths of all documents that the source has now; empty when this pass does not know all of them. */
    Optional<Iterable<String>> everything();

    /** Offset that is committed when the pass is over. */
    Map<String, Object> mark();

    @Override
    default void close() {}

    /** What happened to one document. */
    sealed interface Step {
        /**
         * A document to send.
         *
         * @param partition Connect's source partition of the offset
         */
        record Found(
                String path, Map<String, Object> document, Map<String, Object> partition, Map<String, Object> offset)
                implements Step {}

        /** A document that the source has no more. */
        record Gone(String path, Map<String, Object> partition, Map<String, Object> offset) implements Step {}

        /** A document that cannot be taken. */
        record Skipped(String path, String reason) implements Step {}

        /** A document that is as it was. */
        record Unchanged(String path) implements Step {}
    }

    /** The source cannot be read. */
    final class ScanException extends Exception {
        private static final long serialVersionUID = 1L;

        ScanException(String message) {
            super(message);
        }

        ScanException(String message, Throwable cause) {
            super(message, cause);
        }
    }

    /** A document with what all of a source have in common. */
    static Map<String, Object> document(SourceSettings settings, String path) {
        Map<String, Object> document = new LinkedHashMap<>();
        document.put("type", "document");
        document.put("path", path);
        document.put("collection", settings.collection());
        document.put("trust", settings.trust());
        document.put("local_only", settings.localOnly());
        document.put("tags", settings.tags());
        if (!settings.metadata().isEmpty()) {
            document.put("metadata", settings.metadata());
        }
        return document;
    }
}
