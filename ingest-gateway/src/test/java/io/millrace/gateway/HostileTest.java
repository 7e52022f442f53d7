package io.millrace.gateway;

import static io.millrace.gateway.GatewayHarness.CHAT;
import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.id.Ids;
import io.vertx.core.json.JsonObject;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Nothing that a client can send is answered with 500, or with nothing. */
class HostileTest {
    private static final String ID = Ids.next();
    private static final List<String> BODIES = List.of(
            "{\"model\":\"gpt\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hi\"}]}],\"stream\":false,\"stream_options\":{\"include_usage\":true},\"n\":1,\"top_p\":0.5,\"response_format\":{\"type\":\"text\"}}",
            "{\"query\":\"x\",\"mode\":\"auto\",\"limit\":5,\"score_threshold\":0.5,\"context\":{\"a\":1},\"collections\":[\"nixos-docs\"],\"llm_timeout_s\":5,\"session_id\":\"s\",\"max_tokens\":5}",
            "{\"rating\":1,\"note\":\"n\",\"query\":\"q\"}",
            "{\"interaction_id\":\"" + ID
                    + "\",\"outcome\":\"success\",\"user_feedback\":1,\"tags\":[\"t\"],\"rating\":0}",
            "{\"content\":\"c\",\"project\":\"p\",\"relative_path\":\"r\",\"tags\":[\"t\"],\"metadata\":{\"k\":\"v\"},\"collection\":\"nixos-docs\"}");
    private static final List<String> PATHS = List.of(
            CHAT,
            "/query",
            "/route",
            "/feedback/" + ID,
            "/feedback",
            "/documents",
            "/search",
            "/aidb/query",
            "/augment_query",
            "/context/multi_turn",
            "/discovery/token_budget");
    private static final List<String> NASTY = List.of(
            "null",
            "true",
            "-1",
            "0",
            "1.0",
            "1e1",
            "1e400",
            "-0.0",
            "9223372036854775808",
            "0.1e-400",
            "\"\"",
            "\"\\u0000\"",
            "\"\\ud800\"",
            "[]",
            "{}",
            "[null]",
            "[[[]]]",
            "{\"\":null}",
            "\"" + "y".repeat(6_000) + "\"",
            "\"\u202e\"",
            "NaN",
            "'x'",
            ",",
            "}");
    private static GatewayHarness harness;

