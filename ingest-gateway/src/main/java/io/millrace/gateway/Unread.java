package io.millrace.gateway;

import io.vertx.core.Vertx;
import io.vertx.core.http.HttpHeaders;
import io.vertx.core.http.HttpServerRequest;
import java.time.Duration;
import java.util.concurrent.TimeUnit;

/** Requests that are refused before their body is read. */
final class Unread {
    /**
     * Of a client that sends too much. A connection that is cut while parts are on their way takes the answer with it: so much must go by
     * without one, which is more than a slow line or a busy machine needs between two.
     */
    private static final Duration QUIET = Duration.ofSeconds(3);

    /** Whoever still sends after that is not going to read the answer. */
    private static final Duration LONGEST = Duration.ofSeconds(30);

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
        cut(vertx, request, errors, problem, QUIET, LONGEST);
    }

    /**
     * @param quiet without a part of the body, until the connection is cut
     * @param longest until it is cut in any case
     */
    static void cut(
            Vertx vertx, HttpServerRequest request, Errors errors, Problem problem, Duration quiet, Duration longest) {
        Rest rest = new Rest(vertx, request, quiet.toNanos(), longest.toNanos());
        request.handler(part -> rest.last = System.nanoTime());
        request.endHandler(nothing -> request.connection().close());
        request.response().putHeader(HttpHeaders.CONNECTION, HttpHeaders.CLOSE);
        errors.write(request.response(), problem, "");
        rest.look();
    }

    /** What comes after the answer, and is thrown away. */
    private static final class Rest {
        private final Vertx vertx;
        private final HttpServerRequest request;
        private final long quiet;
        private final long end;
        private long last = System.nanoTime();

        Rest(Vertx vertx, HttpServerRequest request, long quiet, long longest) {
            this.vertx = vertx;
            this.request = request;
            this.quiet = quiet;
            this.end = last + longest;
        }

        void look() {
            long now = System.nanoTime();
            long left = Math.min(last + quiet - now, end - now);
            if (left > 0 && !request.isEnded()) {
                vertx.setTimer(Math.max(1, TimeUnit.NANOSECONDS.toMillis(left)), timer -> look());
            } else {
                request.connection().close();
            }
        }
    }
}
