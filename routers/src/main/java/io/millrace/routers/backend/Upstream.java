package io.millrace.routers.backend;

import io.vertx.core.Vertx;
import io.vertx.core.VertxOptions;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.file.FileSystemOptions;
import io.vertx.core.http.HttpClientAgent;
import io.vertx.core.http.HttpClientOptions;
import io.vertx.core.http.HttpClientRequest;
import io.vertx.core.http.HttpClientResponse;
import io.vertx.core.http.HttpMethod;
import io.vertx.core.http.PoolOptions;
import io.vertx.core.http.RequestOptions;
import io.vertx.core.net.SocketAddress;
import java.io.IOException;
import java.io.InputStream;
import java.io.InterruptedIOException;
import java.net.ConnectException;
import java.net.InetAddress;
import java.net.URI;
import java.net.http.HttpTimeoutException;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * Requests on one event loop, for callers that block on virtual threads. The JDK's client would do the same in fewer lines; with it
 * a worker did half as many attempts a second (7,000 against 14,000 with 512 in flight on 2 cores, stub included).
 */
final class Upstream implements AutoCloseable {
    private static final int CONNECT_TIMEOUT_MS = 2_000;

    /** llama-server closes after 5 s of silence; a connection reused at that moment would break. */
    private static final int KEEP_ALIVE_S = 4;

    /** Slots of deployments bound what is open; the pool must not do so again. */
    private static final int CONNECTIONS = 10_000;

    /** Buffers read ahead of the caller, each at most 64 KiB: a slow reader holds 1 MiB and then the sender. */
    private static final int AHEAD = 16;

    /** How long a stream may take to end after its last event, for its connection to be used again. */
    private static final long DRAIN_MS = 1_000;

    private final Vertx vertx = Vertx.vertx(new VertxOptions()
            .setEventLoopPoolSize(1)
            .setWorkerPoolSize(1)
            .setInternalBlockingPoolSize(1)
            // or it makes a folder for files that we do not have
            .setFileSystemOptions(
                    new FileSystemOptions().setFileCachingEnabled(false).setClassPathResolvingEnabled(false)));
    private final HttpClientAgent client = vertx.createHttpClient(
            new HttpClientOptions().setConnectTimeout(CONNECT_TIMEOUT_MS).setKeepAliveTimeout(KEEP_ALIVE_S),
            new PoolOptions().setHttp1MaxSize(CONNECTIONS));

    /**
     * The head of a response and its body.
     *
     * @param retryAfter the header, or empty
     * @param body to be closed; what was not read is then broken off
     */
    record Response(int status, String retryAfter, Body body) {}

    /**
     * Sends a JSON body. Redirects are not followed: they would carry the key to another host.
     *
     * @param timeout until the head of the response is there
     * @throws ConnectException when there is no connection
     * @throws HttpTimeoutException when there is no head in time
     * @throws InterruptedException when the caller was interrupted; the request is then broken off
     */
    Response post(URI uri, Map<String, String> headers, String json, Duration timeout)
            throws IOException, InterruptedException {
        boolean tls = "https".equals(uri.getScheme());
        int port = uri.getPort() >= 0 ? uri.getPort() : tls ? 443 : 80;
        RequestOptions options = new RequestOptions()
                .setMethod(HttpMethod.POST)
                // resolved by the JDK, as everything else here: the event loop's resolver does not know nsswitch
                .setServer(SocketAddress.inetSocketAddress(port, resolve(uri.getHost())))
                .setHost(uri.getHost())
                .setPort(port)
                .setSsl(tls)
                .setURI(uri.getRawPath())
                .setFollowRedirects(false);
        headers.forEach(options::putHeader);
        CompletableFuture<Response> answered = new CompletableFuture<>();
        client.request(options)
                .onSuccess(request -> send(request, json, answered))
                .onFailure(error -> {
                    ConnectException refused = new ConnectException(String.valueOf(error.getMessage()));
                    refused.initCause(error);
                    answered.completeExceptionally(refused);
                });
        try {
            return answered.get(timeout.toMillis(), TimeUnit.MILLISECONDS);
        } catch (ExecutionException e) {
            throw e.getCause() instanceof IOException cause ? cause : new IOException(e.getCause());
        } catch (TimeoutException e) {
            throw new HttpTimeoutException("no answer within " + timeout.toMillis() + " ms");
        } finally {
            // nothing to do when it was answered; else the request is broken off
            answered.cancel(false);
        }
    }

