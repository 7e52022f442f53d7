package io.millrace.gateway;

import java.io.IOException;
import java.net.ServerSocket;
import redis.embedded.RedisServer;

/** A real Redis on a free port. */
final class TestRedis implements AutoCloseable {
    private final RedisServer server;
    private final String url;

    TestRedis() throws IOException {
        int port;
        try (ServerSocket free = new ServerSocket(0)) {
            port = free.getLocalPort();
        }
        server = RedisServer.newRedisServer()
                .port(port)
                .bind("127.0.0.1")
                // what it would leave in the temporary folder
                .setting("save \"\"")
                .build();
        server.start();
        url = "redis://127.0.0.1:" + port;
    }

    String url() {
        return url;
    }

    @Override
    public void close() throws IOException {
        server.stop();
    }
}
