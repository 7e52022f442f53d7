package io.millrace.gateway;

import com.github.benmanes.caffeine.cache.Cache;
import com.github.benmanes.caffeine.cache.Caffeine;
import io.millrace.schema.Envelope;
import io.millrace.schema.Query;
import io.vertx.core.json.DecodeException;
import io.vertx.core.json.JsonObject;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;

/**
 * Maps a client's key to the first interaction that carried it. This process remembers the outcome for ten minutes; beyond that, and
 * for other processes, the {@link KeyStore} has the id, and the projection the answer.
 */
final class Idempotency {
    private static final Duration REMEMBERED = Duration.ofMinutes(10);
    private static final long MOST = 4_096;

    /** What a key stands for. */
    sealed interface Claim {
        /** Nothing yet: go on, and tell the outcome. */
        record First(CompletableFuture<Outcome> outcome) implements Claim {}

        /** A query of this process. */
        record Repeat(Query first, CompletableFuture<Outcome> outcome) implements Claim {}

        /** A query of another process, or of long ago. */
        record Elsewhere(String id) implements Claim {}
    }

    private record Entry(Query query, CompletableFuture<Outcome> outcome) {}

    private final Cache<String, Entry> entries =
            Caffeine.newBuilder().maximumSize(MOST).expireAfterWrite(REMEMBERED).build();
    private final KeyStore store;

    Idempotency(KeyStore store) {
        this.store = store;
    }

    /** Claims the query's key for it; throws a 422 when the key stood for another request. */
    CompletionStage<Claim> claim(Query query) {
        String key = IdempotencyKeys.of(query);
        Entry mine = new Entry(query, new CompletableFuture<>());
        Entry first = entries.asMap().putIfAbsent(key, mine);
        if (first != null) {
            if (!isSame(first.query, query)) {
                throw Problem.field(
                        422,
                        "idempotency_key_reused",
                        Headers.IDEMPOTENCY_KEY,
                        Headers.IDEMPOTENCY_KEY + " was used for another request");
            }
            return CompletableFuture.completedStage(new Claim.Repeat(first.query, first.outcome));
        }
        return store.claim(key, query.getInteractionId()).thenApply(other -> {
            if (other.isEmpty() || other.get().equals(query.getInteractionId())) {
                mine.outcome.thenAccept(outcome -> {
                    if (outcome instanceof Outcome.Failed failed
                            && failed.reply().isEmpty()) {
                        // the log never had it, or nobody knows how it ended: the next one may try
                        entries.asMap().remove(key, mine);
                        store.release(key);
                    }
                });
                return new Claim.First(mine.outcome);
            }
            entries.asMap().remove(key, mine);
            // whoever came in between waits for this query, which is not going to be
            mine.outcome.complete(new Outcome.Failed(running(other.get()), Optional.empty()));
            return new Claim.Elsewhere(other.get());
        });
    }

    /** All of a query counts: what an answer depends on is in it, and a list of fields would miss the next one. */
    private static boolean isSame(Query first, Query second) {
        return asked(first).equals(asked(second)) && isSameJson(first.getBody(), second.getBody());
    }

    /** A query without its body and without what no two requests have in common. */
    private static Query asked(Query query) {
        Envelope envelope = query.getEnvelope();
        return Query.newBuilder(query)
                .setEnvelope(Envelope.newBuilder()
                        .setSynthetic(envelope.getSynthetic())
                        .build())
                .setInteractionId("")
                .setDeadlineAt(query.getDeadlineAt() - envelope.getOccurredAt())
                .setBody("")
                .build();
    }

    /** The order of fields does not count: a client that builds its request again may have another. */
    private static boolean isSameJson(String first, String second) {
        if (first.equals(second)) {
            return true;
        }
        try {
            return new JsonObject(first).equals(new JsonObject(second));
        } catch (DecodeException e) {
            // a number of a thousand digits in a field that nobody read so far
            return false;
        }
    }

    /** 409 for a key whose query has not ended, as far as this process can see. */
    static Problem running(String id) {
        return Problem.field(
                409,
                "in_progress",
                Headers.IDEMPOTENCY_KEY,
                "the first request with this key is interaction " + id + ", which has not ended yet");
    }
}