    @BeforeAll
    static void start() {
        harness = new GatewayHarness();
        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.answer(query, 0, "ok"));
        harness.visible.set(true);
    }

    @AfterAll
    static void stop() {
        harness.close();
    }

    @Test
    void shouldNeverAnswer500WhenValuesAreReplaced() {
        Random random = new Random(20_261_121);
        Set<Integer> seen = new TreeSet<>();
        for (int i = 0; i < 1_500; i++) {
            String path = PATHS.get(random.nextInt(PATHS.size()));
            String body = mutated(BODIES.get(random.nextInt(BODIES.size())), random);
            HttpResponse<String> response = harness.post(path, body);
            seen.add(response.statusCode());
            assertThat(response.statusCode())
                    .as("%s %s: %s", path, body, response.body())
                    .isNotEqualTo(500);
        }
        // a generator that never gets through proves nothing
        assertThat(seen).contains(200, 400);
    }

    /** Puts something else in the place of one value. */
    private static String mutated(String body, Random random) {
        List<Integer> values = java.util.stream.IntStream.range(0, body.length())
                .filter(at -> body.charAt(at) == ':')
                .boxed()
                .toList();
        int colon = values.get(random.nextInt(values.size()));
        int end = colon + 1;
        int depth = 0;
        boolean quoted = false;
        for (; end < body.length(); end++) {
            char c = body.charAt(end);
            if (c == '"') {
                quoted = !quoted;
            } else if (!quoted && (c == '[' || c == '{')) {
                depth++;
            } else if (!quoted && (c == ']' || c == '}')) {
                if (depth-- == 0) {
                    break;
                }
            } else if (!quoted && depth == 0 && c == ',') {
                break;
            }
        }
        return body.substring(0, colon + 1) + NASTY.get(random.nextInt(NASTY.size())) + body.substring(end);
    }

    @Test
    void shouldNeverAnswer500WhenBytesAreChanged() {
        Random random = new Random(7);
        for (int i = 0; i < 500; i++) {
            byte[] body = BODIES.get(random.nextInt(BODIES.size())).getBytes(StandardCharsets.UTF_8);
            for (int change = 0; change < 3; change++) {
                body[random.nextInt(body.length)] = (byte) random.nextInt(256);
            }
            String path = PATHS.get(random.nextInt(PATHS.size()));
            HttpResponse<String> response = harness.post(path, BodyPublishers.ofByteArray(body));
            assertThat(response.statusCode())
                    .as(new String(body, StandardCharsets.ISO_8859_1))
                    .isNotEqualTo(500);
        }
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "wait=5.0",
                "wait=1e1",
                "wait=%2B5",
                "wait=",
                "wait",
                "wait=1&wait=2",
                "wait=%00",
                "wait=%FF",
                "wait=9999999999999999999",
                "other=1",
                "wait=true"
            })
    void shouldNeverAnswer500WhenParametersAreStrange(String parameters) throws IOException {
        assertThat(raw("GET /interactions/" + ID + "?" + parameters
                        + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
                .doesNotStartWith("HTTP/1.1 500")
                .startsWith("HTTP/1.1 ");
        assertThat(
                        raw(
                                "POST /documents?" + parameters
                                        + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"content\":\"c\"}"))
                .doesNotStartWith("HTTP/1.1 500")
                .startsWith("HTTP/1.1 ");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "GET /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n",
                "GET /interactions/%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
                "GET /interactions/%F0%28 HTTP/1.1\r\nHost: localhost\r\n\r\n",
                "GET /hybrid HTTP/1.1\r\nHost: localhost\r\n\r\n",
                "GET /hybrid/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
                "GET /hybrid/hybrid/hybrid/health HTTP/1.1\r\nHost: localhost\r\n\r\n",
                "GET //health HTTP/1.1\r\nHost: localhost\r\n\r\n",
                "GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
                "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
                "POST /query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: -5\r\n\r\n",
                "POST /query HTTP/1.1\r\nHost: localhost\r\nContent-Type: \r\nContent-Length: 2\r\n\r\n{}",
                "POST /query HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 4\r\n\r\n--x\n",
                "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
                "DELETE /query HTTP/1.1\r\nHost: localhost\r\n\r\n",
                "NONSENSE\r\n\r\n"
            })
    void shouldAnswer4xxWhenTheRequestItselfIsStrange(String request) throws IOException {
        assertThat(raw(request)).matches("(?s)HTTP/1\\.[01] (200|4\\d\\d).*");
    }

    static Stream<Arguments> malformed() {
        String long8k = "a".repeat(8_192);
        return Stream.of(
                Arguments.of("POST /query HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", 400),
                Arguments.of("POST /query HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", 400),
                Arguments.of(
                        "POST /query HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
                        400),
                Arguments.of(
                        "POST " + CHAT + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
                        400),
                Arguments.of(
                        "POST /query HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                        400),
                Arguments.of("GET " + CHAT + " HTTP/1.1\r\nHost: localhost\r\nno header\r\n\r\n", 400),
                Arguments.of("NONSENSE\r\n\r\n", 400),
                Arguments.of("GET /" + long8k + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
                Arguments.of("GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + long8k.repeat(5) + "\r\n\r\n", 431));
    }

    /** An empty answer would leave a client without a word of what is wrong. */
    @ParameterizedTest
    @MethodSource("malformed")
    void shouldSayWhatIsWrongAndCloseWhenARequestIsNotHttp(String request, int status) throws IOException {
        String answer = raw(request);
        JsonObject body = new JsonObject(answer.substring(answer.indexOf("\r\n\r\n")));
        assertThat(answer).matches("(?s)HTTP/1\\.[01] " + status + " .*").contains("connection: close");
        if (request.contains(CHAT)) {
            assertThat(body.getJsonObject("error").getString("message")).isNotBlank();
        } else {
            assertThat(answer).contains("application/problem+json");
            assertThat(body.getInteger("status")).isEqualTo(status);
            assertThat(body.getString("detail")).isNotBlank();
        }
    }

    /** The limit is 200,000 bytes: none of a body beyond it is read, nor asked for. */
    @ParameterizedTest
    @ValueSource(strings = {CHAT, "/query", "/documents", "/hybrid/query"})
    void shouldRefuseTooLargeABodyByItsHead(String path) throws IOException {
        String head = "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
        for (String expect : List.of("", "Expect: 100-continue\r\n")) {
            assertThat(raw(head + expect + "Content-Length: 999999999\r\n\r\n"))
                    .startsWith("HTTP/1.1 413 ")
                    .contains("the body is larger than 200000 bytes");
        }
        assertThat(raw(head + "Expect: 100-continue\r\nContent-Length: 17\r\n\r\n"))
                .isEqualTo("HTTP/1.1 100 Continue\r\n\r\n");
        assertThat(raw("POST " + path
                        + " HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 17\r\n\r\n"))
                .startsWith("HTTP/1.1 415 ");
    }

    /** Which of the two limits it is that a client may do something about is not seen from a part of the body. */
    @Test
    void shouldTellALimitOfTheMemoryFromTheLimitOfABody() throws IOException {
        int fits = 100_000;
        try (GatewayHarness small = new GatewayHarness(GatewayHarness.config(Duration.ofSeconds(20), 64), 32L * fits)) {
            for (boolean declared : List.of(true, false)) {
                assertThat(raw(small, chat(fits + 5_000, declared)))
                        .startsWith("HTTP/1.1 413 ")
                        .contains("the request takes " + (fits + 5_000) + " bytes", "is enough for " + fits);
                assertThat(raw(small, chat(200_001, declared)))
                        .startsWith("HTTP/1.1 413 ")
                        .contains("the body is larger than 200000 bytes");
            }
        }
    }

    /** A request whose body has so many bytes; chunked when it does not declare them. */
    private static String chat(int bytes, boolean declared) {
        String body = "x".repeat(bytes);
        return "POST " + CHAT + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                + (declared
                        ? "Content-Length: " + bytes + "\r\n\r\n" + body
                        : "Transfer-Encoding: chunked\r\n\r\n" + Integer.toHexString(bytes) + "\r\n" + body
                                + "\r\n0\r\n\r\n");
    }

    private static String raw(String request) throws IOException {
        return raw(harness, request);
    }

    /** What the server answers to these bytes, the beginning of it. */
    static String raw(GatewayHarness harness, String request) throws IOException {
        try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), harness.gateway.port())) {
            socket.setSoTimeout(60_000);
            socket.getOutputStream().write(request.getBytes(StandardCharsets.ISO_8859_1));
            InputStream in = socket.getInputStream();
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            byte[] buffer = new byte[8_192];
            int read = in.read(buffer);
            if (read > 0) {
                out.write(buffer, 0, read);
            }
            return out.toString(StandardCharsets.ISO_8859_1);
        }
    }
}
