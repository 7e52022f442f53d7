package io.millrace.knowledge;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.net.httpserver.HttpServer;
import io.millrace.knowledge.Reranker.RerankException;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class HttpRerankerTest {
    private final AtomicReference<String> seen = new AtomicReference<>("");
    private final AtomicReference<String> authorization = new AtomicReference<>("");
    private volatile int status = 200;
    private volatile String answer = "";
    private volatile long delayMs;
    private HttpServer server;
    private HttpReranker reranker;

    @BeforeEach
    void start() throws IOException {
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/v1/rerank", exchange -> {
            seen.set(new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8));
            authorization.set(String.valueOf(exchange.getRequestHeaders().getFirst("Authorization")));
            pause(delayMs);
            byte[] body = answer.getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(status, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
        reranker = new HttpReranker(
                URI.create("http://127.0.0.1:" + server.getAddress().getPort() + "/v1/rerank"),
                "cross",
                "k",
                Duration.ofMillis(500));
    }

    @AfterEach
    void stop() {
        reranker.close();
        server.stop(0);
    }

    @Test
    void shouldGiveScoresInTheOrderOfTheTexts() throws IOException {
        answer = "{\"results\":[{\"index\":1,\"relevance_score\":0.9},{\"index\":0,\"relevance_score\":0.2}]}";

        assertThat(reranker.relevances("q", List.of("a", "b"))).containsExactly(0.2, 0.9);

        JsonNode asked = new ObjectMapper().readTree(seen.get());
        assertThat(asked.path("model").asText()).isEqualTo("cross");
        assertThat(asked.path("query").asText()).isEqualTo("q");
        assertThat(asked.path("documents").get(1).asText()).isEqualTo("b");
        assertThat(authorization.get()).isEqualTo("Bearer k");
    }

    @Test
    void shouldMapLogitsToProbabilities() {
        answer = "{\"results\":[{\"index\":0,\"relevance_score\":-3.0},{\"index\":1,\"relevance_score\":5.0}]}";

        assertThat(reranker.relevances("q", List.of("a", "b")))
                .satisfies(scores -> assertThat(scores.get(0)).isBetween(0.0, 0.1))
                .satisfies(scores -> assertThat(scores.get(1)).isBetween(0.9, 1.0));
    }

    @ParameterizedTest
    @ValueSource(strings = {"{}", "no json", "{\"results\":[{\"index\":0,\"relevance_score\":1}]}"})
    void shouldFailWhenItDoesNotScoreEveryText(String body) {
        answer = body;

        assertThatThrownBy(() -> reranker.relevances("q", List.of("a", "b"))).isInstanceOf(RerankException.class);
    }

    @Test
    void shouldFailWhenItIsLateOrRefuses() {
        answer = "{}";
        status = 429;
        assertThatThrownBy(() -> reranker.relevances("q", List.of("a"))).hasMessageContaining("429");
        delayMs = 2_000;
        assertThatThrownBy(() -> reranker.relevances("q", List.of("a"))).isInstanceOf(RerankException.class);
    }

    private static void pause(long millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
