package io.millrace.gateway;

import static io.millrace.gateway.GatewayHarness.json;
import static org.assertj.core.api.Assertions.assertThat;

import io.vertx.core.json.JsonArray;
import io.vertx.core.json.JsonObject;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Base64;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** {@code POST /v1/embeddings} as a client sees it. */
class EmbeddingsTest {
    private static final String PATH = "/v1/embeddings";

    private GatewayHarness harness;

    @BeforeEach
    void start() {
        harness = new GatewayHarness();
    }

    @AfterEach
    void stop() {
        harness.close();
    }

    private static String body(Object input) {
        return new JsonObject().put("model", "minilm").put("input", input).encode();
    }

    @Test
    void shouldAnswerInOpenAisShapeInTheOrderOfTheTexts() {
        HttpResponse<String> response = harness.post(PATH, body(new JsonArray(List.of("abc", "z"))));

        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        // 0.1f, and not the double that is next to it
        assertThat(json(response)).isEqualTo(new JsonObject("""
                                {"object":"list","model":"minilm","usage":{"prompt_tokens":6,"total_tokens":6},"data":[
                                 {"object":"embedding","index":0,"embedding":[3.0,0.1]},
                                 {"object":"embedding","index":1,"embedding":[1.0,0.1]}]}"""));
    }

    @Test
    void shouldAnswerWithLittleEndianFloatsWhenBase64IsAsked() {
        JsonObject asked = new JsonObject(body("four")).put("encoding_format", "base64");

        String packed = json(harness.post(PATH, asked.encode()))
                .getJsonArray("data")
                .getJsonObject(0)
                .getString("embedding");

        ByteBuffer bytes = ByteBuffer.wrap(Base64.getDecoder().decode(packed)).order(ByteOrder.LITTLE_ENDIAN);
        assertThat(bytes.remaining()).isEqualTo(8);
        assertThat(bytes.getFloat()).isEqualTo(4);
        assertThat(bytes.getFloat()).isEqualTo(0.1f);
    }

