package io.millrace.routers.dispatch;

import io.millrace.log.Vocabulary.CompletionKind;
import io.millrace.schema.Completion;
import io.millrace.schema.Reply;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;

/** Remembers what left and when it was acknowledged, in one order; acknowledges when it is told to. */
final class FakeOutbox implements Outbox {
    /** Names of events: {@code answered}, {@code ack answered}, {@code delta}, {@code final}… */
    final List<String> events = new CopyOnWriteArrayList<>();

    final List<Completion> completions = new CopyOnWriteArrayList<>();
    final List<Reply> replies = new CopyOnWriteArrayList<>();
    volatile Duration ackDelay = Duration.ZERO;
    volatile boolean broken;
    volatile Predicate<Completion> acknowledged = completion -> true;

    @Override
    public CompletableFuture<?> complete(Completion completion) {
        String name = completion.getKind().equals(CompletionKind.HEARTBEAT) && completion.getContentSent()
                ? "content"
                : completion.getKind();
        events.add(name);
        completions.add(completion);
        if (broken) {
            return CompletableFuture.failedFuture(new java.io.IOException("no broker"));
        }
        CompletableFuture<Boolean> ack = new CompletableFuture<>();
        if (acknowledged.test(completion)) {
            CompletableFuture.delayedExecutor(ackDelay.toMillis(), TimeUnit.MILLISECONDS)
                    .execute(() -> {
                        events.add("ack " + name);
                        ack.complete(true);
                    });
        }
        return ack;
    }

    @Override
    public CompletableFuture<?> reply(int partition, Reply reply) {
        events.add(reply.getKind());
        replies.add(reply);
        return CompletableFuture.completedFuture(partition);
    }

    /** The one end of the attempt. */
    Completion end() {
        List<Completion> ends = completions.stream()
                .filter(completion -> !completion.getKind().equals(CompletionKind.HEARTBEAT))
                .toList();
        if (ends.size() != 1) {
            throw new AssertionError("one end was expected: " + events);
        }
        return ends.get(0);
    }

    List<String> kinds() {
        return replies.stream().map(Reply::getKind).toList();
    }

    List<String> data() {
        return replies.stream().map(Reply::getData).toList();
    }
}
