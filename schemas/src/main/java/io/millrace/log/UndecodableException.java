package io.millrace.log;

/** Bytes that are not a value of the topic they were found on. They belong into a dead letter; trying again is useless. */
public final class UndecodableException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public UndecodableException(String message) {
        super(message);
    }

    public UndecodableException(String message, Throwable cause) {
        super(message, cause);
    }
}
