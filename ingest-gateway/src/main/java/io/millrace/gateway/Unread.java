package io.millrace.gateway;

import io.vertx.core.Vertx;
import io.vertx.core.http.HttpHeaders;
import io.vertx.core.http.HttpServerRequest;

/** Requests that are refused before their body is read. */
final class Unread {
    /** What a client that sends too much has to read the answer, before the connection is cut. */
    private static final long CUT_AFTER_MS = 500;

    private Unread() {}

    /** Answers. The body passes by unread, unless the client waits to be told to send it: it may or may not come then. */
    static void refuse(Vertx vertx, HttpServerRequest request, Errors errors, Problem problem) {
        if (Headers.expectsContinue(request) && !request.isEnded()) {
            cut(vertx, request, errors, problem);
        } else {
            errors.write(request.response(), problem, "");
        }
    }

    /** Answers, and ends the connection. */
    static void cut(Vertx vertx, HttpServerRequest request, Errors errors, Problem problem) {
        // what still comes is thrown away for a moment: a connection that is cut at once takes the answer with it
        request.handler(part -> {});
        request.endHandler(nothing -> {});
        request.response().putHeader(HttpHeaders.CONNECTION, HttpHeaders.CLOSE);
        errors.write(request.response(), problem, "");
        vertx.setTimer(CUT_AFTER_MS, timer -> request.connection().close());
    }
}