    private static String resolve(String host) throws ConnectException {
        try {
            return InetAddress.getByName(host).getHostAddress();
        } catch (IOException e) {
            ConnectException unknown = new ConnectException("unknown host " + host);
            unknown.initCause(e);
            throw unknown;
        }
    }

    private void send(HttpClientRequest request, String json, CompletableFuture<Response> answered) {
        answered.whenComplete((response, error) -> {
            if (error != null) {
                request.reset();
            }
        });
        if (answered.isDone()) {
            return;
        }
        request.send(json)
                .onSuccess(response -> {
                    Body body = new Body(response);
                    String retryAfter = response.getHeader("Retry-After");
                    if (!answered.complete(
                            new Response(response.statusCode(), retryAfter == null ? "" : retryAfter, body))) {
                        body.close();
                    }
                })
                .onFailure(answered::completeExceptionally);
    }

    private sealed interface Event {
        record Piece(Buffer buffer) implements Event {}

        record End() implements Event {}

        record Broken(Throwable error) implements Event {}
    }

    /** A response's body as a blocking stream for one reader. */
    final class Body extends InputStream {
        private final HttpClientResponse response;
        private final BlockingQueue<Event> events = new LinkedBlockingQueue<>();
        private byte[] piece = {};
        private int at;
        private boolean ended;
        private boolean closed;
        private long endNanos;
        private boolean ending;
        private volatile boolean arrived;

        private Body(HttpClientResponse response) {
            this.response = response;
            response.pause();
            response.handler(buffer -> events.add(new Event.Piece(buffer)));
            response.endHandler(end -> {
                arrived = true;
                events.add(new Event.End());
            });
            response.exceptionHandler(error -> events.add(new Event.Broken(error)));
            response.fetch(AHEAD);
        }

        @Override
        public int read() throws IOException {
            byte[] one = new byte[1];
            return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
        }

        @Override
        public int read(byte[] into, int offset, int length) throws IOException {
            while (at == piece.length) {
                if (ended) {
                    return -1;
                }
                next();
            }
            int count = Math.min(length, piece.length - at);
            System.arraycopy(piece, at, into, offset, count);
            at += count;
            return count;
        }

        /** From now on what is left may take this long: then the body ends, and the request is broken off. */
        void endWithin(Duration time) {
            endNanos = System.nanoTime() + time.toNanos();
            ending = true;
        }

        private void next() throws IOException {
            try {
                Event event = ending ? events.poll(endNanos - System.nanoTime(), TimeUnit.NANOSECONDS) : events.take();
                switch (event) {
                    case null -> {
                        close();
                        ended = true;
                    }
                    case Event.Piece(Buffer buffer) -> {
                        piece = buffer.getBytes();
                        at = 0;
                        response.fetch(1);
                    }
                    case Event.End() -> ended = true;
                    case Event.Broken(Throwable error) -> {
                        ended = true;
                        throw new IOException(String.valueOf(error.getMessage()), error);
                    }
                }
            } catch (InterruptedException e) {
                InterruptedIOException interrupted = new InterruptedIOException("aborted");
                interrupted.initCause(e);
                throw interrupted;
            }
        }

        /** Nothing more is wanted, and nothing more is expected: what is left may pass by, and the connection be kept. */
        void drain() {
            if (!closed && !ended) {
                closed = true;
                response.fetch(Long.MAX_VALUE);
                vertx.setTimer(DRAIN_MS, timer -> {
                    if (!arrived) {
                        response.request().reset();
                    }
                });
            }
        }

        @Override
        public void close() {
            if (!closed && !ended) {
                closed = true;
                response.request().reset();
            }
        }
    }

    @Override
    public void close() {
        vertx.close();
    }
}
