package io.millrace.gateway;

import io.millrace.schema.Query;
import io.millrace.schema.Reply;
import io.vertx.core.http.HttpHeaders;
import io.vertx.core.http.HttpServerResponse;

/** Waits for a whole answer. */
record WholeClient(HttpServerResponse response, Face face, Query query, Traffic traffic, long startedNanos)
        implements Client {

    @Override
    public void ended(Outcome outcome) {
        if (response.closed()) {
            return;
        }
        switch (outcome) {
            case Outcome.Answered(Reply reply) -> {
                Headers.decided(response, reply);
                response.putHeader(HttpHeaders.CONTENT_TYPE, "application/json")
                        .end(face.answer(
                                query,
                                reply,
                                (System.nanoTime() - startedNanos) / 1e6,
                                traffic.isRemote(reply.getBackend())));
            }
            case Outcome.Failed failed -> {
                failed.reply().ifPresent(reply -> Headers.decided(response, reply));
                face.errors().write(response, failed.problem(), query.getInteractionId());
            }
        }
    }
}
