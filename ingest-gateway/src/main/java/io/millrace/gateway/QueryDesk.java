package io.millrace.gateway;

import io.millrace.gateway.Idempotency.Claim;
import io.millrace.log.Vocabulary.FailureReason;
import io.millrace.schema.Query;
import io.millrace.schema.Reply;
import io.vertx.core.http.HttpServerRequest;
import io.vertx.core.http.HttpServerResponse;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Takes a valid query from a client to the log, and sees to what happens when either goes away. */
final class QueryDesk {
    private static final Logger LOG = LoggerFactory.getLogger(QueryDesk.class);

    private final Exchanges exchanges;
    private final Idempotency idempotency;
    private final InteractionStore store;
    private final Blocking blocking;
    private final Traffic traffic;
    private final int mostHeld;

    /** @param mostHeld events held for a slow reader */
    QueryDesk(
            Exchanges exchanges,
            Idempotency idempotency,
            InteractionStore store,
            Blocking blocking,
            Traffic traffic,
            int mostHeld) {
        this.exchanges = exchanges;
        this.idempotency = idempotency;
        this.store = store;
        this.blocking = blocking;
        this.traffic = traffic;
        this.mostHeld = mostHeld;
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
        idempotency
                .claim(query)
                .whenComplete((claim, error) -> inbox.execute(() -> {
                    if (error instanceof CompletionException failed && failed.getCause() instanceof Problem problem) {
                        face.errors().write(request.response(), problem, "");
                        return;
                    }
                    if (error != null) {
                        LOG.error("an idempotency key could not be claimed", error);
                        face.errors().write(request.response(), Problem.unavailable("unavailable", "try again"), "");
                        return;
                    }
                    switch (claim) {
                        case Claim.First(CompletableFuture<Outcome> outcome) ->
                            first(request, query, face, async, inbox, outcome);
                        case Claim.Repeat(Query first, CompletableFuture<Outcome> outcome) ->
                            repeat(request.response(), first, face, async, inbox, outcome);
                        case Claim.Elsewhere(String id) -> elsewhere(request.response(), query, face, id);
                    }
                }));
    }

    private void start(HttpServerRequest request, Query query, Face face, boolean async, LoopInbox inbox) {
        HttpServerResponse response = request.response();
        Client client = client(response, query, face, async);
        Exchange exchange = exchanges.open(query, client, inbox);
        if (client instanceof StreamClient streams) {
            streams.whenTooSlow(() -> giveUp(exchange, "the reader was too slow"));
        }
        if (!async) {
            response.closeHandler(nothing -> giveUp(exchange, "the client went away"));
        }
    }

    /** A query with a key is not cancelled when its client leaves: it may come back for the answer. */
    private void first(
            HttpServerRequest request,
            Query query,
            Face face,
            boolean async,
            LoopInbox inbox,
            CompletableFuture<Outcome> outcome) {
        Client client = client(request.response(), query, face, async);
        try {
            exchanges.open(query, new KeyedClient(client, outcome), inbox);
        } catch (Problem problem) {
            outcome.complete(new Outcome.Failed(problem, Optional.empty()));
            face.errors().write(request.response(), problem, "");
        }
    }

    private void repeat(
            HttpServerResponse response,
            Query first,
            Face face,
            boolean async,
            LoopInbox inbox,
            CompletableFuture<Outcome> outcome) {
        if (async) {
            new AsyncClient(response, face, first).accepted();
            return;
        }
        Client client = first.getStream()
                ? new StreamClient(response, first, mostHeld, true)
                : new WholeClient(response, face, first, traffic, System.nanoTime());
        outcome.thenAccept(ended -> inbox.execute(() -> client.ended(ended)));
    }

    private void elsewhere(HttpServerResponse response, Query query, Face face, String id) {
        blocking.run(() -> store.find(id))
                .onSuccess(found -> {
                    if (found instanceof InteractionStore.Found.Ended ended) {
                        Query first =
                                Query.newBuilder(query).setInteractionId(id).build();
                        Client client = first.getStream()
                                ? new StreamClient(response, first, mostHeld, true)
                                : new WholeClient(response, face, first, traffic, System.nanoTime());
                        client.ended(ended.outcome());
                    } else {
                        face.errors().write(response, Idempotency.running(id), id);
                    }
                })
                .onFailure(error -> face.errors().write(response, Idempotency.running(id), id));
    }

    private Client client(HttpServerResponse response, Query query, Face face, boolean async) {
        if (async) {
            return new AsyncClient(response, face, query);
        }
        return query.getStream()
                ? new StreamClient(response, query, mostHeld, false)
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
    private record KeyedClient(Client client, CompletableFuture<Outcome> outcome) implements Client {
        @Override
        public void accepted() {
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
            outcome.complete(ended);
            client.ended(ended);
        }
    }
}
