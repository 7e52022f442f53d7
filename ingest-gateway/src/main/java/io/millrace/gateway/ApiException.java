package io.millrace.gateway;

/** A request that is answered with an error. */
final class ApiException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final int status;
    private final String code;
    private final String field;
    private final long retryAfterSeconds;

    ApiException(int status, String code, String field, String message) {
        this(status, code, field, message, 0);
    }

    /**
     * @param code typed, snake_case
     * @param field what is wrong in the request, or empty
     * @param retryAfterSeconds 0 for none
     */
    ApiException(int status, String code, String field, String message, long retryAfterSeconds) {
        super(message);
        this.status = status;
        this.code = code;
        this.field = field;
        this.retryAfterSeconds = retryAfterSeconds;
    }

    static ApiException field(String field, String message) {
        return new ApiException(400, "invalid_request", field, field + ": " + message);
    }

    int status() {
        return status;
    }

    String code() {
        return code;
    }

    String field() {
        return field;
    }

    long retryAfterSeconds() {
        return retryAfterSeconds;
    }

    String text() {
        String message = getMessage();
        return message == null ? code : message;
    }
}
