package io.millrace.routers.backend;

import io.millrace.schema.Failure;

/** A backend did not answer. Carries the typed failure that goes to the log. */
public final class BackendException extends Exception {
    private static final long serialVersionUID = 1L;

    private final transient Failure failure;

    public BackendException(String reason, String message, int status, boolean retryable) {
        this(reason, message, status, 0, retryable);
    }

    public BackendException(String reason, String message, int status, long retryAfterMs, boolean retryable) {
        super(reason + ": " + message);
        this.failure = Failure.newBuilder()
                .setReason(reason)
                .setMessage(message)
                .setHttpStatus(status)
                .setRetryAfterMs(retryAfterMs)
                .setRetryable(retryable)
                .build();
    }

    /** Why, typed. */
    public Failure failure() {
        return failure;
    }
}
