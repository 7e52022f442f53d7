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
import org.junit.jupiter.params.provider.ValueSource;

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
        expander = new HttpQueryExpander(
                URI.create("http://127.0.0.1:" + server.getAddress().getPort() + "/v1/chat/completions"),
                "small",
                "",
                Duration.ofMillis(500));
    }

    @AfterEach
    void stop() {
        late.countDown();
        expander.close();
        server.stop(0);
    }

    private void await() {
        try {
            if (!late.await(5, TimeUnit.SECONDS)) {
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
    @ValueSource(strings = {"", "no json", "{}", "{\"choices\":[{\"message\":{\"content\":null}}]}"})
    void shouldFailWhenTheAnswerIsNone(String body) {
        answer = body;

        assertThatThrownBy(() -> expander.reword("x"))
                .isInstanceOf(ExpansionException.class)
                .hasMessageContaining("127.0.0.1");
    }

    @Test
    void shouldNotWaitLongerThanItMay() {
        hang = true;
        long began = System.nanoTime();

        assertThatThrownBy(() -> expander.reword("x")).isInstanceOf(ExpansionException.class);

        assertThat(Duration.ofNanos(System.nanoTime() - began)).isLessThan(Duration.ofSeconds(3));
    }
}
