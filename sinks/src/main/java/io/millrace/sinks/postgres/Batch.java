package io.millrace.sinks.postgres;

import java.sql.SQLException;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import org.apache.kafka.common.errors.InterruptException;
import org.jspecify.annotations.Nullable;

/**
 * A transaction that a thread of its own writes.
 *
 * @param rows that it holds
 * @param oldest when the oldest record in it was made, milliseconds since the epoch
 */
record Batch(int rows, long oldest, FutureTask<@Nullable Void> work) {

    /** Begins to write. */
    static Batch begin(int rows, long oldest, Callable<@Nullable Void> work) {
        FutureTask<@Nullable Void> task = new FutureTask<>(work);
        Thread.ofVirtual().name("sink-postgres-write").start(task);
        return new Batch(rows, oldest, task);
    }

    boolean hasEnded() {
        return work.isDone();
    }

    /** Waits for the end, and throws what the work threw. */
    void await() throws SQLException, StaleOffsetsException {
        try {
            work.get();
        } catch (InterruptedException e) {
            throw new InterruptException(e);
        } catch (ExecutionException e) {
            switch (e.getCause()) {
                case SQLException trouble -> throw trouble;
                case StaleOffsetsException stale -> throw stale;
                case RuntimeException unforeseen -> throw unforeseen;
                case Error error -> throw error;
                case null, default -> throw new IllegalStateException(e);
            }
        }
    }
}
