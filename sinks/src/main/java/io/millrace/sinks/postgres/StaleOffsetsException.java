package io.millrace.sinks.postgres;

/** The database is elsewhere than this process thought: another member wrote these partitions, or a commit was lost. */
final class StaleOffsetsException extends Exception {
    private static final long serialVersionUID = 1L;

    StaleOffsetsException(String message) {
        super(message);
    }
}
