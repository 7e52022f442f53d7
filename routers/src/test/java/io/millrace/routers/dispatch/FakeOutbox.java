package io.millrace.routers.dispatch;

import io.millrace.log.Vocabulary.CompletionKind;
import io.millrace.log.Vocabulary.ReplyKind;
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

    /** Without {@link #renewals}. */
    final List<Completion> completions = new CopyOnWriteArrayList<>();

    /** Heartbeats that say nothing new: as many as the machine is slow, and at any time. */
    final List<Completion> renewals = new CopyOnWriteArrayList<>();

    final List<Reply> replies = new CopyOnWriteArrayList<>();
    volatile Duration ackDelay = Duration.ZERO;
    volatile boolean broken;

    /** Whether the end is acknowledged when the final has left: 5 s later at most. */
    volatile boolean lateEnds;

    private final CompletableFuture<Boolean> left = new CompletableFuture<>();
    volatile Predicate<Completion> acknowledged = completion -> true;

    @Override
    public CompletableFuture<?> complete(Completion completion) {
        String name = completion.getKind().equals(CompletionKind.HEARTBEAT) && completion.getContentSent()
                ? "content"
                : completion.getKind();
        boolean renewal = completion.getKind().equals(CompletionKind.HEARTBEAT)
                && !(name.equals("content") && !events.contains(name));
        if (renewal) {
            renewals.add(completion);
        } else {
            events.add(name);
            completions.add(completion);
        }
        if (broken) {
            return CompletableFuture.failedFuture(new java.io.IOException("no broker"));
        }
        CompletableFuture<Boolean> ack = new CompletableFuture<>();
        if (acknowledged.test(completion)) {
            Runnable acknowledge = () -> {
                if (!renewal) {
                    events.add("ack " + name);
                }
                ack.complete(true);
            };
            if (lateEnds && !completion.getKind().equals(CompletionKind.HEARTBEAT)) {
                left.completeOnTimeout(true, 5, TimeUnit.SECONDS).thenRun(acknowledge);
            } else {
                CompletableFuture.delayedExecutor(ackDelay.toMillis(), TimeUnit.MILLISECONDS)
                        .execute(acknowledge);
            }
        }
        return ack;
    }

    @Override
    public Ready reply(int partition, Reply reply) {
        return () -> {
            events.add(reply.getKind());
            replies.add(reply);
            if (reply.getKind().equals(ReplyKind.FINAL)) {
                left.complete(true);
            }
            return CompletableFuture.completedFuture(partition);
        };
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
