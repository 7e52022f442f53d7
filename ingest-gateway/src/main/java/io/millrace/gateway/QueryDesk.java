package io.millrace.gateway;

import io.millrace.gateway.Idempotency.Claim;
import io.millrace.gateway.Idempotency.Course;
import io.millrace.gateway.IdempotencyKeys.Holder;
import io.millrace.gateway.InteractionStore.Found;
import io.millrace.id.Ids;
import io.millrace.log.Vocabulary.FailureReason;
import io.millrace.schema.Answer;
import io.millrace.schema.Envelope;
import io.millrace.schema.Query;
import io.millrace.schema.Reply;
import io.millrace.text.Redactor;
import io.vertx.core.Future;
import io.vertx.core.http.HttpServerRequest;
import io.vertx.core.http.HttpServerResponse;
import java.time.Instant;
import java.util.Optional;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Takes a valid query from a client to the log, and sees to what happens when either goes away. */
final class QueryDesk {
    private static final Logger LOG = LoggerFactory.getLogger(QueryDesk.class);

    private final Exchanges exchanges;
    private final Idempotency idempotency;
    private final InteractionStore store;
    private final Blocking blocking;
    private final LateInteractions late;
    private final Traffic traffic;
    private final int mostHeld;

    /** @param mostHeld events held for a slow reader */
    QueryDesk(
            Exchanges exchanges,
            Idempotency idempotency,
            InteractionStore store,
            Blocking blocking,
            LateInteractions late,
            Traffic traffic,
            int mostHeld) {
        this.exchanges = exchanges;
        this.idempotency = idempotency;
        this.store = store;
        this.blocking = blocking;
        this.late = late;
        this.traffic = traffic;
        this.mostHeld = mostHeld;
    }

    /** A request with a key, as it came. */
    private record Asking(HttpServerRequest request, Query query, Face face, boolean async, LoopInbox inbox) {
        HttpServerResponse response() {
            return request.response();
        }

        void refuse(Problem problem, String id) {
            face.errors().write(response(), problem, id);
        }
    }

    /**
     * Answers the request sooner or later; throws a {@link Problem} where it can say so at once.
     *
     * @param async 202 as soon as it is accepted
     */
    void submit(HttpServerRequest request, Query query, Face face, boolean async, LoopInbox inbox) {
        if (query.getIdempotencyKey().isEmpty()) {
            start(request, query, face, async, inbox);
            return;
        }
        Asking asking = new Asking(request, query, face, async, inbox);
        settle(asking, idempotency.claim(query), before -> elsewhere(asking, before));
    }

    private void settle(Asking asking, CompletionStage<Claim> claimed, Consumer<Holder> elsewhere) {
        claimed.whenComplete((claim, error) -> asking.inbox.execute(() -> {
            Throwable cause = error instanceof CompletionException ? error.getCause() : error;
            if (cause instanceof Problem problem) {
                asking.refuse(problem, "");
                return;
            }
            if (error != null) {
                LOG.error("an idempotency key could not be claimed", error);
                asking.refuse(Problem.unavailable("unavailable", "try again"), "");
                return;
            }
            switch (claim) {
                case Claim.First(Course course) -> first(asking, course);
                case Claim.Repeat(String id, Course course) -> repeat(asking, id, course);
                case Claim.Elsewhere(Holder before) -> elsewhere.accept(before);
            }
        }));
    }

    private void start(HttpServerRequest request, Query query, Face face, boolean async, LoopInbox inbox) {
        HttpServerResponse response = request.response();
        if (!async && response.closed()) {
            // its client went while the request was looked at, and nothing would tell of that again
            return;
        }
        Client client = client(response, query, face, async, false);
        Exchange exchange = exchanges.open(query, client, inbox);
        if (client instanceof StreamClient streams) {
            streams.whenTooSlow(() -> giveUp(exchange, "the reader was too slow"));
        }
        if (!async) {
            response.closeHandler(nothing -> giveUp(exchange, "the client went away"));
        }
    }

    /** A query with a key is not cancelled when its client leaves: it may come back for the answer. */
    private void first(Asking asking, Course course) {
        Client client = client(asking.response(), asking.query, asking.face, asking.async, false);
        try {
            exchanges.open(asking.query, new KeyedClient(client, course), asking.inbox);
        } catch (Problem problem) {
            course.outcome().complete(new Outcome.Failed(problem, Optional.empty()));
            asking.refuse(problem, "");
        }
    }

    /**
     * Waits for the end of the first query. What waits is as large as a query and counts as one; when its client goes away it is let go, since
     * the course may be long, and who has no patience comes again and again.
     */
    private void repeat(Asking asking, String id, Course course) {
        if (course.outcome().isDone()) {
            client(asking.response(), asFirst(asking, id), asking.face, asking.async, true)
                    .ended(repeated(asking, id, course.outcome().join()));
            return;
        }
        if (asking.response().closed()) {
            // it went while its key was looked up, and nothing would tell of that again
            return;
        }
        Room.Share memory;
        try {
            memory = exchanges.take(asking.query);
        } catch (Problem problem) {
            asking.refuse(problem, id);
            return;
        }
        AtomicReference<@Nullable Client> waiting =
                new AtomicReference<>(client(asking.response(), asFirst(asking, id), asking.face, asking.async, true));
        asking.response().closeHandler(gone -> leave(waiting, memory));
        LoopInbox inbox = asking.inbox;
        boolean async = asking.async;
        course.accepted()
                .thenRun(() -> inbox.execute(() -> {
                    Client client = async ? leave(waiting, memory) : waiting.get();
                    if (client != null) {
                        client.accepted();
                    }
                }));
        course.outcome()
                .thenAccept(ended -> inbox.execute(() -> {
                    Client client = leave(waiting, memory);
                    if (client != null) {
                        client.ended(repeated(asking, id, ended));
                    }
                }));
        course.elsewhere()
                .thenAccept(before -> inbox.execute(() -> {
                    if (leave(waiting, memory) == null) {
                        return;
                    }
                    if (before.isOf(Holder.of(asking.query))) {
                        elsewhere(asking, before);
                    } else {
                        asking.refuse(Idempotency.reused(), "");
                    }
                }));
    }

