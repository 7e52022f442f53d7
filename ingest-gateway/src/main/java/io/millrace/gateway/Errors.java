package io.millrace.gateway;

import io.netty.handler.codec.http.HttpResponseStatus;
import io.vertx.core.http.HttpHeaders;
import io.vertx.core.http.HttpServerResponse;
import io.vertx.core.json.JsonObject;
import org.jspecify.annotations.Nullable;

/** How a problem is told: RFC 9457, or OpenAI's shape on /v1. */
enum Errors {
    PROBLEM {
        @Override
        JsonObject body(Problem problem, String interactionId) {
            JsonObject body = new JsonObject()
                    .put("type", "about:blank")
                    .put("title", HttpResponseStatus.valueOf(problem.status()).reasonPhrase())
                    .put("status", problem.status())
                    .put("detail", problem.detail())
                    .put("code", problem.code());
            if (!problem.field().isEmpty()) {
                body.put("field", problem.field());
            }
            if (!interactionId.isEmpty()) {
                body.put("interaction_id", interactionId);
            }
            return body;
        }

        @Override
        String contentType() {
            return "application/problem+json";
        }
    },
    OPENAI {
        @Override
        JsonObject body(Problem problem, String interactionId) {
            return new JsonObject()
                    .put(
                            "error",
                            new JsonObject()
                                    .put("message", problem.detail())
                                    .put("type", type(problem.status()))
                                    .put("param", problem.field().isEmpty() ? null : problem.field())
                                    .put("code", problem.code()));
        }

        @Override
        String contentType() {
            return "application/json";
        }
    };

    /** The shape of errors below this path, with a prefix or without. */
    static Errors of(@Nullable String path) {
        return path != null && Prefixes.strip(path).startsWith(Prefixes.OPENAI) ? OPENAI : PROBLEM;
    }

    abstract JsonObject body(Problem problem, String interactionId);

    abstract String contentType();

    /** Answers with the problem, unless an answer is already on its way. */
    void write(HttpServerResponse response, Problem problem, String interactionId) {
        if (response.headWritten() || response.closed()) {
            return;
        }
        response.setStatusCode(problem.status()).putHeader(HttpHeaders.CONTENT_TYPE, contentType());
        if (!interactionId.isEmpty()) {
            response.putHeader(Headers.INTERACTION_ID, interactionId);
        }
        if (problem.retryAfterSeconds() > 0) {
            response.putHeader(HttpHeaders.RETRY_AFTER, Long.toString(problem.retryAfterSeconds()));
        }
        response.end(body(problem, interactionId).toBuffer());
    }

    private static String type(int status) {
        return switch (status) {
            case 401 -> "authentication_error";
            case 403 -> "permission_error";
            case 429 -> "rate_limit_error";
            default -> status < 500 ? "invalid_request_error" : "server_error";
        };
    }
}
