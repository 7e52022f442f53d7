package io.millrace.knowledge;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.net.httpserver.HttpServer;
import io.millrace.config.MillraceConfig;
import io.millrace.config.Secret;
import io.millrace.knowledge.Embedder.EmbeddingException;
import io.millrace.knowledge.Embedder.EmbeddingException.Reason;
import io.millrace.knowledge.HttpEmbedder.Role;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class HttpEmbedderTest {
    private static final String TWO =
            "{\"data\":[{\"index\":1,\"embedding\":[0,2]},{\"index\":0,\"embedding\":[3,4]}]}";

    private final AtomicReference<String> seen = new AtomicReference<>("");
    private final AtomicReference<String> authorization = new AtomicReference<>("");
    private volatile int status = 200;
    private volatile String answer = "";
    private HttpServer server;
    private HttpEmbedder embedder;

    @BeforeEach
    void start() throws IOException {
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/v1/embeddings", exchange -> {
            seen.set(new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8));
            authorization.set(String.valueOf(exchange.getRequestHeaders().getFirst("Authorization")));
            byte[] body = answer.getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(status, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
        embedder = embedder("", "", Role.QUESTION);
    }

    private HttpEmbedder embedder(String queryPrefix, String passagePrefix, Role role) {
        return embedder(queryPrefix, passagePrefix, role, Duration.ofSeconds(30));
    }

    private HttpEmbedder embedder(String queryPrefix, String passagePrefix, Role role, Duration patience) {
        return HttpEmbedder.of(
                        new MillraceConfig.Embedding(
                                "http://127.0.0.1:" + server.getAddress().getPort() + "/v1/embeddings",
                                "nomic",
                                2,
                                new Secret("k"),
                                Duration.ofSeconds(30),
                                queryPrefix,
                                passagePrefix),
                        role,
                        patience)
                .orElseThrow();
    }

    @ParameterizedTest
    @CsvSource({"QUESTION,'query: '", "PASSAGE,'passage: '", "PLAIN,''"})
    void shouldPutBeforeEachTextWhatTheModelWantsOfItsRole(Role role, String prefix) throws IOException {
        answer = TWO;

        try (HttpEmbedder prefixed = embedder("query: ", "passage: ", role)) {
            prefixed.embed(List.of("a", " "));
        }

        JsonNode asked = new ObjectMapper().readTree(seen.get());
        assertThat(asked.path("input").get(0).asText()).isEqualTo(prefix + "a");
        assertThat(asked.path("input").get(1).asText()).isEqualTo(prefix + "-");
    }

    /** Vectors of other prefixes are compared no more than those of another model. */
    @Test
    void shouldBeAnotherModelToTheIndexAndTheCacheWhenAPrefixIsAnother() {
        List<List<String>> prefixes = List.of(
                List.of("", ""),
                List.of("query: ", ""),
                List.of("", "query: "),
                List.of("query: ", "passage: "),
                List.of("query: p", "assage: "));

        for (List<String> each : prefixes) {
            assertThat(fingerprint(each, Role.QUESTION)).isEqualTo(fingerprint(each, Role.PASSAGE));
            // its vectors are those of no prefix
            assertThat(fingerprint(each, Role.PLAIN)).isEqualTo("nomic:2");
        }
        assertThat(prefixes.stream().map(each -> fingerprint(each, Role.PASSAGE)))
                .doesNotHaveDuplicates()
                .allMatch(fingerprint -> fingerprint.startsWith("nomic:2"))
                // as it was before there were any: nothing is embedded anew
                .startsWith("nomic:2");
    }

    private String fingerprint(List<String> prefixes, Role role) {
        try (HttpEmbedder made = embedder(prefixes.getFirst(), prefixes.getLast(), role)) {
            return made.fingerprint();
        }
    }

    @AfterEach
    void stop() {
        embedder.close();
        server.stop(0);
    }

    @Test
    void shouldGiveUnitVectorsInTheOrderOfTheTexts() throws IOException {
        answer = TWO;

        List<float[]> vectors = embedder.embed(List.of("a", " "));

        assertThat(vectors).hasSize(2);
        assertThat(vectors.getFirst()).containsExactly(new float[] {0.6f, 0.8f}, within(1e-6f));
        assertThat(vectors.getLast()).containsExactly(0, 1);
        JsonNode asked = new ObjectMapper().readTree(seen.get());
        assertThat(asked.path("model").asText()).isEqualTo("nomic");
        assertThat(asked.path("input").get(0).asText()).isEqualTo("a");
        // an empty text is an error to some servers
        assertThat(asked.path("input").get(1).asText()).isEqualTo("-");
        assertThat(authorization.get()).isEqualTo("Bearer k");
        assertThat(embedder.fingerprint()).isEqualTo("nomic:2");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            {"data":[{"index":0,"embedding":[1,2]}]}                                   | it did not embed every text
            {"data":[{"index":0,"embedding":[1,2,3]},{"index":1,"embedding":[1,2,3]}]} | its vectors have 3 numbers, and knowledge.embedding-dimensions is 2
            {"data":[{"index":0,"embedding":[0,0]},{"index":1,"embedding":[1,2]}]}     | a vector of it is zero
            {"data":[{"index":0,"embedding":["x",1]},{"index":1,"embedding":[1,2]}]}   | holds what is no number
            <html>                                                                     | it did not answer with JSON
            """)
    void shouldNeverTakeWhatIsNoVector(String answered, String reason) {
        answer = answered;

        assertThatThrownBy(() -> embedder.embed(List.of("a", "b")))
                .isInstanceOfSatisfying(
                        EmbeddingException.class,
                        error -> assertThat(error.reason()).isEqualTo(Reason.FAILED))
                .hasMessageContaining("the embedding model at 127.0.0.1 failed: ")
                .hasMessageContaining(reason);
    }

    /** What is tried again for ever must be able to work, and what is not must be wrong with the texts. */
    @ParameterizedTest
    @CsvSource({
        "503,AWAY",
        "502,AWAY",
        "504,LATE",
        "500,FAILED",
        "429,AWAY",
        "401,AWAY",
        "403,AWAY",
        "404,AWAY",
        "408,LATE",
        "400,REFUSED",
        "413,REFUSED",
        "422,REFUSED"
    })
    void shouldTellAServerThatIsAwayFromATextThatItRefuses(int answered, Reason reason) {
        status = answered;
        answer = "{}";

        assertThatThrownBy(() -> embedder.embed(List.of("a")))
                .isInstanceOfSatisfying(
                        EmbeddingException.class,
                        error -> assertThat(error.reason()).isEqualTo(reason))
                .hasMessageContaining("it answered " + answered);
    }

    @Test
    void shouldWaitForAServerThatIsNotThere() {
        server.stop(0);

        assertThatThrownBy(() -> embedder.embed(List.of("a")))
                .isInstanceOfSatisfying(
                        EmbeddingException.class,
                        error -> assertThat(error.reason()).isEqualTo(Reason.AWAY));
    }

    /** It held up all ingest for ever, and nothing said so. */
    @Test
    @Timeout(60)
    void shouldCallAServerLateThatFallsSilentInTheMiddleOfItsAnswer() {
        server.removeContext("/v1/embeddings");
        server.createContext("/v1/embeddings", exchange -> {
            exchange.sendResponseHeaders(200, 1_000);
            exchange.getResponseBody().write(new byte[500]);
            exchange.getResponseBody().flush();
        });
        try (HttpEmbedder impatient = embedder("", "", Role.PASSAGE, Duration.ofSeconds(2))) {
            assertThatThrownBy(() -> impatient.embed(List.of("a")))
                    .isInstanceOfSatisfying(
                            EmbeddingException.class,
                            error -> assertThat(error.reason()).isEqualTo(Reason.LATE));
        }
    }

    /** Less at once may be in time; nobody there never is. */
    @Test
    void shouldTellAServerThatTakesTooLongFromOneThatIsNotThere() {
        server.removeContext("/v1/embeddings");
        server.createContext("/v1/embeddings", exchange -> {});
        // time for the connection, which is not there either when it takes too long
        try (HttpEmbedder impatient = embedder("", "", Role.PASSAGE, Duration.ofSeconds(2))) {
            assertThatThrownBy(() -> impatient.embed(List.of("a")))
                    .isInstanceOfSatisfying(
                            EmbeddingException.class,
                            error -> assertThat(error.reason()).isEqualTo(Reason.LATE));
        }
    }
}
