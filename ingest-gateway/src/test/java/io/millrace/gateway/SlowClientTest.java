package io.millrace.gateway;

import static io.millrace.gateway.GatewayHarness.CHAT;
import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import io.millrace.schema.Query;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Clients that take their time hold nothing for long; those that only wait are left alone. Bytes as they go over the wire. */
class SlowClientTest {
    private static final Duration LIMIT = Duration.ofSeconds(3);
    private static final int READ_MS = 60_000;
    private static final String LIVE = "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    private static final String HI_STREAM = "{\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";

    private static GatewayHarness harness;

    @BeforeAll
    static void start() {
        harness = new GatewayHarness(GatewayHarness.config(Duration.ofSeconds(20), 64, LIMIT));
    }

    @AfterEach
    void everyConnectionIsGivenBack() {
        await().until(() -> gauge("millrace_gateway_connections") == 0);
    }

    @AfterAll
    static void stop() {
        harness.close();
    }

    @Test
    void shouldCountAndCloseAConnectionThatNeverSaysAnything() throws Exception {
        double before = gauge("millrace_gateway_connections_closed_total{reason=\"slow\"}");
        try (Socket silent = connect()) {
            await().atMost(LIMIT).until(() -> gauge("millrace_gateway_connections") == 1);

            assertThat(silent.getInputStream().read()).isEqualTo(-1);
        }
        assertThat(gauge("millrace_gateway_connections_closed_total{reason=\"slow\"}"))
                .isEqualTo(before + 1);
    }

    @Test
    void shouldAnswer408WhenAHeadComesByteByByte() throws Exception {
        try (Socket socket = connect()) {
            drip(socket, "GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-Slow: ");

            assertThat(rest(socket))
                    .startsWith("HTTP/1.1 408 Request Timeout\r\ncontent-type: application/problem+json\r\n")
                    .contains("\"code\":\"request_timeout\"", "head", LIMIT.toMillis() + " ms");
        }
    }

    @Test
    void shouldAnswer408WhenALaterHeadComesByteByByte() throws Exception {
        try (Socket socket = connect()) {
            say(socket, LIVE);
            answer(socket);
            // what it waits between two requests is no time of the second
            Thread.sleep(LIMIT.plusMillis(200));

            drip(socket, "GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-Slow: ");

            assertThat(rest(socket)).startsWith("HTTP/1.1 408 ");
        }
    }

    @Test
    void shouldAnswer408InOpenAisShapeWhenABodyStops() throws Exception {
        // side by side: each waits for the limit
        try (Socket chat = connect();
                Socket prefixed = connect();
                Socket query = connect()) {
            say(chat, head(CHAT, 100_000) + "{\"messages\":" + " ".repeat(90_000));
            say(prefixed, head("/aidb" + CHAT, 100_000) + "{");
            say(query, head("/query", 100_000) + "{");

            assertThat(rest(chat))
                    .startsWith("HTTP/1.1 408 ")
                    .contains("{\"error\":{\"message\":\"the request was not whole", "limits.request-time");
            assertThat(rest(prefixed)).startsWith("HTTP/1.1 408 ").contains("{\"error\":{\"message\":");
            assertThat(rest(query)).startsWith("HTTP/1.1 408 ").contains("\"status\":408");
        }
    }

    @Test
    void shouldLetConnectionsLiveThatOnlyWait() throws Exception {
        try (Socket socket = connect()) {
            for (int i = 0; i < 2; i++) {
                // in two pieces, as from a slow line
                say(socket, LIVE.substring(0, 20));
                Thread.sleep(300);
                say(socket, LIVE.substring(20));
                assertThat(answer(socket)).startsWith("HTTP/1.1 200 ");
                Thread.sleep(LIMIT.plusMillis(500));
            }
        }
    }

    @Test
    void shouldLetAStreamLiveAndWhatItsClientSendsBehindIt() throws Exception {
        try (Socket socket = connect()) {
            Query query = streamAndHalfAHead(socket);
            for (int i = 0; i < 6; i++) {
                harness.wire.reply(FakeWire.delta(query, i, "{\"piece\":" + i + "}"));
                Thread.sleep(LIMIT.toMillis() / 4);
            }
            harness.wire.reply(FakeWire.answer(query, 6, "whole"));
            say(socket, LIVE.substring(20).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));

            assertThat(rest(socket))
                    .startsWith("HTTP/1.1 200 ")
                    .contains("{\"piece\":5}", "[DONE]")
                    .doesNotContain("408")
                    .containsPattern("(?s)HTTP/1.1 200 .*HTTP/1.1 200 ");
        }
    }

    @Test
    void shouldAnswer408WhenWhatCameBehindAStreamIsNeverFinished() throws Exception {
        try (Socket socket = connect()) {
            Query query = streamAndHalfAHead(socket);
            Thread.sleep(LIMIT.plusMillis(500));
            harness.wire.reply(FakeWire.answer(query, 0, "whole"));

            assertThat(rest(socket)).startsWith("HTTP/1.1 200 ").containsPattern("(?s)\\[DONE\\].*HTTP/1.1 408 ");
        }
    }

    /** The query of a stream behind which its client has sent the first bytes of another request. */
    private static Query streamAndHalfAHead(Socket socket) throws IOException {
        int before = harness.wire.sent(Query.class).size();
        say(socket, head(CHAT, HI_STREAM.length()) + HI_STREAM);
        await().until(() -> harness.wire.sent(Query.class).size() > before);
        say(socket, LIVE.substring(0, 20));
        return harness.wire.sent(Query.class).getLast();
    }

    private static double gauge(String name) {
        return harness.metrics
                .scrape()
                .lines()
                .filter(line -> line.startsWith(name + " "))
                .mapToDouble(line -> Double.parseDouble(line.substring(name.length())))
                .sum();
    }

    private static Socket connect() throws IOException {
        Socket socket = new Socket(InetAddress.getLoopbackAddress(), harness.gateway.port());
        socket.setSoTimeout(READ_MS);
        return socket;
    }

    private static String head(String path, int length) {
        return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
                + length + "\r\n\r\n";
    }

    private static void say(Socket socket, String words) throws IOException {
        socket.getOutputStream().write(words.getBytes(StandardCharsets.US_ASCII));
    }

    /** Never silent for long, and never done; over long before the limit, since who writes behind the end is cut off. */
    private static void drip(Socket socket, String begun) throws Exception {
        say(socket, begun);
        for (int i = 0; i < 6; i++) {
            Thread.sleep(125);
            say(socket, "x");
        }
    }

    /** Everything until the connection is closed. */
    private static String rest(Socket socket) throws IOException {
        return new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    }

    /** A whole answer. */
    private static String answer(Socket socket) throws IOException {
        InputStream in = socket.getInputStream();
        StringBuilder answer = new StringBuilder();
        while (answer.indexOf("\r\n\r\n") < 0) {
            answer.append((char) in.read());
        }
        int length = Integer.parseInt(answer.toString().replaceAll("(?si).*content-length: (\\d+).*", "$1"));
        return answer.append(new String(in.readNBytes(length), StandardCharsets.UTF_8))
                .toString();
    }
}
