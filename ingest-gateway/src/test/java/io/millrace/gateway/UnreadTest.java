package io.millrace.gateway;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.vertx.core.Vertx;
import io.vertx.core.http.HttpServer;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import org.junit.jupiter.api.Test;

/** What becomes of a client that is told no while it still sends. */
class UnreadTest {
    private static final Duration NEVER = Duration.ofMinutes(5);
    private static final String HEAD = "POST " + GatewayHarness.CHAT
            + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ";

    /** It was cut half a second after the answer: what it sent then met a reset, which takes an answer along that was not read yet. */
    @Test
    void shouldTellAClientThatSendsSlowly() throws Exception {
        try (GatewayHarness harness = new GatewayHarness();
                Socket socket = socket(harness.gateway.port())) {
            OutputStream out = socket.getOutputStream();
            out.write((HEAD + "300000\r\n\r\n").getBytes(StandardCharsets.ISO_8859_1));
            for (int part = 0; part < 6; part++) {
                Thread.sleep(300);
                out.write(new byte[50_000]);
            }

            // to its end: a reset would be an exception
            assertThat(answer(socket))
                    .startsWith("HTTP/1.1 413 ")
                    .contains("connection: close", "the body is larger than 200000 bytes");
        }
    }

    @Test
    void shouldCutAClientThatSendsNoMore() throws Exception {
        try (Refusing server = new Refusing(Duration.ofMillis(200), NEVER);
                Socket socket = socket(server.port())) {
            socket.getOutputStream().write((HEAD + "300000\r\n\r\n{").getBytes(StandardCharsets.ISO_8859_1));

            assertThat(answer(socket)).startsWith("HTTP/1.1 413 ");
        }
    }

    @Test
    void shouldCutAClientThatSendsForEver() throws Exception {
        try (Refusing server = new Refusing(NEVER, Duration.ofMillis(500));
                Socket socket = socket(server.port())) {
            OutputStream out = socket.getOutputStream();
            out.write((HEAD + "300000000\r\n\r\n").getBytes(StandardCharsets.ISO_8859_1));

            assertThat(catchThrowable(() -> {
                        for (int part = 0; part < 600; part++) {
                            out.write('x');
                            Thread.sleep(50);
                        }
                    }))
                    .isInstanceOf(IOException.class);
        }
    }

    private static Socket socket(int port) throws IOException {
        Socket socket = new Socket(InetAddress.getLoopbackAddress(), port);
        socket.setSoTimeout(20_000);
        return socket;
    }

    private static String answer(Socket socket) throws IOException {
        return new String(socket.getInputStream().readAllBytes(), StandardCharsets.ISO_8859_1);
    }

    /** Refuses everything, with patience of its own. */
    private static final class Refusing implements AutoCloseable {
        private final Vertx vertx = Vertx.vertx();
        private final HttpServer server;

        Refusing(Duration quiet, Duration longest) {
            server = vertx.createHttpServer()
                    .requestHandler(request ->
                            Unread.cut(vertx, request, Errors.OPENAI, Problem.bodyTooLarge(200_000), quiet, longest))
                    .listen(0, "127.0.0.1")
                    .await();
        }

        int port() {
            return server.actualPort();
        }

        @Override
        public void close() {
            vertx.close().await();
        }
    }
}
