package io.millrace.gateway;

import com.github.benmanes.caffeine.cache.Cache;
import com.github.benmanes.caffeine.cache.Caffeine;
import com.github.benmanes.caffeine.cache.Expiry;
import io.millrace.gateway.IdempotencyKeys.Holder;
import io.millrace.schema.Answer;
import io.millrace.schema.Hit;
import io.millrace.schema.Query;
import io.millrace.schema.Reply;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.function.BiFunction;

/**
 * Maps a client's key to the first interaction that carried it. This process remembers the outcome for ten minutes, large ones as far as memory goes; beyond that, and
 * for other processes, the {@link KeyStore} has the id, and the projection the answer.
 */
final class Idempotency {
    private static final Duration REMEMBERED = Duration.ofMinutes(10);

    /** No query lasts longer. */
    private static final Duration LONGEST = Duration.ofHours(2);

    /** Each counts as so many characters at least: without an answer, too, it is an object or ten. */
    private static final int LEAST_CHARS = 4_096;

    /** Heap for each character of the answers that are remembered. */
    private static final int HEAP_PER_CHAR = 32;

    /**
     * What repeats of a key wait for.
     *
     * @param accepted when the log has the first query; never when it does not take it
     * @param elsewhere when the key is found to stand for a query of another process; the two others never are, then
     */
    record Course(
            CompletableFuture<Void> accepted, CompletableFuture<Outcome> outcome, CompletableFuture<Holder> elsewhere) {
        Course() {
            this(new CompletableFuture<>(), new CompletableFuture<>(), new CompletableFuture<>());
        }
    }

    /** What a key stands for. */
    sealed interface Claim {
        /** Nothing yet: go on, and tell how it goes. */
        record First(Course course) implements Claim {}

        /** A query of this process, and its id. */
        record Repeat(String id, Course course) implements Claim {}

        /** A query of another process, or of long ago. */
        record Elsewhere(Holder before) implements Claim {}
    }

    /** Not the query: a repeat has the same, and this outlives what was counted of the first one's memory. */
    private record Entry(Holder holder, Course course) {
        /** Nothing before it has ended: what waits is bounded as queries are, and is never dropped for what is over. */
        int weight() {
            return switch (course.outcome.getNow(null)) {
                case null -> 0;
                case Outcome.Answered(Reply reply) -> LEAST_CHARS + chars(reply);
                case Outcome.Failed failed ->
                    LEAST_CHARS + failed.reply().map(Idempotency::chars).orElse(0);
            };
        }

        Duration remembered() {
            return course.outcome.isDone() ? REMEMBERED : LONGEST;
        }
    }

    private final Cache<String, Entry> entries;
    private final KeyStore store;

    Idempotency(KeyStore store) {
        this(store, Runtime.getRuntime().maxMemory() / HEAP_PER_CHAR);
    }

    /** @param mostChars of the answers that are remembered; repeats of what is forgotten are answered from the projection */
    Idempotency(KeyStore store, long mostChars) {
        this.store = store;
        this.entries = Caffeine.newBuilder()
                .maximumWeight(mostChars)
                // at once, by whoever adds: the bound holds also while the common pool is busy
                .executor(Runnable::run)
                .weigher((String key, Entry entry) -> entry.weight())
                .expireAfter(Expiry.writing((String key, Entry entry) -> entry.remembered()))
                .build();
    }

    private static int chars(Reply reply) {
        Answer answer = Face.answerOf(reply);
        long chars = (long) answer.getText().length()
                + answer.getMessage().length()
                + answer.getBody().length()
                + reply.getData().length();
        for (Hit hit : reply.getHits()) {
            chars += hit.getText().length();
        }
        return (int) Math.min(Integer.MAX_VALUE / 2, chars);
    }

    /** Claims the query's key for it; fails with a 422 when the key stood for another request. */
    CompletionStage<Claim> claim(Query query) {
        return claim(query, store::claim);
    }

    /** Claims the key again, knowing that there never was the interaction that it stands for. */
    CompletionStage<Claim> replace(Query query, Holder gone) {
        return claim(query, (key, holder) -> store.replace(key, gone, holder));
    }

    private CompletionStage<Claim> claim(
            Query query, BiFunction<String, Holder, CompletionStage<Optional<Holder>>> atStore) {
        String key = IdempotencyKeys.of(query);
        Holder holder = Holder.of(query);
        Entry mine = new Entry(holder, new Course());
        Entry first = entries.asMap().putIfAbsent(key, mine);
        if (first != null) {
            if (!first.holder.isOf(holder)) {
                return CompletableFuture.failedStage(reused());
            }
            return CompletableFuture.completedStage(new Claim.Repeat(first.holder.id(), first.course));
        }
        return atStore.apply(key, holder).thenApply(other -> {
            if (other.isEmpty() || other.get().id().equals(holder.id())) {
                mine.course.outcome.thenAccept(outcome -> {
                    if (outcome instanceof Outcome.Failed failed
                            && failed.reply().isEmpty()
                            && !failed.open()) {
                        // the log never had it, or nobody knows how it ended: the next one may try
                        entries.asMap().remove(key, mine);
                        store.release(key, holder);
                    } else {
                        // weighs something now, and its time begins
                        entries.asMap().replace(key, mine, mine);
                    }
                });
                return new Claim.First(mine.course);
            }
            entries.asMap().remove(key, mine);
            Holder before = other.get();
            // whoever came in between waits for this query, which is not going to be
            mine.course.elsewhere.complete(before);
            if (!before.isOf(holder)) {
                throw reused();
            }
            return new Claim.Elsewhere(before);
        });
    }

    /** 422 for a key that stood for another request. */
    static Problem reused() {
        return Problem.field(
                422,
                "idempotency_key_reused",
                Headers.IDEMPOTENCY_KEY,
                Headers.IDEMPOTENCY_KEY + " was used for another request");
    }

    /** 409 for a key whose query has not ended, as far as this process can see. */
    static Problem running(String id) {
        return Problem.field(
                409,
                "in_progress",
                Headers.IDEMPOTENCY_KEY,
                "the first request with this key is interaction " + id + ", which has not ended yet");
    }

    /** 410 for a key whose answer is not to be had a second time. */
    static Problem notKept(String id) {
        return Problem.field(
                410,
                "answer_not_kept",
                Headers.IDEMPOTENCY_KEY,
                "the first request with this key was answered as interaction " + id
                        + ", whose record does not hold the whole answer: GET /interactions/" + id
                        + " has what was kept; to ask again, use another key");
    }
}
