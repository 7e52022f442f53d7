package io.millrace.gateway;

import static io.millrace.gateway.GatewayHarness.CHAT;
import static io.millrace.gateway.GatewayHarness.json;
import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.millrace.id.Ids;
import io.millrace.schema.Feedback;
import io.millrace.schema.Query;
import io.vertx.core.Vertx;
import io.vertx.core.json.JsonObject;
import io.vertx.openapi.contract.OpenAPIContract;
import java.io.IOException;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Every wrong request gets its status and the name of what is wrong, and none reaches the log. */
class ValidationTest {
    private static final String ASK = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]";
    private static final String ID = Ids.next();
    private static GatewayHarness harness;
    private static OpenAPIContract contract;

    @BeforeAll
    static void start() {
        harness = new GatewayHarness();
        contract = Contract.load(Vertx.vertx(), GatewayHarness.config(Duration.ofSeconds(1), 1))
                .toCompletionStage()
                .toCompletableFuture()
                .join()
                .openapi();
    }

    @AfterAll
    static void stop() {
        harness.close();
    }

    static Stream<Arguments> wrong() {
        return Stream.of(
                Arguments.of(CHAT, "", 400, "body"),
                Arguments.of(CHAT, "[]", 400, "body"),
                Arguments.of(CHAT, "{", 400, "body"),
                Arguments.of(CHAT, ASK + "} x", 400, "body"),
                Arguments.of(CHAT, "{\"a\":".repeat(3_000), 400, "body"),
                Arguments.of(CHAT, "{}", 400, "messages"),
                Arguments.of(CHAT, "{\"messages\":[]}", 400, "messages"),
                Arguments.of(CHAT, "{\"messages\":{}}", 400, "messages"),
                Arguments.of(CHAT, "{\"messages\":[7]}", 400, "messages[0]"),
                Arguments.of(CHAT, "{\"messages\":[{\"content\":\"x\"}]}", 400, "messages[0].role"),
                Arguments.of(CHAT, "{\"messages\":[{\"role\":\"king\",\"content\":\"x\"}]}", 400, "messages[0].role"),
                Arguments.of(CHAT, "{\"messages\":[{\"role\":\"user\"}]}", 400, "messages[0].content"),
                Arguments.of("/query", "{\"query\":\"x\",\"model\":\"nope\"}", 404, "model"),
                Arguments.of(CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":7}]}", 400, "messages[0].content"),
                Arguments.of(
                        CHAT,
                        "{\"messages\":[{\"role\":\"user\",\"content\":[{}]}]}",
                        400,
                        "messages[0].content[0].type"),
                Arguments.of(CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\" \"}]}", 400, "messages"),
                Arguments.of(CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"\\u200b\"}]}", 400, "messages"),
                Arguments.of(CHAT, ASK + ",\"stream\":\"yes\"}", 400, "stream"),
                Arguments.of(CHAT, ASK + ",\"stream\":true,\"stream_options\":\"x\"}", 400, "stream_options"),
                Arguments.of(CHAT, ASK + ",\"stream_options\":[]}", 400, "stream_options"),
                Arguments.of(
                        CHAT,
                        ASK + ",\"stream_options\":{\"include_usage\":\"yes\"}}",
                        400,
                        "stream_options.include_usage"),
                Arguments.of(CHAT, ASK + ",\"store\":1}", 400, "store"),
                Arguments.of(CHAT, ASK + ",\"max_tokens\":0}", 400, "max_tokens"),
                Arguments.of(CHAT, ASK + ",\"max_tokens\":1.5}", 400, "max_tokens"),
                Arguments.of(CHAT, ASK + ",\"max_tokens\":1e999}", 400, "max_tokens"),
                Arguments.of(CHAT, ASK + ",\"max_tokens\":\"5\"}", 400, "max_tokens"),
                Arguments.of(CHAT, ASK + ",\"max_tokens\":99999999999999999999999}", 400, "max_tokens"),
                Arguments.of(CHAT, ASK + ",\"temperature\":1e999}", 400, "temperature"),
                Arguments.of(CHAT, ASK + ",\"temperature\":\"hot\"}", 400, "temperature"),
                Arguments.of(CHAT, ASK + ",\"top_p\":-1}", 400, "top_p"),
                Arguments.of(CHAT, ASK + ",\"n\":0}", 400, "n"),
                Arguments.of(CHAT, ASK + ",\"tools\":{}}", 400, "tools"),
                Arguments.of(CHAT, ASK + ",\"response_format\":\"json\"}", 400, "response_format"),
                Arguments.of(CHAT, ASK + ",\"model\":5}", 400, "model"),
                Arguments.of(CHAT, ASK + ",\"model\":\"gpt-99\"}", 404, "model"),
                Arguments.of(CHAT, ASK + ",\"user\":\"" + "x".repeat(200_000) + "\"}", 413, "body"),
                Arguments.of("/query", "", 400, "body"),
                Arguments.of("/query", "nope", 400, "body"),
                Arguments.of("/query", "{\"query\":\"x\",\"query\":\"y\"}", 400, "body"),
                Arguments.of("/query", "[]", 400, "body"),
                Arguments.of("/query", "{}", 400, "query"),
                Arguments.of("/query", "{\"query\":\"\"}", 400, "query"),
                Arguments.of("/query", "{\"query\":\"  \"}", 400, "query"),
                Arguments.of("/query", "{\"prompt\":\"  \"}", 400, "prompt"),
                Arguments.of("/query", "{\"query\":7}", 400, "query"),
                Arguments.of("/query", "{\"query\":null}", 400, "query"),
                Arguments.of("/query", "{\"query\":\"" + "x".repeat(4_097) + "\"}", 400, "query"),
                Arguments.of("/query", "{\"query\":\"x\",\"surprise\":1}", 400, "surprise"),
                Arguments.of("/query", "{\"query\":\"x\",\"filters\":{\"foo\":1}}", 400, "filters.foo"),
                Arguments.of("/query", "{\"query\":\"x\",\"filters\":{\"a/b~c\":1}}", 400, "filters.a/b~c"),
                Arguments.of("/query", "{\"query\":\"x\",\"filters\":{\"language\":1}}", 400, "filters.language"),
                Arguments.of("/query", "{\"query\":\"x\",\"mode\":\"vibes\"}", 400, "mode"),
                Arguments.of("/query", "{\"query\":\"x\",\"mode\":\"sql\"}", 400, "query"),
                Arguments.of("/query", "{\"query\":\"x\",\"limit\":0}", 400, "limit"),
                Arguments.of("/query", "{\"query\":\"x\",\"limit\":1e300}", 400, "limit"),
                Arguments.of("/query", "{\"query\":\"x\",\"limit\":10000000000}", 400, "limit"),
                Arguments.of("/query", "{\"query\":\"x\",\"score_threshold\":1e999}", 400, "score_threshold"),
                Arguments.of("/query", "{\"query\":\"x\",\"llm_timeout_s\":0}", 400, "llm_timeout_s"),
                Arguments.of("/query", "{\"query\":\"x\",\"context\":[]}", 400, "context"),
                Arguments.of("/query", "{\"query\":\"x\",\"collections\":[\"nope\"]}", 400, "collections[0]"),
                Arguments.of(
                        "/query", "{\"query\":\"x\",\"force_local\":true,\"force_remote\":true}", 400, "force_remote"),
                Arguments.of("/query", "{\"query\":\"x\",\"prompt\":\"y\"}", 400, "prompt"),
                Arguments.of("/route", "{\"query\":\"x\",\"prompt\":\"y\"}", 400, "prompt"),
                Arguments.of(
                        "/query",
                        "{\"query\":\"x\",\"model\":\"millrace/remote\",\"force_local\":true}",
                        400,
                        "force_local"),
                Arguments.of(
                        "/query", "{\"query\":\"x\",\"model\":\"cloud\",\"force_local\":true}", 400, "force_local"),
                Arguments.of(
                        "/query", "{\"query\":\"x\",\"model\":\"llama\",\"force_remote\":true}", 400, "force_remote"),
                Arguments.of(
                        "/route",
                        "{\"query\":\"x\",\"model\":\"extractive\",\"force_remote\":true}",
                        400,
                        "force_remote"),
                Arguments.of("/hybrid/query", "{\"query\":\"x\",\"limit\":0}", 400, "limit"),
                Arguments.of("/route", "{\"query\":\"x\",\"limit\":5}", 400, "limit"),
                Arguments.of("/route", "{\"context\":{}}", 400, "query"),
                Arguments.of("/feedback/nope", "{\"rating\":1}", 400, "interaction_id"),
                Arguments.of("/feedback/" + ID, "{}", 400, "rating"),
                Arguments.of("/feedback/" + ID, "{\"rating\":5}", 400, "rating"),
                Arguments.of("/feedback/" + ID, "{\"rating\":1,\"note\":\"" + "x".repeat(1_001) + "\"}", 400, "note"),
                Arguments.of("/feedback/" + ID, "{\"rating\":1,\"extra\":1}", 400, "extra"),
                Arguments.of("/feedback", "{}", 400, "outcome"),
                Arguments.of("/feedback", "{\"interaction_id\":\"x\",\"outcome\":\"success\"}", 400, "interaction_id"),
                Arguments.of("/feedback", "{\"interaction_id\":\"" + ID + "\"}", 400, "outcome"),
                Arguments.of("/feedback", "{\"outcome\":\"success\"}", 400, "interaction_id"),
                Arguments.of("/feedback", "{\"user_feedback\":1}", 400, "interaction_id"),
                Arguments.of("/feedback", "{\"correction\":\"c\"}", 400, "query"),
                Arguments.of("/feedback", "{\"query\":\"q\",\"outcome\":\"success\"}", 400, "interaction_id"),
                Arguments.of(
                        "/feedback",
                        "{\"interaction_id\":\"" + ID + "\",\"rating\":1,\"user_feedback\":-1}",
                        400,
                        "user_feedback"),
                Arguments.of("/feedback", "{\"interaction_id\":\"" + ID + "\",\"outcome\":\"so-so\"}", 400, "outcome"),
                Arguments.of("/documents", "{}", 400, "content"),
                Arguments.of("/documents", "{\"content\":\" \"}", 400, "content"),
                Arguments.of("/documents", "{\"content\":\"" + "x".repeat(51_201) + "\"}", 400, "content"),
                Arguments.of("/documents", "{\"content\":\"x\",\"collection\":\"nope\"}", 400, "collection"),
                Arguments.of(
                        "/documents", "{\"content\":\"x\",\"source_trust_level\":\"holy\"}", 400, "source_trust_level"),
                Arguments.of("/documents", "{\"content\":\"x\",\"metadata\":{\"a\":1}}", 400, "metadata.a"),
                Arguments.of(
                        "/documents/batch", "{\"documents\":[{\"content\":\"a\",\"foo\":1}]}", 400, "documents[0].foo"),
                Arguments.of(
                        "/documents/batch", "{\"documents\":[{\"content\":\"a\"},{}]}", 400, "documents[1].content"),
                Arguments.of(
                        "/documents/batch",
                        "{\"documents\":[{\"content\":\"a\",\"relative_path\":\"p\"},{\"content\":\"b\",\"relative_path\":\"p\"}]}",
                        400,
                        "documents[1].relative_path"),
                Arguments.of("/documents?wait=perhaps", "{\"content\":\"x\"}", 400, "wait"),
                Arguments.of("/search", "{}", 400, "query"),
                Arguments.of("/search", "{\"query\":\"x\",\"filters\":{\"foo\":1}}", 400, "filters.foo"),
                Arguments.of("/search", "{\"query\":\"x\",\"mode\":\"vibes\"}", 400, "mode"),
                Arguments.of("/search", "{\"query\":\"x\",\"collections\":[\"nope\"]}", 400, "collections[0]"),
                Arguments.of("/augment_query", "{}", 400, "query"),
                Arguments.of("/augment_query", "{\"query\":\" \"}", 400, "query"),
                Arguments.of("/augment_query", "{\"query\":\"x\",\"mode\":\"auto\"}", 400, "mode"),
                Arguments.of("/context/multi_turn", "{\"query\":\"x\"}", 400, "session_id"),
                Arguments.of("/context/multi_turn", "{\"session_id\":\"s\"}", 400, "query"),
                Arguments.of(
                        "/context/multi_turn",
                        "{\"session_id\":\"s\",\"query\":\"x\",\"context_level\":\"huge\"}",
                        400,
                        "context_level"),
                Arguments.of(
                        "/context/multi_turn",
                        "{\"session_id\":\"s\",\"query\":\"x\",\"max_tokens\":1}",
                        400,
                        "max_tokens"),
                Arguments.of(
                        "/context/multi_turn",
                        "{\"session_id\":\"s\",\"query\":\"x\",\"previous_context_ids\":[1]}",
                        400,
                        "previous_context_ids[0]"),
                Arguments.of("/discovery/token_budget", "{\"query_type\":\"gossip\"}", 400, "query_type"),
                Arguments.of("/query", "{\"query\":\"" + "x".repeat(200_000) + "\"}", 413, "body"),
                Arguments.of("/nowhere", "{}", 404, ""),
                Arguments.of("/health", "{}", 405, ""));
    }

    @ParameterizedTest
    @MethodSource("wrong")
    void shouldNameWhatIsWrong(String path, String body, int status, String field) {
        HttpResponse<String> response = harness.post(path, body);

        assertThat(response.statusCode()).as(response.body()).isEqualTo(status);
        assertThat(fieldOf(path, response)).as(response.body()).isEqualTo(field);
        assertThat(harness.wire.sent).isEmpty();
    }

    private static String fieldOf(String path, HttpResponse<String> response) {
        JsonObject body = json(response);
        if (path.startsWith("/v1/")) {
            assertThat(response.headers().firstValue("content-type")).hasValue("application/json");
            JsonObject error = body.getJsonObject("error");
            assertThat(error.getString("message")).isNotBlank();
            assertThat(error.getString("type")).isEqualTo("invalid_request_error");
            return String.valueOf(error.getString("param"));
        }
        assertThat(response.headers().firstValue("content-type")).hasValue("application/problem+json");
        assertThat(body.getInteger("status")).isEqualTo(response.statusCode());
        assertThat(body.getString("detail")).isNotBlank();
        return body.getString("field", "");
    }

    @Test
    void shouldNameTheModesThatExistWhenAnotherIsAsked() {
        HttpResponse<String> response = harness.post("/query", "{\"query\":\"x\",\"mode\":\"vibes\"}");

        assertThat(json(response).getString("detail")).contains("auto", "keyword", "semantic", "hybrid", "tree", "sql");
    }

    static Stream<Arguments> noJson() {
        return Stream.of(
                Arguments.of("{\n \"query\": NaN}", "Non-standard token 'NaN' at line 2, column 1"),
                Arguments.of(
                        "{\n \"query\": [1", "expected close marker for Array (start marker at line 2, column 11)"),
                Arguments.of(
                        "{\"query\":" + "[".repeat(2_000),
                        "Document nesting depth (1001) exceeds the maximum allowed (1000)"),
                Arguments.of(
                        "{\"query\":" + "1".repeat(2_000) + "}",
                        "Number value length (2000) exceeds the maximum allowed (1000)"),
                Arguments.of("{\"query\":+1}", "at line 1, column "),
                Arguments.of("{\"query\":01}", "Leading zeroes not allowed at line 1, column "),
                Arguments.of("{\"query\":.5}", "at line 1, column "),
                Arguments.of("{'query':1}", "at line 1, column "),
                Arguments.of("{\"query\":'x'}", "at line 1, column "),
                Arguments.of("{/* */}", "at line 1, column "),
                Arguments.of("{#}", "at line 1, column "),
                Arguments.of("{query:1}", "at line 1, column "),
                Arguments.of("{\"query\":\"a\nb\"}", "at line 1, column "),
                Arguments.of("{\"query\":\"\\q\"}", "at line 1, column "),
                Arguments.of("{\"query\":1,}", "at line 1, column "),
                Arguments.of("{\"query\":nope}", "'nope'"),
                Arguments.of("{\"query\":\"x", "at line 1, column "));
    }

    /** The names of switches that only a program could set help nobody, and tell what we are made of. */
    @ParameterizedTest
    @MethodSource("noJson")
    void shouldSayInPlainWordsWhereABodyIsNoJson(String body, String said) {
        for (String path : List.of(CHAT, "/query")) {
            String answer = harness.post(path, body).body();
            assertThat(answer)
                    .contains(said)
                    .doesNotContain("Feature", "Source:", "REDACTED", "Stream", "`", "non-standard)", ": ()");
        }
    }

    @Test
    void shouldRefuseBytesThatAreNotUtf8() {
        byte[] broken = (ASK + "}").replace("hi", "h\u00e4").getBytes(StandardCharsets.ISO_8859_1);
        for (String path : List.of(CHAT, "/query")) {
            HttpResponse<String> response = harness.post(path, BodyPublishers.ofByteArray(broken));
            assertThat(response.statusCode()).isEqualTo(400);
            assertThat(response.body()).contains("UTF-8");
        }
    }

    @Test
    void shouldTakeFeedbackThatSaysTheSameTwice() {
        HttpResponse<String> response =
                harness.post("/feedback", "{\"interaction_id\":\"" + ID + "\",\"rating\":-1,\"user_feedback\":-1}");
        assertThat(response.statusCode()).isEqualTo(200);
        assertThat(harness.wire.sent(Feedback.class).getFirst().getRating()).isEqualTo(-1);
        harness.wire.sent.clear();
    }

    static Stream<Arguments> agreeing() {
        return Stream.of(
                Arguments.of("{\"query\":\"x\",\"prompt\":\"x\"}", ""),
                Arguments.of("{\"prompt\":\"x\",\"force_local\":true}", "local"),
                Arguments.of("{\"query\":\"x\",\"model\":\"gpt\",\"force_remote\":true}", "remote"),
                Arguments.of("{\"query\":\"x\",\"model\":\"millrace/local\",\"force_local\":true}", "local"),
                Arguments.of("{\"query\":\"x\",\"model\":\"llama\",\"force_local\":true}", "llama"),
                Arguments.of("{\"query\":\"x\",\"model\":\"extractive\",\"force_local\":true}", "extractive"),
                Arguments.of("{\"query\":\"x\",\"model\":\"cloud\",\"force_remote\":true}", "cloud"),
                Arguments.of(
                        "{\"query\":\"x\",\"model\":\"cloud\",\"force_remote\":false,\"force_local\":false}", "cloud"));
    }

    /** The side took the place of the backend that was named. */
    @ParameterizedTest
    @MethodSource("agreeing")
    void shouldKeepAllThatWasSaidWhenItAgrees(String body, String backend) {
        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.answer(query, 0, "ok"));
        assertThat(harness.post("/query", body).statusCode()).isEqualTo(200);
        assertThat(harness.wire.sent(Query.class).getLast().getBackend()).isEqualTo(backend);
        harness.wire.sent.clear();
    }

    @Test
    void shouldTakeAReplacementCharacterThatTheClientSent() {
        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.answer(query, 0, "ok"));
        HttpResponse<String> response =
                harness.post(CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"what is \uFFFD?\"}]}");
        assertThat(response.statusCode()).isEqualTo(200);
        assertThat(harness.wire.sent(Query.class).getFirst().getText()).isEqualTo("what is \uFFFD?");
        harness.wire.sent.clear();
    }

    @Test
    void shouldRefuseOtherMediaTypes() {
        for (String path : List.of(CHAT, "/query", "/documents")) {
            HttpResponse<String> response = harness.post(path, ASK + "}", "Content-Type", "text/plain");
            assertThat(response.statusCode()).isEqualTo(415);
            assertThat(response.body()).contains("application/json");
        }
    }

    /** RFC 9110: media types are the same in upper case. */
    @ParameterizedTest
    @ValueSource(strings = {"APPLICATION/JSON", "Application/Json; Charset=UTF-8", "application/json;charset=utf-8"})
    void shouldTakeJsonHoweverItsNameIsWritten(String type) {
        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.answer(query, 0, "ok"));
        for (String path : List.of("/query", "/search", "/augment_query", "/documents", "/feedback", CHAT)) {
            String body = switch (path) {
                case "/documents" -> "{\"content\":\"c\"}";
                case "/feedback" -> "{\"interaction_id\":\"" + ID + "\",\"outcome\":\"success\"}";
                case CHAT -> ASK + "}";
                default -> "{\"query\":\"x\"}";
            };
            HttpResponse<String> response = harness.post(path, body, "Content-Type", type);
            assertThat(response.statusCode())
                    .as("%s: %s", path, response.body())
                    .isBetween(200, 202);
        }
        harness.wire.sent.clear();
    }

    @ParameterizedTest
    @ValueSource(strings = {"/stats", "/stats/", "/hybrid/stats", "/v1/models", "/health/live"})
    void shouldLookAtTheMethodBeforeTheBody(String path) {
        for (HttpRequest.Builder request : List.of(
                HttpRequest.newBuilder(harness.uri(path)).POST(BodyPublishers.noBody()),
                HttpRequest.newBuilder(harness.uri(path))
                        .POST(BodyPublishers.ofString("nope"))
                        .header("Content-Type", "application/json"))) {
            HttpResponse<String> response = harness.send(request.build());
            assertThat(response.statusCode()).as(response.body()).isEqualTo(405);
            assertThat(response.headers().firstValue("Allow")).hasValue("GET, HEAD");
        }
    }

    @Test
    void shouldRefuseHeadersThatAreNoBooleansOrKeys() {
        assertThat(harness.post(CHAT, ASK + "}", "x-millrace-synthetic", "maybe")
                        .statusCode())
                .isEqualTo(400);
        assertThat(harness.post(CHAT, ASK + "}", "x-millrace-local-only", "2").statusCode())
                .isEqualTo(400);
        HttpResponse<String> key = harness.post(CHAT, ASK + "}", "Idempotency-Key", "k".repeat(256));
        assertThat(key.statusCode()).isEqualTo(400);
        assertThat(json(key).getJsonObject("error").getString("param")).isEqualTo("Idempotency-Key");
        assertThat(harness.post("/query", "{\"query\":\"x\"}", "x-millrace-cache", "perhaps")
                        .statusCode())
                .isEqualTo(400);
        HttpResponse<String> query = harness.post("/query", "{\"query\":\"x\"}", "Idempotency-Key", "k".repeat(256));
        assertThat(query.statusCode()).isEqualTo(400);
        assertThat(json(query).getString("field")).isEqualTo("Idempotency-Key");
    }

    @Test
    void shouldRefuseMalformedIdsAndWaits() {
        assertThat(harness.get("/interactions/nope").statusCode()).isEqualTo(400);
        HttpResponse<String> wait = harness.get("/interactions/" + ID + "?wait=1e9");
        assertThat(wait.statusCode()).isEqualTo(400);
        assertThat(json(wait).getString("field")).isEqualTo("wait");
        HttpResponse<String> alias = harness.get("/aidb/interactions/" + ID + "?wait=-1");
        assertThat(alias.statusCode()).isEqualTo(400);
        assertThat(json(alias).getString("field")).isEqualTo("wait");
    }

    /** A misspelt one was taken for one that is absent, and the answer looked right. */
    @Test
    void shouldNameAParameterThatIsNotOneWhenItIsOutsideOfV1() {
        for (String path : List.of(
                "/documents?limt=5",
                "/documents?limit=5&limt=5",
                "/aidb/documents?limt=5",
                "/gaps?limt",
                "/sources?limt=",
                "/stats?limt=5",
                "/interactions/" + ID + "?limt=5")) {
            named("limt", harness.get(path));
        }
        named("dry_run", harness.post("/gc?dry_run=true", "{}"));
        named("interaction_id", harness.get("/interactions/" + ID + "?interaction_id=" + ID));
        for (String path : List.of("/v1/models?limt=5", "/health/live?t=1", "/metrics?name=jvm")) {
            assertThat(harness.get(path).statusCode()).as(path).isEqualTo(200);
        }
        assertThat(harness.get("/documents?limit=5&offset=5").statusCode()).isEqualTo(200);
        for (String offset : List.of("-1", "1000000001", "x", "1.5", "")) {
            named("offset", harness.get("/documents?offset=" + offset));
        }
    }

    private static void named(String parameter, HttpResponse<String> response) {
        assertThat(response.statusCode())
                .as("%s: %s", response.uri(), response.body())
                .isEqualTo(400);
        assertThat(json(response).getString("field")).as("%s", response.uri()).isEqualTo(parameter);
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "/aidb", "/hybrid", "/ralph", "/embeddings"})
    void shouldTellErrorsInOpenAisShapeBelowV1UnderEveryPrefix(String prefix) throws IOException {
        for (HttpResponse<String> response : List.of(
                harness.post(prefix + CHAT, "{}"),
                harness.post(prefix + CHAT, ASK + "}", "Content-Type", "text/plain"),
                harness.post(prefix + CHAT, "x".repeat(200_001)),
                harness.get(prefix + CHAT),
                harness.get(prefix + "/v1/nothing"),
                harness.post(prefix + "/v1/models", "{}"))) {
            assertThat(response.statusCode()).as(response.body()).isBetween(400, 499);
            assertThat(response.headers().firstValue("content-type")).hasValue("application/json");
            assertThat(json(response).getJsonObject("error").getString("message"))
                    .isNotBlank();
        }
        for (String head : List.of(
                "GET " + prefix + "/v1/%zz HTTP/1.1\r\nHost: localhost\r\n\r\n",
                "GET " + prefix + "/v1/models HTTP/1.1\r\n\r\n",
                "GET " + prefix + "/v1/models HTTP/1.1\r\nHost: localhost\r\nno header\r\n\r\n")) {
            assertThat(HostileTest.raw(harness, head))
                    .startsWith("HTTP/1.1 400 ")
                    .contains("{\"error\":{\"message\"");
        }
        assertThat(json(harness.get(prefix + "/nothing")).getInteger("status")).isEqualTo(404);
        assertThat(json(harness.get("/aidbx/v1/models")).getInteger("status")).isEqualTo(404);
    }

    static Stream<Arguments> chats() {
        String hi = "{\"role\":\"user\",\"content\":\"hi\"}";
        return Stream.of(
                Arguments.of(message(hi), true),
                Arguments.of(message("{\"role\":\"user\"}"), false),
                Arguments.of(message("{\"role\":\"user\",\"content\":null}"), false),
                Arguments.of(message("{\"role\":\"tool\"}," + hi), false),
                Arguments.of(message("{\"role\":\"assistant\"}," + hi), true),
                Arguments.of(message("{\"role\":\"assistant\",\"content\":null}," + hi), true),
                Arguments.of(message("{\"role\":\"user\",\"content\":[{\"text\":\"hi\"}]}"), false),
                Arguments.of(message("{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hi\"}]}"), true),
                Arguments.of(message("{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":7}]}"), false),
                Arguments.of(message("{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}"), true),
                Arguments.of(message("{\"role\":\"king\",\"content\":\"x\"}"), false),
                Arguments.of(ASK + ",\"model\":\"\"}", false),
                Arguments.of(ASK + ",\"model\":\"" + "m".repeat(200) + "\"}", true),
                Arguments.of(ASK + ",\"model\":\"" + "m".repeat(201) + "\"}", false),
                Arguments.of(ASK + ",\"response_format\":{}}", false),
                Arguments.of(ASK + ",\"response_format\":null}", true),
                Arguments.of(ASK + ",\"response_format\":{\"type\":\"text\"}}", true),
                Arguments.of(ASK + ",\"stream_options\":null}", true),
                Arguments.of(ASK + ",\"stream_options\":{\"include_usage\":true,\"other\":[1]}}", true),
                Arguments.of(ASK + ",\"stream_options\":{\"include_usage\":1}}", false),
                Arguments.of(ASK + ",\"stream_options\":\"x\"}", false),
                Arguments.of(ASK + ",\"max_tokens\":5.0}", true),
                Arguments.of(ASK + ",\"max_completion_tokens\":1e1}", true),
                Arguments.of(ASK + ",\"max_tokens\":5.5}", false),
                Arguments.of(ASK + ",\"n\":null}", true),
                Arguments.of(ASK + ",\"tools\":{}}", false));
    }

    private static String message(String messages) {
        return "{\"messages\":[" + messages + "]}";
    }

    /** A client that is made from the contract must be able to trust it. */
    @ParameterizedTest
    @MethodSource("chats")
    void shouldTakeAChatWhenTheContractDoes(String body, boolean valid) {
        var operation = requireNonNull(contract.operation("createChatCompletion"));
        var media = requireNonNull(operation.getRequestBody().getContent().get("application/json"));

        assertThat(contract.getSchemaRepository()
                        .validator(media.getSchema())
                        .validate(new JsonObject(body))
                        .getValid())
                .as("by the contract")
                .isEqualTo(valid);
        if (valid) {
            assertThat(ChatRequest.parse(body)).isNotNull();
        } else {
            assertThatThrownBy(() -> ChatRequest.parse(body)).isInstanceOf(Problem.class);
        }
    }

    @Test
    void shouldHoldTheLimitsOfTheContractWhenChatIsValidatedByHand() {
        JsonObject properties = contract.getRawContract()
                .getJsonObject("components")
                .getJsonObject("schemas")
                .getJsonObject("ChatRequest")
                .getJsonObject("properties");
        int checked = 0;
        for (String field : properties.fieldNames()) {
            JsonObject schema = properties.getJsonObject(field);
            if (schema.containsKey("maximum")) {
                boolean whole = schema.getJsonArray("type").contains("integer");
                String most = whole
                        ? schema.getInteger("maximum").toString()
                        : schema.getDouble("maximum").toString();
                assertThat(ChatRequest.parse(ASK + ",\"" + field + "\":" + most + "}")
                                .text())
                        .isEqualTo("hi");
                String beyond =
                        whole ? Long.toString(schema.getLong("maximum") + 1) : schema.getDouble("maximum") + 0.1 + "";
                assertThat(harness.post(CHAT, ASK + ",\"" + field + "\":" + beyond + "}")
                                .statusCode())
                        .isEqualTo(400);
                checked++;
            }
        }
        assertThat(checked).isEqualTo(7);
    }
}
