package io.millrace.routers.dispatch;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Supplier;

/** What tells the log that an attempt is taken: {@code started}, or its end when that is there sooner. */
final class Lease {
    private final Supplier<CompletableFuture<?>> start;
    private final AtomicBoolean written = new AtomicBoolean();
    private final CompletableFuture<Object> acknowledged = new CompletableFuture<>();

    /** @param start writes {@code started}; the future completes when the log has it */
    Lease(Supplier<CompletableFuture<?>> start) {
        this.start = start;
    }

    /**
     * Writes {@code started}, unless something was written before.
     *
     * @return completes when the log has what was written first, and fails when it could not be written
     */
    CompletableFuture<?> take() {
        if (written.compareAndSet(false, true)) {
            first(start);
        }
        return acknowledged;
    }

    /**
     * Writes the end: at once when it is the first, else when the log has {@code started}.
     *
     * @return completes when the log has the end
     * @throws ExecutionException when {@code started} could not be written; the end is not, then
     */
    CompletableFuture<?> end(Supplier<CompletableFuture<?>> end) throws InterruptedException, ExecutionException {
        if (written.compareAndSet(false, true)) {
            return first(end);
        }
        acknowledged.get();
        return end.get();
    }

    /** Whether something was written, or is about to be. */
    boolean isTaken() {
        return written.get();
    }

    /** Gives the end some time to come first, and writes {@code started} when it does not. */
    void hold(long untilNanos) throws InterruptedException {
        try {
            acknowledged.get(Math.max(0, untilNanos - System.nanoTime()), TimeUnit.NANOSECONDS);
        } catch (TimeoutException e) {
            take();
        } catch (ExecutionException e) {
            // told by take, too
        }
    }

    private CompletableFuture<?> first(Supplier<CompletableFuture<?>> record) {
        try {
            CompletableFuture<?> sent = record.get();
            sent.whenComplete((done, error) -> {
                if (error == null) {
                    acknowledged.complete(true);
                } else {
                    acknowledged.completeExceptionally(error);
                }
            });
            return sent;
        } catch (RuntimeException e) {
            acknowledged.completeExceptionally(e);
            throw e;
        }
    }
}
