package io.millrace.gateway;

import io.millrace.schema.Reply;
import io.vertx.core.http.HttpHeaders;
import io.vertx.core.http.HttpServerRequest;
import io.vertx.core.http.HttpServerResponse;
import io.vertx.core.http.HttpVersion;
import java.util.regex.Pattern;

/** The headers that are ours. */
final class Headers {
    static final CharSequence INTERACTION_ID = HttpHeaders.createOptimized("x-millrace-interaction-id");
    static final CharSequence ROUTE = HttpHeaders.createOptimized("x-millrace-route");
    static final CharSequence BACKEND = HttpHeaders.createOptimized("x-millrace-backend");
    static final CharSequence REASON = HttpHeaders.createOptimized("x-millrace-reason");
    static final CharSequence CONFIDENCE = HttpHeaders.createOptimized("x-millrace-confidence");
    static final CharSequence CACHED = HttpHeaders.createOptimized("x-millrace-cached");
    static final String SYNTHETIC = "x-millrace-synthetic";
    /** Which variant of an experiment the query is. */
    static final String VARIANT = "x-millrace-variant";

    static final String CACHE = "x-millrace-cache";
    static final String LOCAL_ONLY = "x-millrace-local-only";
    static final String IDEMPOTENCY_KEY = "Idempotency-Key";

    static final String JSON = "application/json";

    private static final Pattern NAME = Pattern.compile("[a-z0-9-]{1,32}");
    private static final Pattern COMMA = Pattern.compile(",");
    private static final int MOST_KEY_CHARS = 255;
    private static final Pattern TRACEPARENT =
            Pattern.compile("[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?");
    private static final String NO_TRACE = "0".repeat(32);

    private Headers() {}

    /** Puts the decision that led to this reply on a response. */
    static void decided(HttpServerResponse response, Reply reply) {
        response.putHeader(INTERACTION_ID, reply.getInteractionId())
                .putHeader(ROUTE, reply.getRoute())
                .putHeader(BACKEND, reply.getBackend())
                .putHeader(REASON, reply.getReason())
                .putHeader(CACHED, reply.getCachedKind().isEmpty() ? "false" : "true");
        Double confidence = reply.getConfidence();
        if (confidence != null) {
            response.putHeader(CONFIDENCE, confidence.toString());
        }
    }

    /** A header that is true or false; absent means false. */
    static boolean flag(HttpServerRequest request, String name) {
        String value = request.getHeader(name);
        if (value == null) {
            return false;
        }
        return switch (value.trim()) {
            case "true", "1" -> true;
            case "false", "0", "" -> false;
            default -> throw Problem.invalid(name, name + " must be true or false");
        };
    }

    /** The variant that the client chose itself, or empty. */
    static String variant(HttpServerRequest request) {
        String variant = request.getHeader(VARIANT);
        if (variant == null) {
            return "";
        }
        if (!NAME.matcher(variant).matches()) {
            throw Problem.invalid(VARIANT, VARIANT + " must be 1 to 32 lower-case letters, digits and dashes");
        }
        return variant;
    }

    /** The idempotency key, or empty. */
    static String idempotencyKey(HttpServerRequest request) {
        String key = request.getHeader(IDEMPOTENCY_KEY);
        if (key == null) {
            return "";
        }
        if (key.isBlank() || key.length() > MOST_KEY_CHARS) {
            throw Problem.invalid(
                    IDEMPOTENCY_KEY, IDEMPOTENCY_KEY + " must have 1 to " + MOST_KEY_CHARS + " characters");
        }
        return key;
    }

    /** The W3C trace id, or empty; a malformed header counts as none, as its specification asks. */
    static String traceId(HttpServerRequest request) {
        String header = request.getHeader("traceparent");
        if (header == null) {
            return "";
        }
        var matcher = TRACEPARENT.matcher(header);
        return matcher.matches() && !matcher.group(1).equals(NO_TRACE) ? matcher.group(1) : "";
    }

    /** Whether the client asks for 202 instead of waiting (RFC 7240). */
    static boolean respondAsync(HttpServerRequest request) {
        return request.headers().getAll("Prefer").stream()
                .flatMap(COMMA::splitAsStream)
                // its parameters, and a value, say nothing more
                .map(preference -> preference.split("[;=]", 2)[0].strip())
                .anyMatch("respond-async"::equalsIgnoreCase);
    }

    /** The length that the body is said to have; 0 when nothing is said of it. */
    static long declaredLength(HttpServerRequest request) {
        String declared = request.getHeader(HttpHeaders.CONTENT_LENGTH);
        return declared == null ? 0 : Long.parseLong(declared);
    }

    /** Whether the client sends its body only when it is told to. */
    static boolean expectsContinue(HttpServerRequest request) {
        String expect = request.getHeader(HttpHeaders.EXPECT);
        return expect != null
                && expect.equalsIgnoreCase(HttpHeaders.CONTINUE.toString())
                && request.version() != HttpVersion.HTTP_1_0;
    }

    /** Refuses a body that does not say it is JSON: a browser can send other types across origins without asking. */
    static void requireJson(HttpServerRequest request) {
        String encoding = request.getHeader(HttpHeaders.CONTENT_ENCODING);
        if (encoding != null && !encoding.trim().equalsIgnoreCase("identity")) {
            throw Problem.field(415, "unsupported_media_type", "Content-Encoding", "the body must not be compressed");
        }
        String contentType = request.getHeader(HttpHeaders.CONTENT_TYPE);
        int end = contentType == null ? -1 : contentType.indexOf(';');
        String type = contentType == null ? "" : end < 0 ? contentType : contentType.substring(0, end);
        if (!type.trim().equalsIgnoreCase(JSON)) {
            throw Problem.field(
                    415,
                    "unsupported_media_type",
                    "Content-Type",
                    "Content-Type must be application/json, with curl: -H 'Content-Type: application/json'");
        }
    }
}
