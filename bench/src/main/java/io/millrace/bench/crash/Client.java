package io.millrace.bench.crash;

import io.vertx.core.Future;
import io.vertx.core.Vertx;
import io.vertx.core.VertxOptions;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.http.HttpClientAgent;
import io.vertx.core.http.HttpClientOptions;
import io.vertx.core.http.HttpClientResponse;
import io.vertx.core.http.HttpMethod;
import io.vertx.core.http.PoolOptions;
import io.vertx.core.http.RequestOptions;
import java.net.URI;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/** Clients that keep asking, whole and streamed, of whichever gateway is up, and remember what they were told. */
final class Client implements AutoCloseable {
    private static final List<String> MODELS = List.of("searched", "plain-local", "plain-remote");
    private static final long TIMEOUT_MS = 60_000;

    private final Vertx vertx = Vertx.vertx(new VertxOptions().setEventLoopPoolSize(1));
    private final HttpClientAgent http = vertx.createHttpClient(
            new HttpClientOptions().setConnectTimeout(2_000),
            new PoolOptions().setHttp1MaxSize(2_000).setMaxWaitQueueSize(-1));
    private final List<URI> gateways;
    private final Random random;
    private final AtomicLong sent = new AtomicLong();
    private final AtomicLong open = new AtomicLong();
    private final Map<String, AtomicLong> outcomes = new ConcurrentHashMap<>();
    private final Map<String, Boolean> answered = new ConcurrentHashMap<>();
    private volatile boolean stopped;

    Client(List<URI> gateways, long seed) {
        this.gateways = gateways;
        this.random = new Random(seed);
    }

    /** Asks so many times a second, whatever comes back, until {@link #stop}. */
    void start(int perSecond) {
        long began = System.nanoTime();
        vertx.setPeriodic(1, timer -> {
            if (stopped) {
                vertx.cancelTimer(timer);
                return;
            }
            long due = (long) ((System.nanoTime() - began) / 1e9 * perSecond);
            while (sent.get() < due) {
                ask(sent.incrementAndGet());
            }
        });
    }

    private void ask(long number) {
        open.incrementAndGet();
        boolean stream = random.nextBoolean();
        URI gateway = gateways.get((int) (number % gateways.size()));
        RequestOptions options = new RequestOptions()
                .setMethod(HttpMethod.POST)
                .setAbsoluteURI(gateway.resolve("/v1/chat/completions").toString())
                .setIdleTimeout(TIMEOUT_MS)
                .setTimeout(TIMEOUT_MS)
                .putHeader("Content-Type", "application/json");
        String body = """
                {"model":"%s","stream":%s,"messages":[{"role":"user","content":"Question %d: what is the capital of France?"}]}""".formatted(MODELS.get(random.nextInt(MODELS.size())), stream, number);
        http.request(options)
                .compose(request -> request.send(body))
                .compose(response -> read(response, stream))
                .onComplete(told -> {
                    open.decrementAndGet();
                    count(told.succeeded() ? told.result() : "connection lost");
                });
    }

    private Future<String> read(HttpClientResponse response, boolean stream) {
        @Nullable String id = response.getHeader("x-millrace-interaction-id");
        int status = response.statusCode();
        return response.body().map(body -> {
            boolean whole = status == 200 && (stream ? isWhole(body) : body.length() > 0);
            if (whole) {
                if (id == null) {
                    throw new IllegalStateException("an answer without its interaction id");
                }
                answered.put(id, true);
            }
            return whole ? "answered" : status == 200 ? "error in the stream" : "HTTP " + status;
        });
    }

    private static boolean isWhole(Buffer body) {
        String text = body.toString();
        return text.endsWith("data: [DONE]\n\n") && !text.contains("\"error\"");
    }

    private void count(String outcome) {
        outcomes.computeIfAbsent(outcome, o -> new AtomicLong()).incrementAndGet();
    }

    /** Asks no more, and waits for what is owed. */
    void stop() throws InterruptedException {
        stopped = true;
        long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(TIMEOUT_MS + 5_000);
        while (open.get() > 0 && System.nanoTime() < end) {
            Thread.sleep(50);
        }
    }

    /** Interactions of which a client holds a whole answer. */
    Map<String, Boolean> answered() {
        return answered;
    }

    /** How requests ended, by what the client saw. */
    Map<String, AtomicLong> outcomes() {
        return outcomes;
    }

    @Override
    public void close() {
        vertx.close().toCompletionStage().toCompletableFuture().join();
    }
}
