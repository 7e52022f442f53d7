package io.millrace.gateway;

import io.millrace.schema.Failure;
import java.time.Duration;

/**
 * Why a request gets no answer. Thrown by handlers and rendered by {@link Errors}; it is an outcome, not a defect, so it has no stack
 * trace.
 */
final class Problem extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final int status;
    private final String code;
    private final String field;
    private final long retryAfterMs;

    private Problem(int status, String code, String field, long retryAfterMs, String detail) {
        super(detail, null, false, false);
        this.status = status;
        this.code = code;
        this.field = field;
        this.retryAfterMs = retryAfterMs;
    }

    static Problem invalid(String field, String detail) {
        return new Problem(400, "invalid_request", field, 0, detail);
    }

    static Problem of(int status, String code, String detail) {
        return new Problem(status, code, "", 0, detail);
    }

    static Problem field(int status, String code, String field, String detail) {
        return new Problem(status, code, field, 0, detail);
    }

    /** 413: the body is larger than {@code limits.body}. */
    static Problem bodyTooLarge(long most) {
        return field(413, "too_large", "body", "the body is larger than " + most + " bytes");
    }

    /** 429, to be tried again after this time. */
    static Problem limited(String detail, Duration retryAfter) {
        return new Problem(429, "rate_limited", "", Math.max(1, retryAfter.toMillis()), detail);
    }

    /** 503, to be tried again after a second. */
    static Problem unavailable(String code, String detail) {
        return new Problem(503, code, "", 1_000, detail);
    }

    /** What the log says of a query that ended without an answer. */
    static Problem of(Failure failure) {
        int status = failure.getHttpStatus();
        // 500 is for our own defects; a backend's is a bad gateway
        int told = status < 400 || status > 599 || status == 500 ? 502 : status;
        long retry = failure.getRetryAfterMs() == 0 && told == 503 ? 1_000 : failure.getRetryAfterMs();
        String detail = failure.getMessage().isEmpty() ? failure.getReason() : failure.getMessage();
        return new Problem(told, failure.getReason().isEmpty() ? "failed" : failure.getReason(), "", retry, detail);
    }

    int status() {
        return status;
    }

    /** Typed, snake_case. */
    String code() {
        return code;
    }

    /** The field or header that is wrong, or empty. */
    String field() {
        return field;
    }

    /** 0 when asking again makes no sense or nobody knows when. */
    long retryAfterSeconds() {
        return (retryAfterMs + 999) / 1_000;
    }

    String detail() {
        String message = getMessage();
        return message == null ? code : message;
    }
}