    /** Of a stream what is kept is what its record has: one choice, without their probabilities. */
    private static Outcome repeated(Asking asking, String id, Outcome outcome) {
        return outcome instanceof Outcome.Answered(Reply reply)
                        && asking.query.getStream()
                        && !asking.face.isRecorded(asking.query)
                ? new Outcome.Failed(Idempotency.notKept(id), Optional.of(reply))
                : outcome;
    }

    private @Nullable Client leave(AtomicReference<@Nullable Client> waiting, Room.Share memory) {
        Client client = waiting.getAndSet(null);
        if (client != null) {
            exchanges.giveBack(memory);
        }
        return client;
    }

    /** The first query, as far as it shows: the repeat has the same fields. */
    private static Query asFirst(Asking asking, String id) {
        Query query = asking.query;
        return Query.newBuilder(query)
                .setInteractionId(id)
                .setEnvelope(Envelope.newBuilder(query.getEnvelope())
                        .setOccurredAt(Ids.millisOf(id))
                        .build())
                .build();
    }

    private void elsewhere(Asking asking, Holder before) {
        String id = before.id();
        blocking.run(() -> store.find(id))
                .compose(found ->
                        found instanceof Found.Unknown ? late(asking.query, id) : Future.succeededFuture(found))
                .onSuccess(found -> {
                    Query first = asFirst(asking, id);
                    Client client = client(asking.response(), first, asking.face, asking.async, true);
                    switch (found) {
                        case Found.Ended ended -> client.ended(again(asking, first, ended));
                        case Found.Open open when asking.async -> client.accepted();
                        case Found.Open open -> asking.refuse(Idempotency.running(id), id);
                        // it never reached the log, and never will
                        case Found.Unknown unknown ->
                            settle(
                                    asking,
                                    idempotency.replace(asking.query, before),
                                    // the same one is what a store that does not answer gives
                                    other -> asking.refuse(
                                            other.equals(before)
                                                    ? Problem.unavailable(
                                                            "keys_unavailable",
                                                            "idempotency keys cannot be looked up now; try again")
                                                    : Idempotency.running(other.id()),
                                            other.equals(before) ? "" : other.id()));
                    }
                })
                .onFailure(error -> asking.refuse(error instanceof Problem said ? said : Idempotency.running(id), id));
    }

    /** What is known of an id when its interaction must have ended; fails while nothing can be said. */
    private Future<Found> late(Query query, String id) {
        // the same request, so the first one had as much time
        long lasts = query.getDeadlineAt() - query.getEnvelope().getOccurredAt();
        Instant ended =
                Instant.ofEpochMilli(Ids.millisOf(id)).plusMillis(2 * lasts).plus(Exchanges.GRACE);
        return ended.isBefore(Instant.now()) ? late.find(id, ended) : Future.failedFuture(Idempotency.running(id));
    }

    /** How the first query ended, or that its answer cannot be told again. */
    private static Outcome again(Asking asking, Query first, Found.Ended ended) {
        Outcome outcome = ended.outcome();
        return outcome instanceof Outcome.Answered(Reply reply)
                        && !(ended.isStored() && asking.face.isRecorded(first) && isWhole(reply))
                ? new Outcome.Failed(Idempotency.notKept(first.getInteractionId()), Optional.of(reply))
                : outcome;
    }

    /** Whether nothing was taken from its texts on their way into the record. */
    private static boolean isWhole(Reply reply) {
        Answer answer = Face.answerOf(reply);
        return !answer.getText().contains(Redactor.MARK) && !answer.getMessage().contains(Redactor.MARK);
    }

    /** @param replay only the end will come, of an answer that another client got */
    private Client client(HttpServerResponse response, Query query, Face face, boolean async, boolean replay) {
        if (async) {
            return new AsyncClient(response, face, query);
        }
        return query.getStream()
                ? new StreamClient(response, query, mostHeld, replay)
                : new WholeClient(response, face, query, traffic, System.nanoTime());
    }

    private void giveUp(Exchange exchange, String why) {
        if (exchange.isDone()) {
            return;
        }
        exchanges.cancel(exchange);
        exchange.end(new Outcome.Failed(Problem.of(499, FailureReason.CANCELLED, why), Optional.empty()));
    }

    /** Passes everything on, and keeps the end for repeats of the key. */
    private record KeyedClient(Client client, Course course) implements Client {
        @Override
        public boolean wantsAcceptance() {
            return true;
        }

        @Override
        public void accepted() {
            course.accepted().complete(null);
            client.accepted();
        }

        @Override
        public void delta(Reply reply) {
            client.delta(reply);
        }

        @Override
        public boolean streams() {
            return client.streams();
        }

        @Override
        public void ended(Outcome ended) {
            course.outcome().complete(ended);
            client.ended(ended);
        }
    }
}