    /** What SDKs and frameworks send beside the text. */
    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            {"model":"minilm","input":"x"}
            {"model":"minilm:1","input":["x"],"encoding_format":"float","dimensions":2,"user":"u-1"}
            {"model":"minilm","input":"x","encoding_format":null,"dimensions":null,"user":null}
            {"model":"minilm","input":"x","dimensions":2.0,"truncate_prompt_tokens":5}
            """)
    void shouldTakeWhatClientsSend(String body) {
        HttpResponse<String> response = harness.post(PATH, body);

        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        assertThat(json(response).getString("model")).isEqualTo("minilm");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            {"input":"x"}                                                | 400 | model           | is required
            {"model":7,"input":"x"}                                      | 400 | model           | must be string
            {"model":"text-embedding-3-small","input":"x"}               | 404 | model           | minilm is
            {"model":"minilm"}                                           | 400 | input           | is required
            {"model":"minilm","input":null}                              | 400 | input           | a text or an array of texts
            {"model":"minilm","input":{"a":1}}                           | 400 | input           | a text or an array of texts
            {"model":"minilm","input":[]}                                | 400 | input           | 1 to 2048 texts
            {"model":"minilm","input":""}                                | 400 | input           | must not be empty
            {"model":"minilm","input":["x"," \\u200b"]}                  | 400 | input[1]        | must not be empty
            {"model":"minilm","input":[1,2,3]}                           | 400 | input           | the texts are wanted
            {"model":"minilm","input":[[1,2],[3]]}                       | 400 | input           | the texts are wanted
            {"model":"minilm","input":["x",null]}                        | 400 | input           | the texts are wanted
            {"model":"minilm","input":"x","encoding_format":"int8"}      | 400 | encoding_format | must be one of
            {"model":"minilm","input":"x","dimensions":256}              | 400 | dimensions      | must be 2
            {"model":"minilm","input":"x","dimensions":1e300}            | 400 | dimensions      | must be
            {"model":"minilm","input":"x","dimensions":"2"}              | 400 | dimensions      | must be
            {"model":"minilm","input":"x","user":5}                      | 400 | user            | must be
            [1]                                                          | 400 | body            | JSON object
            """)
    void shouldNameWhatIsWrongInOpenAisShape(String body, int status, String field, String reason) {
        refused(harness.post(PATH, body), status, field, reason);
    }

    private static void refused(HttpResponse<String> response, int status, String field, String reason) {
        assertThat(response.statusCode()).as(response.body()).isEqualTo(status);
        JsonObject error = json(response).getJsonObject("error");
        assertThat(error.getString("param")).as(response.body()).isEqualTo(field);
        assertThat(error.getString("message")).contains(reason);
        assertThat(error.getString("code")).isEqualTo(status == 404 ? "model_not_found" : "invalid_request");
    }

    /** Characters are those of the contract: an emoji is one, and two to Java. */
    @Test
    void shouldTakeAsMuchAsTheContractSaysAndNoMore() {
        List<String> most = new CopyOnWriteArrayList<>();
        harness.embedder = texts -> {
            most.addAll(texts);
            return new SearchPort.Embedded(Collections.nCopies(texts.size(), new float[] {1, 0}), 1);
        };
        String longest = "\uD83D\uDE00".repeat(10_000);
        assertThat(harness.post(PATH, body(longest)).statusCode()).isEqualTo(200);
        assertThat(harness.post(PATH, body(new JsonArray(Collections.nCopies(2_048, "x"))))
                        .statusCode())
                .isEqualTo(200);
        assertThat(most).hasSize(2_049).contains(longest);

        refused(harness.post(PATH, body(longest + "x")), 400, "input", "10001 characters");
        refused(
                harness.post(PATH, body(new JsonArray(List.of("x", longest + "x")))),
                400,
                "input[1]",
                "10001 characters");
        refused(
                harness.post(PATH, body(new JsonArray(Collections.nCopies(2_049, "x")))),
                400,
                "input",
                "1 to 2048 texts, not 2049");
        assertThat(most).hasSize(2_049);
    }

    @Test
    void shouldSayWhenToAskAgainWhenTheModelIsAwayAndBlameTheTextWhenItIsRefused() {
        harness.embedder = texts -> {
            throw new IllegalStateException("the embedding model at gpu failed: it answered 500");
        };
        HttpResponse<String> away = harness.post(PATH, body("x"));
        assertThat(away.statusCode()).isEqualTo(503);
        assertThat(away.headers().firstValue("Retry-After")).hasValue("1");
        assertThat(json(away).getJsonObject("error").getString("code")).isEqualTo("embedder_unavailable");

        harness.embedder = texts -> {
            throw new SearchPort.RefusedTextsException(new IllegalStateException("it answered 413"));
        };
        refused(harness.post(PATH, body("x")), 400, "input", "it answered 413");
    }

    /** On an event loop it would stop all requests; in the searches' threads those. */
    @Test
    void shouldAnswerOthersWhileTheModelIsSlowAndRefuseWhatIsTooMuchToWait() throws Exception {
        CountDownLatch slow = new CountDownLatch(1);
        List<String> embedded = new CopyOnWriteArrayList<>();
        harness.embedder = texts -> {
            embedded.addAll(texts);
            try {
                slow.await(120, TimeUnit.SECONDS);
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
            return new SearchPort.Embedded(List.of(new float[] {1, 0}), 1);
        };
        List<CompletableFuture<HttpResponse<String>>> asked = IntStream.range(0, 600)
                .mapToObj(i -> harness.http()
                        .sendAsync(
                                HttpRequest.newBuilder(harness.uri(PATH))
                                        .header("Content-Type", "application/json")
                                        .POST(HttpRequest.BodyPublishers.ofString(body("x")))
                                        .build(),
                                HttpResponse.BodyHandlers.ofString()))
                .toList();
        Awaitility.await()
                .until(() -> asked.stream().filter(CompletableFuture::isDone).count() == 600 - 512);
        Awaitility.await().until(() -> embedded.size() == 2);

        assertThat(harness.get("/health").statusCode()).isEqualTo(200);
        assertThat(harness.post("/search", "{\"query\":\"x\"}").statusCode()).isEqualTo(200);
        for (CompletableFuture<HttpResponse<String>> each : asked) {
            if (each.isDone()) {
                assertThat(each.get().statusCode()).isEqualTo(503);
                assertThat(each.get().headers().firstValue("Retry-After")).hasValue("1");
            }
        }
        slow.countDown();
        for (CompletableFuture<HttpResponse<String>> each : asked) {
            assertThat(each.get(60, TimeUnit.SECONDS).statusCode()).isIn(200, 503);
        }
        assertThat(embedded).hasSize(512);
    }
}
