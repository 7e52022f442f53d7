package io.millrace.bench.load;

import io.vertx.core.Future;
import io.vertx.core.Vertx;
import io.vertx.core.VertxOptions;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.http.HttpClientAgent;
import io.vertx.core.http.HttpClientOptions;
import io.vertx.core.http.HttpMethod;
import io.vertx.core.http.PoolOptions;
import io.vertx.core.http.RequestOptions;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.HdrHistogram.Histogram;

/**
 * Requests from one event loop: <em>closed</em>, where each client waits for its answer before it asks again (how fast can it go), and
 * <em>open</em>, where requests start on a schedule whatever becomes of the earlier ones (what would users see). In an open run a latency
 * counts from the moment at which the schedule wanted the request, so that a stall is not left out of the figures ("coordinated omission").
 */
public final class LoadGenerator implements AutoCloseable {
    private static final int MOST_CONNECTIONS = 4_096;
    private static final Duration GRACE = Duration.ofSeconds(60);

    private final Vertx vertx = Vertx.vertx(new VertxOptions().setEventLoopPoolSize(1));
    private final HttpClientAgent client = vertx.createHttpClient(
            new HttpClientOptions().setConnectTimeout(5_000),
            new PoolOptions().setHttp1MaxSize(MOST_CONNECTIONS).setMaxWaitQueueSize(-1));

    /**
     * So many clients in a loop.
     *
     * @param warmup not counted
     */
    public Result closed(Target target, int clients, Duration warmup, Duration measured) {
        Run run = new Run(target, warmup, measured);
        for (int i = 0; i < clients; i++) {
            vertx.runOnContext(go -> run.loop());
        }
        return run.await();
    }

    /** So many requests a second, evenly spaced, over the warm-up too. */
    public Result open(Target target, double perSecond, Duration warmup, Duration measured) {
        Run run = new Run(target, warmup, measured);
        run.schedule(perSecond);
        return run.await();
    }

    /** One request; fails unless it is answered with 200. */
    private Future<Buffer> post(Target target) {
        RequestOptions options = new RequestOptions()
                .setMethod(HttpMethod.POST)
                .setAbsoluteURI(target.uri().toString());
        options.putHeader("Content-Type", "application/json");
        target.headers().forEach(options::putHeader);
        return client.request(options)
                .compose(request -> request.send(target.body()))
                .compose(response -> response.body()
                        .compose(body -> response.statusCode() == 200
                                ? Future.succeededFuture(body)
                                : Future.failedFuture("HTTP " + response.statusCode() + " " + body)));
    }

    /** State of a run; touched on the event loop only. */
    private final class Run {
        private final Target target;
        private final long from;
        private final long until;
        private final Histogram latencies = new Histogram(3_600_000_000L, 3);
        private final CountDownLatch done = new CountDownLatch(1);
        private long completed;
        private long errors;
        private long open;
        private String firstError = "";

        Run(Target target, Duration warmup, Duration measured) {
            this.target = target;
            this.from = System.nanoTime() + warmup.toNanos();
            this.until = from + measured.toNanos();
        }

        void loop() {
            long now = System.nanoTime();
            if (now < until) {
                send(now, this::loop);
            }
        }

        void schedule(double perSecond) {
            long start = System.nanoTime();
            long[] sent = {0};
            vertx.setPeriodic(1, timer -> {
                long now = System.nanoTime();
                if (now >= until) {
                    vertx.cancelTimer(timer);
                    finish();
                    return;
                }
                long due = (long) ((now - start) / 1e9 * perSecond);
                while (sent[0] < due) {
                    long wanted = start + (long) (sent[0]++ * 1e9 / perSecond);
                    send(wanted, () -> {});
                }
            });
        }

        private void send(long wanted, Runnable next) {
            open++;
            post(target).onComplete(answer -> {
                long now = System.nanoTime();
                open--;
                if (wanted >= from && wanted < until) {
                    if (answer.succeeded()) {
                        completed++;
                        latencies.recordValue(Math.max(1, (now - wanted) / 1_000));
                    } else {
                        errors++;
                        firstError = firstError.isEmpty()
                                ? String.valueOf(answer.cause().getMessage())
                                : firstError;
                    }
                }
                next.run();
                finish();
            });
        }

        private void finish() {
            if (open == 0 && System.nanoTime() >= until) {
                done.countDown();
            }
        }

        Result await() {
            try {
                long most = until - System.nanoTime() + GRACE.toNanos();
                if (!done.await(most, TimeUnit.NANOSECONDS)) {
                    throw new IllegalStateException(target.name() + " still owes answers after " + GRACE);
                }
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new IllegalStateException("interrupted", e);
            }
            if (errors > 0) {
                System.err.println(target.name() + ": " + errors + " errors, the first: " + firstError);
            }
            return new Result(target.name(), completed, errors, (until - from) / 1e9, latencies);
        }
    }

    @Override
    public void close() {
        vertx.close().toCompletionStage().toCompletableFuture().join();
    }
}
