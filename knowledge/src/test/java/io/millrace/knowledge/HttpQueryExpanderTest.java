package io.millrace.knowledge;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.sun.net.httpserver.HttpServer;
import io.millrace.knowledge.QueryExpander.ExpansionException;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class HttpQueryExpanderTest {
    private static final ObjectMapper JSON = new ObjectMapper();

    private final AtomicReference<String> seen = new AtomicReference<>("");
    private final CountDownLatch late = new CountDownLatch(1);
    private volatile String answer = "";
    private volatile boolean hang;
    private HttpServer server;
    private HttpQueryExpander expander;

    @BeforeEach
    void start() throws IOException {
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/v1/chat/completions", exchange -> {
            seen.set(new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8));
            if (hang) {
                await();
            }
            byte[] body = answer.getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
        // the first connection of a JVM takes a second where there is much to do
        expander = expander(Duration.ofSeconds(30));
    }

    private HttpQueryExpander expander(Duration timeout) {
        return new HttpQueryExpander(
                URI.create("http://127.0.0.1:" + server.getAddress().getPort() + "/v1/chat/completions"),
                "small",
                "",
                timeout);
    }

    @AfterEach
    void stop() {
        late.countDown();
        expander.close();
        server.stop(0);
    }

    private void await() {
        try {
            if (!late.await(60, TimeUnit.SECONDS)) {
                throw new IllegalStateException("nobody stopped it");
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private static String completion(String text) {
        ObjectNode choice = JSON.createObjectNode();
        choice.putObject("message").put("content", text);
        ObjectNode completion = JSON.createObjectNode();
        completion.putArray("choices").add(choice);
        return completion.toString();
    }

    @Test
    void shouldTakeTwoLinesWithoutTheirNumbersAndWithoutTheQuestion() throws Exception {
        answer = completion(
                "1. restore the previous generation\n\n- how do i undo it?\n2) roll the system back\n3. more");

        assertThat(expander.reword("How do I undo it?"))
                .containsExactly("restore the previous generation", "roll the system back");
        JsonNode request = JSON.readTree(seen.get());
        assertThat(request.path("model").asText()).isEqualTo("small");
        assertThat(request.at("/messages/1/content").asText()).isEqualTo("How do I undo it?");
        assertThat(expander.isLocal()).isTrue();
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            ''                                           | it gave no text
            no json                                      | it did not answer with JSON
            {}                                           | it gave no text
            {"choices":[{"message":{"content":null}}]}   | it gave no text
            """)
    void shouldFailWhenTheAnswerIsNone(String body, String reason) {
        answer = body;

        assertThatThrownBy(() -> expander.reword("x"))
                .isInstanceOf(ExpansionException.class)
                .hasMessage("the rewording model at 127.0.0.1 failed: " + reason);
    }

    @Test
    void shouldNotWaitLongerThanItMay() {
        hang = true;
        long began = System.nanoTime();

        try (HttpQueryExpander impatient = expander(Duration.ofMillis(500))) {
            assertThatThrownBy(() -> impatient.reword("x"))
                    .isInstanceOf(ExpansionException.class)
                    .hasMessageContaining("timed out");
        }

        assertThat(Duration.ofNanos(System.nanoTime() - began)).isLessThan(Duration.ofSeconds(30));
    }
}
