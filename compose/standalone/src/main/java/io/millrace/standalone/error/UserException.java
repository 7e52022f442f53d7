package io.millrace.standalone.error;

/** Something that the person at the terminal can mend. Its message is one line; there is no stack trace to look at. */
public final class UserException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public UserException(String message) {
        super(message);
    }

    /** @param cause for the log */
    public UserException(String message, Throwable cause) {
        super(message, cause);
    }
}
