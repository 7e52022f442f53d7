package io.millrace.gateway;

import io.millrace.gateway.InteractionStore.Found;
import io.millrace.log.Topics;
import io.vertx.core.Future;
import java.time.Instant;

/** Tells ids that there never was from those that the projection does not have yet. */
record LateInteractions(Wire wire, InteractionStore store, Blocking blocking) {
    /**
     * What is known of an id whose interaction must have ended by then. That the projection does not know it says nothing before it has
     * what the log had at that time: fails with a 503 until then. Decisions count, too: a ledger that is away writes no ends, and what
     * was decided then is all that tells of a query.
     */
    Future<Found> find(String id, Instant ended) {
        return blocking.run(() -> store.hasReached(
                                wire.offsetsAt(Topics.INTERACTIONS, ended).get())
                        && store.hasReached(
                                wire.offsetsAt(Topics.DECISIONS, ended).get()))
                .recover(unreadable -> Future.succeededFuture(false))
                .compose(reached -> reached ? blocking.run(() -> store.find(id)) : Future.failedFuture(behind()));
    }

    private static Problem behind() {
        return Problem.unavailable(
                "projection_behind", "the store of interactions is behind the log and may not have this one yet");
    }
}
