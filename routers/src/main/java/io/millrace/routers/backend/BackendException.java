package io.millrace.routers.backend;

import io.millrace.log.Vocabulary.FailureReason;
import io.millrace.schema.Failure;
import io.millrace.text.Redactor;

/** A backend did not answer. Carries the typed failure that goes to the log. */
public final class BackendException extends Exception {
    private static final long serialVersionUID = 1L;

    private final transient Failure failure;
    private final boolean loading;

    public BackendException(String reason, String message, int status, boolean retryable) {
        this(reason, message, status, 0, retryable);
    }

    /**
     * @param status what a client is told
     * @param retryAfterMs when asking again makes sense, milliseconds; 0 when unknown
     * @param retryable whether another deployment or backend may do better
     */
    public BackendException(String reason, String message, int status, long retryAfterMs, boolean retryable) {
        this(reason, message, status, retryAfterMs, retryable, false);
    }

    private BackendException(
            String reason, String message, int status, long retryAfterMs, boolean retryable, boolean loading) {
        // some APIs repeat in their refusal the key that they refuse
        String told = Redactor.redact(message);
        super(reason + ": " + told);
        this.failure = Failure.newBuilder()
                .setReason(reason)
                .setMessage(told)
                .setHttpStatus(status)
                .setRetryAfterMs(retryAfterMs)
                .setRetryable(retryable)
                .build();
        this.loading = loading;
    }

    /** The server is there and loads its model: asking it again is worth while. */
    static BackendException loading(String message) {
        return new BackendException(FailureReason.OVERLOADED, message, 503, 5_000, true, true);
    }

    /** Why, typed. */
    public Failure failure() {
        return failure;
    }

    /** Whether the same server will answer soon, since it only loads its model. */
    public boolean isLoading() {
        return loading;
    }
}
