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
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class HttpRerankerTest {
    private final AtomicReference<String> seen = new AtomicReference<>("");
    private final AtomicReference<String> authorization = new AtomicReference<>("");
    private volatile int status = 200;
    private volatile String answer = "";
    private final CountDownLatch late = new CountDownLatch(1);
    private volatile boolean hang;
    private HttpServer server;
    private HttpReranker reranker;

    @BeforeEach
    void start() throws IOException {
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/v1/rerank", exchange -> {
            seen.set(new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8));
            authorization.set(String.valueOf(exchange.getRequestHeaders().getFirst("Authorization")));
            if (hang) {
                await();
            }
            byte[] body = answer.getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(status, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
        // the first connection of a JVM takes a second where there is much to do
        reranker = reranker(Duration.ofSeconds(30));
    }

    private HttpReranker reranker(Duration timeout) {
        return new HttpReranker(
                URI.create("http://127.0.0.1:" + server.getAddress().getPort() + "/v1/rerank"), "cross", "k", timeout);
    }

    @AfterEach
    void stop() {
        late.countDown();
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
    @CsvSource(delimiter = '|', textBlock = """
            {}                                              | it did not score every text
            no json                                         | it did not answer with JSON
            {"results":[{"index":0,"relevance_score":1}]}   | it did not score every text
            """)
    void shouldFailWhenItDoesNotScoreEveryText(String body, String reason) {
        answer = body;

        assertThatThrownBy(() -> reranker.relevances("q", List.of("a", "b")))
                .isInstanceOf(RerankException.class)
                .hasMessage("the reranker at 127.0.0.1 failed: " + reason);
    }

    @Test
    void shouldFailWhenItIsLateOrRefuses() {
        answer = "{}";
        status = 429;
        assertThatThrownBy(() -> reranker.relevances("q", List.of("a"))).hasMessageContaining("429");
        hang = true;
        try (HttpReranker impatient = reranker(Duration.ofMillis(500))) {
            assertThatThrownBy(() -> impatient.relevances("q", List.of("a")))
                    .isInstanceOf(RerankException.class)
                    .hasMessageContaining("timed out");
        }
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
}
