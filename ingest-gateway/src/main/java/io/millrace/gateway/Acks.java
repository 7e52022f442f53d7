package io.millrace.gateway;

import io.vertx.core.Future;
import io.vertx.ext.web.RoutingContext;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.common.errors.RecordTooLargeException;

/** What a client is told when the log does not take its record. */
final class Acks {
    /** Within which the log must take a record, so that a client learns within 6 s that it is away. */
    static final Duration PATIENCE = Duration.ofMillis(5_500);

    private Acks() {}

    /** The acknowledgement on the request's context, or a problem. */
    static Future<Void> await(RoutingContext context, CompletableFuture<Void> sent) {
        return Future.fromCompletionStage(
                        sent.copy().orTimeout(PATIENCE.toMillis(), TimeUnit.MILLISECONDS),
                        context.vertx().getOrCreateContext())
                .recover(error -> Future.failedFuture(refusal(error)));
    }

    static Problem refusal(Throwable error) {
        Throwable cause = error instanceof CompletionException && error.getCause() != null ? error.getCause() : error;
        return switch (cause) {
            case Problem problem -> problem;
            case RecordTooLargeException tooLarge ->
                Problem.field(413, "too_large", "body", "the log does not take records of this size");
            default -> logAway();
        };
    }

    static Problem logAway() {
        return Problem.unavailable("log_unavailable", "the log does not take records now");
    }
}
