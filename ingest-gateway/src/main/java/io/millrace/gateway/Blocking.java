package io.millrace.gateway;

import io.vertx.core.Future;
import io.vertx.core.Promise;
import io.vertx.core.Vertx;
import io.vertx.core.WorkerExecutor;
import java.util.concurrent.Callable;
import java.util.concurrent.atomic.AtomicInteger;

/** Runs what blocks, off the event loops: a few threads, and a bounded number of calls that wait for one. */
final class Blocking implements AutoCloseable {
    private static final int MOST_WAITING = 512;

    private final WorkerExecutor workers;
    private final AtomicInteger waiting = new AtomicInteger();

    /** @param threads calls at once */
    Blocking(Vertx vertx, String name, int threads) {
        this.workers = vertx.createSharedWorkerExecutor(name, threads);
    }

    /** The result, on the caller's context; a 503 when too many wait. */
    <T> Future<T> run(Callable<T> call) {
        if (waiting.incrementAndGet() > MOST_WAITING) {
            waiting.decrementAndGet();
            return Future.failedFuture(Problem.unavailable("overloaded", "too many requests are waiting"));
        }
        Promise<T> result = Promise.promise();
        workers.<T>executeBlocking(call, false).onComplete(done -> {
            waiting.decrementAndGet();
            if (done.succeeded()) {
                result.complete(done.result());
            } else {
                result.fail(done.cause());
            }
        });
        return result.future();
    }

    @Override
    public void close() {
        workers.close();
    }
}
