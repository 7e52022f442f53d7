package io.millrace.gateway;

import io.millrace.gateway.InteractionStore.Found;
import io.millrace.id.Ids;
import io.vertx.core.Handler;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.json.JsonObject;
import io.vertx.ext.web.RoutingContext;
import io.vertx.openapi.validation.RequestParameter;
import java.time.Duration;
import java.util.concurrent.TimeUnit;

/** {@code GET /interactions/{id}}. */
final class InteractionHandler implements Handler<RoutingContext> {
    private static final long FIRST_PAUSE_MS = 50;
    private static final long LONGEST_PAUSE_MS = 500;

    private final Exchanges exchanges;
    private final InteractionStore store;
    private final Blocking blocking;
    private final Duration openAtMost;

    /** @param openAtMost after which an id of which nothing is known will not become known */
    InteractionHandler(Exchanges exchanges, InteractionStore store, Blocking blocking, Duration openAtMost) {
        this.exchanges = exchanges;
        this.store = store;
        this.blocking = blocking;
        this.openAtMost = openAtMost;
    }

    @Override
    public void handle(RoutingContext context) {
        String id = Answers.pathParam(context, "interaction_id");
        if (!Ids.isEventId(id)) {
            throw Problem.invalid("interaction_id", "interaction_id must be an interaction id, a UUIDv7 in lower case");
        }
        long seconds = Answers.queryParam(context, "wait")
                .map(RequestParameter::getLong)
                .orElse(0L);
        look(context, id, System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds), FIRST_PAUSE_MS);
    }

    private void look(RoutingContext context, String id, long untilNanos, long pauseMs) {
        if (context.response().closed()) {
            return;
        }
        blocking.run(() -> store.find(id))
                .onSuccess(found -> {
                    boolean young = System.currentTimeMillis() - Ids.millisOf(id) < openAtMost.toMillis();
                    boolean open = found instanceof Found.Open || exchanges.knows(id);
                    if (found instanceof Found.Ended ended) {
                        Answers.json(context, 200, Buffer.buffer(ended.toJson()));
                    } else if ((open || young) && System.nanoTime() < untilNanos) {
                        context.vertx()
                                .setTimer(
                                        pauseMs,
                                        timer ->
                                                look(context, id, untilNanos, Math.min(2 * pauseMs, LONGEST_PAUSE_MS)));
                    } else if (open) {
                        Answers.json(
                                context,
                                202,
                                new JsonObject().put("status", "in_progress").put("interaction_id", id));
                    } else {
                        context.fail(Problem.field(404, "not_found", "interaction_id", "no interaction has this id"));
                    }
                })
                .onFailure(context::fail);
    }
}
