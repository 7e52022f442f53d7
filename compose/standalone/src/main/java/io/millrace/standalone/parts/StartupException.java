package io.millrace.standalone.parts;

/** Something the user has to know and can change. The message is the one line that is printed; no stack trace is. */
public final class StartupException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public StartupException(String message) {
        super(message);
    }

    public StartupException(String message, Throwable cause) {
        super(message, cause);
    }
}
