package io.millrace.standalone;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.openai.client.OpenAIClient;
import com.openai.client.okhttp.OpenAIOkHttpClient;
import com.openai.models.chat.completions.ChatCompletion;
import com.openai.models.chat.completions.ChatCompletionCreateParams;
import io.millrace.bench.stub.StubUpstream;
import io.millrace.bench.stub.StubUpstream.Mode;
import io.millrace.config.ConfigLoader;
import io.millrace.log.Topics;
import io.millrace.schema.RoutingConfig;
import io.millrace.schema.Thresholds;
import io.millrace.standalone.error.UserException;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The spine: what a client sees, what the log says and what Postgres holds, through the running system with stub models. */
class SpineIT {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final HttpClient HTTP = HttpClient.newHttpClient();

    @TempDir
    static Path folder;

    private static StubUpstream local;
    private static StubUpstream remote;
    private static Standalone standalone;

    @BeforeAll
    static void start() throws IOException {
        local = new StubUpstream("local", 8, 5).start(0);
        remote = new StubUpstream("remote", 8, 5).start(0);
        Path config = folder.resolve("millrace.yaml");
        Files.writeString(config, """
                routing: {deadline: 40s}
                dispatch: {probe: 100ms, breaker-failures: 100, breaker-open: 10s}
                backends:
                  local:
                    kind: llama.cpp
                    deployments: [{name: local, url: "%s", timeout: 6s, capabilities: [tools]}]
                  remote:
                    kind: openai
                    deployments:
                      - {name: remote, url: "%s", model: big, timeout: 6s, input-price: 1, output-price: 2, key-env: TEST_KEY}
                models:
                  plain: {retrieval: "off", add-context: false}
                  plain-local: {backend: local, retrieval: "off", add-context: false}
                  plain-remote: {backend: remote, retrieval: "off", add-context: false}
                  private: {retrieval: "off", add-context: false, local-only: true}
                """.formatted(local.url(), remote.url()));
        standalone = Standalone.start(
                ConfigLoader.load(Optional.of(config), Map.of("TEST_KEY", "k-123"), Map.of("listen.port", "0")),
                folder.resolve("data"),
                List.of(),
                line -> {});
    }

    @AfterAll
    static void stop() {
        standalone.close();
        local.close();
        remote.close();
    }

    @BeforeEach
    void wellAgain() {
        local.reset();
        remote.reset();
        await(() -> status("local").equals("healthy") && status("remote").equals("healthy"));
    }

    @Test
    void shouldAnswerAndRecordEverywhereWhenAskedWhole() throws Exception {
        HttpResponse<String> response = chat("plain-remote", "Who are you?", "");

        assertThat(response.statusCode()).isEqualTo(200);
        assertThat(content(response)).startsWith("remote: ");
        assertThat(response.headers().firstValue("x-millrace-route")).hasValue("remote");
        assertThat(remote.seen()).singleElement().satisfies(seen -> {
            assertThat(seen.authorization()).isEqualTo("Bearer k-123");
            assertThat(seen.body().getString("model")).isEqualTo("big");
        });
        JsonNode record = recorded(id(response));
        assertThat(record.at("/interaction/outcome").asText()).isEqualTo("answered");
        assertThat(record.at("/interaction/tokens_out").asInt()).isEqualTo(80);
        // 12 in at $1 and 80 out at $2 a million
        assertThat(record.at("/interaction/cost_usd").asDouble()).isEqualTo(172e-6);
        assertThat(record.at("/decisions/0/reason").asText()).isEqualTo("forced_remote");
    }

    @Test
    void shouldForwardUnknownFieldsVerbatim() throws Exception {
        chat("plain-local", "Hi there", ",\"made_up\":{\"a\":[1,2]}");

        assertThat(local.seen())
                .singleElement()
                .satisfies(seen -> assertThat(seen.body()
                                .getJsonObject("made_up")
                                .getJsonArray("a")
                                .size())
                        .isEqualTo(2));
    }

    @ParameterizedTest
    @CsvSource({
        "plain,         '',                                                   local,      confidence_unknown",
        "plain-local,   '',                                                   local,      forced_local",
        "plain-remote,  '',                                                   remote,     forced_remote",
        "private,       '',                                                   local,      local_only",
        "extractive,    '',                                                   extractive, forced_extractive",
        "plain,         ',\"response_format\":{\"type\":\"json_object\"}',    remote,     structured_output"
    })
    void shouldRouteByTheDecisionOrder(String model, String extra, String route, String reason) throws Exception {
        HttpResponse<String> response = chat(model, "What do you think of this?", extra);

        assertThat(response.statusCode()).isEqualTo(200);
        assertThat(response.headers().firstValue("x-millrace-route")).hasValue(route);
        JsonNode record = recorded(id(response));
        assertThat(record.at("/interaction/reason").asText()).isEqualTo(reason);
        assertThat(record.at("/decisions/0/route").asText()).isEqualTo(route);
    }

    @Test
    void shouldGoRemoteWhenLocalIsLoading() throws Exception {
        local.mode(Mode.LOADING);
        await(() -> status("local").equals("loading"));

        HttpResponse<String> response = chat("plain", "Hello you", "");

        assertThat(content(response)).startsWith("remote: ");
        assertThat(recorded(id(response)).at("/interaction/reason").asText()).isEqualTo("local_loading");
    }

    @ParameterizedTest
    @CsvSource({
        "ERROR_500, backend_error",
        "RATE_LIMITED, overloaded",
        "PAYMENT_REQUIRED, backend_rejected",
        "GARBAGE, backend_garbage",
        "HANG, backend_timeout"
    })
    void shouldFallBackToRemoteWhenLocalFailsBeforeContent(Mode mode, String reason) throws Exception {
        local.mode(mode);

        HttpResponse<String> response = chat("plain", "Hello you", "");

        assertThat(content(response)).startsWith("remote: ");
        JsonNode record = recorded(id(response));
        assertThat(record.at("/interaction/attempts/0/failure/reason").asText()).isEqualTo(reason);
        assertThat(record.at("/interaction/attempts/1/reason").asText()).isEqualTo("fallback_remote");
        assertThat(record.at("/decisions")).hasSize(2);
    }

    @Test
    void shouldTellTheUpstreamsErrorWhenTheRequestIsWrong() throws Exception {
        local.mode(Mode.BAD_REQUEST);

        HttpResponse<String> response = chat("plain", "Hello you", "");

        assertThat(response.statusCode()).isEqualTo(400);
        assertThat(JSON.readTree(response.body()).at("/error/message").asText()).contains("unknown parameter");
        assertThat(remote.asked()).isZero();
        assertThat(recorded(id(response)).at("/interaction/outcome").asText()).isEqualTo("failed");
    }

    @Test
    void shouldAnswer503WithRetryAfterWhenEverythingIsOverloaded() throws Exception {
        local.mode(Mode.RATE_LIMITED);
        remote.mode(Mode.RATE_LIMITED);

        HttpResponse<String> response = chat("plain", "Hello you", "");

        assertThat(response.statusCode()).isEqualTo(503);
        assertThat(response.headers().firstValue("Retry-After")).hasValue("7");
        assertThat(recorded(id(response)).at("/interaction/failure/reason").asText())
                .isEqualTo("overloaded");
    }

    @Test
    void shouldStreamInOrderAndEndWithDone() throws Exception {
        List<String> frames = stream("plain-local");

        assertThat(frames).last().isEqualTo("[DONE]");
        assertThat(contents(frames)).isEqualTo("local: 0 1 2 3 4 5 6 7 ");
        // the usage chunk was asked for by us and not by the client
        assertThat(frames).noneMatch(frame -> frame.contains("\"usage\""));
    }

    @Test
    void shouldSendATypedErrorAndNoSecondAttemptWhenAStreamBreaksAfterContent() throws Exception {
        local.mode(Mode.RESET_MID_STREAM);

        List<String> frames = stream("plain");

        assertThat(contents(frames)).startsWith("local: 0 1 ");
        assertThat(JSON.readTree(frames.getLast()).at("/error/code").asText()).isEqualTo("stream_broken");
        assertThat(remote.asked()).isZero();
    }

    @Test
    void shouldCancelUpstreamAndRecordItWhenTheClientGoesAway() throws Exception {
        local.mode(Mode.HANG);
        int unrouted = JSON.readTree(get("/stats")).at("/routes/none").asInt();
        String marker = "cancel me " + System.nanoTime();
        var pending = HTTP.sendAsync(
                request("/v1/chat/completions", body("plain-local", marker, "")), HttpResponse.BodyHandlers.ofString());
        await(() -> local.asked() == 1);

        pending.cancel(true);

        await(() -> local.aborted() == 1);
        await(() -> sql("SELECT outcome FROM interactions WHERE query_text = '" + marker + "'")
                .equals("cancelled"));
        JsonNode stats = JSON.readTree(get("/stats"));
        assertThat(stats.at("/routes/none").asInt()).isEqualTo(unrouted + 1);
        double byRoute = get("/metrics")
                .lines()
                .filter(line -> line.startsWith("hybrid_route_decisions_total{"))
                .mapToDouble(line -> Double.parseDouble(line.substring(line.lastIndexOf(' '))))
                .sum();
        assertThat(byRoute).isEqualTo(stats.path("total_queries").asInt());
        assertThat(get("/metrics")).contains("millrace_gateway_accepted_total " + byRoute);
    }

    /** The thresholds are changed on the log, without a restart, so that any evidence falls between them. */
    @Test
    void shouldWithholdABadLocalAnswerAndTakeTheRemoteOneWhenThresholdsAreMoved() throws Exception {
        document(
                "lever.md",
                "# The blue lever\n\nThe blue lever in the mill opens the upper sluice gate by two notches.");
        local.mode(Mode.REFUSAL);
        String question = "{\"query\":\"What does the blue lever in the mill open?\",\"generate_response\":true}";
        var producer = standalone.services().log().producer();
        RoutingConfig moved = RoutingConfig.newBuilder()
                .setVersion(7L)
                .setThresholds(new Thresholds(0.9999, 0.0001, 0.8, 0.0))
                .build();
        producer.send(Topics.ROUTING_CONFIG, "default", moved).join();
        try {
            await(() -> recorded(JSON.readTree(post("/query", question).body())
                                    .path("interaction_id")
                                    .asText())
                            .at("/decisions/0/inputs/config_version")
                            .asLong()
                    == 7);

            JsonNode answer = JSON.readTree(post("/query", question).body());

            assertThat(answer.path("response").asText()).startsWith("remote: ");
            JsonNode record = recorded(answer.path("interaction_id").asText());
            assertThat(record.at("/interaction/attempts/0/route").asText()).isEqualTo("local_with_fallback");
            assertThat(record.at("/interaction/attempts/0/end").asText()).isEqualTo("withheld");
            assertThat(record.at("/interaction/attempts/1/reason").asText()).isEqualTo("quality_below_bar");

            remote.mode(Mode.BAD_REQUEST);
            JsonNode released = JSON.readTree(post("/query", question).body());

            assertThat(released.path("response").asText()).startsWith("I'm sorry");
            assertThat(recorded(released.path("interaction_id").asText())
                            .at("/interaction/attempts/2/reason")
                            .asText())
                    .isEqualTo("withheld_released");
        } finally {
            producer.tombstone(Topics.ROUTING_CONFIG, "default").join();
        }
    }

    @Test
    void shouldInjectContextAndCiteWhenTheKnowledgeHasTheAnswer() throws Exception {
        document("sluice.md", "# Sluice keeper\n\nThe sluice keeper of the old mill is called Ottokar Wendelin.");

        HttpResponse<String> response = chat("millrace/local", "Who is the sluice keeper of the old mill?", "");

        assertThat(response.statusCode()).isEqualTo(200);
        assertThat(local.seen().getFirst().body().encode())
                .contains("Ottokar Wendelin")
                .contains("sluice.md");
    }

    @Test
    void shouldAnswerFromExtractsWithTheFileWhenAskedForThem() throws Exception {
        document("rope.md", "# Rope length\n\nThe rope of the hoist measures forty-two cubits.");

        HttpResponse<String> response = chat("extractive", "How long is the rope of the hoist?", "");

        assertThat(content(response)).contains("forty-two cubits").contains("rope.md");
    }

    @Test
    void shouldAnswerLaterAndUnderAPrefixAndCountIt() throws Exception {
        JsonNode before = JSON.readTree(get("/stats"));

        HttpResponse<String> accepted = HTTP.send(
                HttpRequest.newBuilder(URI.create(standalone.url() + "/hybrid/query"))
                        .header("Content-Type", "application/json")
                        .header("Prefer", "respond-async")
                        .POST(HttpRequest.BodyPublishers.ofString(
                                "{\"query\":\"Later, please\",\"model\":\"plain-remote\",\"generate_response\":true}"))
                        .build(),
                HttpResponse.BodyHandlers.ofString());

        assertThat(accepted.statusCode()).as(accepted.body()).isEqualTo(202);
        assertThat(accepted.headers().firstValue("location")).hasValue("/interactions/" + id(accepted));
        JsonNode record = recorded(id(accepted));
        assertThat(record.at("/interaction/outcome").asText()).isEqualTo("answered");
        assertThat(record.at("/interaction/answer/text").asText()).startsWith("remote: ");
        for (String prefix : List.of("/aidb", "/hybrid", "/ralph", "/embeddings")) {
            assertThat(post(prefix + "/v1/chat/completions", body("plain-local", "And now?", ""))
                            .body())
                    .contains("local: ");
        }
        JsonNode stats = JSON.readTree(get("/stats"));
        assertThat(stats.path("total_queries").asInt())
                .isEqualTo(before.path("total_queries").asInt() + 5);
        assertThat(stats.path("remote_route").asInt())
                .isEqualTo(before.path("remote_route").asInt() + 1);
        assertThat(stats.path("local_route").asInt())
                .isEqualTo(before.path("local_route").asInt() + 4);
    }

    /** The predecessor's clients look for these. */
    @Test
    void shouldSayWhetherTheAnswerIsAModels() throws Exception {
        JsonNode evidence = JSON.readTree(post("/query", "{\"query\":\"What is the rope of the hoist?\"}")
                        .body())
                .path("results");
        assertThat(evidence.path("synthesis_skipped").asBoolean()).isTrue();
        assertThat(evidence.path("synthesis_fallback").asBoolean(true)).isFalse();
        JsonNode extract = JSON.readTree(post(
                                "/query",
                                "{\"query\":\"What is the rope of the hoist?\",\"model\":\"extractive\",\"generate_response\":true}")
                        .body())
                .path("results");
        assertThat(extract.path("synthesis_skipped").asBoolean(true)).isFalse();
        assertThat(extract.path("synthesis_fallback").asBoolean()).isTrue();
        assertThat(extract.path("tokens").toString()).isEqualTo("[\"what\",\"is\",\"rope\",\"of\",\"hoist\"]");
        local.mode(Mode.ERROR_500);
        JsonNode burst = JSON.readTree(
                        post("/query", "{\"query\":\"Hello you\",\"model\":\"plain\",\"generate_response\":true}")
                                .body())
                .path("results");
        assertThat(burst.path("remote_burst").asBoolean()).isTrue();
    }

    @Test
    void shouldKeepSecretsOutOfWhatIsStored() throws Exception {
        HttpResponse<String> response = chat("plain-local", "My key is sk-proj-abcdef123456, remember it", "");

        JsonNode record = recorded(id(response));
        assertThat(record.at("/interaction/query_text").asText())
                .contains("[REDACTED:api_key]")
                .doesNotContain("abcdef123456");

        // nor by way of what a backend says of it
        local.mode(Mode.BAD_REQUEST);
        HttpResponse<String> refused = chat("plain-local", "My key is sk-proj-abcdef123456, is it wrong?", "");
        assertThat(refused.body()).contains("unknown parameter in My key is [REDACTED:api_key]");
        JsonNode failed = recorded(id(refused));
        assertThat(failed.at("/interaction/failure/message").asText()).contains("My key is [REDACTED:api_key]");
        assertThat(failed.at("/decisions/1/failure/message").asText()).contains("My key is [REDACTED:api_key]");
        assertThat(failed.toString()).doesNotContain("abcdef123456");
    }

    @Test
    void shouldStoreNoTextWhenAskedNotTo() throws Exception {
        HttpResponse<String> response = chat("plain-local", "Forget this at once", ",\"store\":false");

        JsonNode record = recorded(id(response));
        assertThat(record.at("/interaction/query_text").asText()).isEmpty();
        assertThat(record.at("/interaction/answer/text").asText()).isEmpty();
        assertThat(record.at("/interaction/outcome").asText()).isEqualTo("answered");

        // a backend may repeat what it was asked
        local.mode(Mode.BAD_REQUEST);
        HttpResponse<String> refused = chat("plain-local", "Forget this, too", ",\"store\":false");
        assertThat(refused.body()).contains("unknown parameter in Forget this, too");
        JsonNode failed = recorded(id(refused));
        assertThat(failed.at("/interaction/failure/reason").asText()).isNotEmpty();
        assertThat(failed.path("decisions").size())
                .as("the refusal is a decision")
                .isEqualTo(2);
        assertThat(failed.toString()).doesNotContain("unknown parameter", "Forget this");
        assertThat(sql("SELECT count(*) FROM decisions d WHERE d::text LIKE '%Forget this%'"))
                .isEqualTo("0");
    }

    @Test
    void shouldAskADeploymentThatKeepsFailingNoMoreUntilItIsWell() throws Exception {
        local.mode(Mode.ERROR_500);
        HttpResponse<String> refused = chat("plain-local", "Are you ill?", "");
        for (int i = 0; i < 300 && !refused.body().contains("circuit_open"); i++) {
            refused = chat("plain-local", "Are you ill?", "");
        }

        // all that needs the open circuit comes before what waits for Postgres
        int asked = local.asked();
        HttpResponse<String> elsewhere = chat("plain", "Is anybody well?", "");
        String health = get("/health/detailed");

        assertThat(refused.statusCode()).as(refused.body()).isEqualTo(503);
        assertThat(refused.headers().firstValueAsLong("Retry-After").orElse(0))
                .as("the circuit is open for ten seconds")
                .isBetween(1L, 10L);
        assertThat(recorded(id(refused)).at("/interaction/failure/reason").asText())
                .isEqualTo("circuit_open");
        assertThat(content(elsewhere)).startsWith("remote: ");
        assertThat(recorded(id(elsewhere))
                        .at("/interaction/attempts/0/failure/reason")
                        .asText())
                .isEqualTo("circuit_open");
        assertThat(local.asked()).isEqualTo(asked);
        assertThat(health).contains("circuit open");

        local.mode(Mode.OK);
        await(() -> chat("plain-local", "Are you well?", "").statusCode() == 200);
        await(() -> !get("/health/detailed").contains("circuit "));
    }

    @Test
    void shouldRecordFeedback() throws Exception {
        String id = id(chat("plain-local", "Rate me please", ""));

        HttpResponse<String> rated = post("/feedback/" + id, "{\"rating\":1,\"note\":\"good\"}");

        assertThat(rated.statusCode()).isEqualTo(200);
        await(() -> sql("SELECT rating FROM feedback WHERE interaction_id = '" + id + "'")
                .equals("1"));
    }

    @Test
    void shouldPutADeadLetterAndGoOnWhenARecordCannotBeDecoded() throws Exception {
        standalone
                .services()
                .log()
                .producer()
                .sendRaw(Topics.QUERIES, "x".getBytes(java.nio.charset.StandardCharsets.UTF_8), new byte[] {9, 9})
                .join();
        standalone
                .services()
                .log()
                .producer()
                .sendRaw(Topics.RETRIEVALS, "x".getBytes(java.nio.charset.StandardCharsets.UTF_8), new byte[] {9})
                .join();

        assertThat(chat("plain-local", "Still there?", "").statusCode()).isEqualTo(200);
        await(() -> get("/metrics").contains("millrace_dead_letters_total{step=\"retrieval\"}"));
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            /query               | {                                                       | 400 | body
            /query               | {"query":""}                                            | 400 | query
            /query               | {"query":5}                                             | 400 | query
            /query               | {"query":"x","mode":"vibes"}                            | 400 | mode
            /query               | {"query":"x","unknown":1}                               | 400 | unknown
            /query               | {"query":"x","limit":1e99}                              | 400 | limit
            /query               | {"query":"x","force_local":true,"force_remote":true}    | 400 | force_remote
            /query               | {"query":"x","collections":["nope"]}                    | 400 | collections[0]
            /search              | {"query":"x","collections":["nope"]}                    | 400 | collections[0]
            /documents           | {"content":""}                                          | 400 | content
            /documents           | {"content":"x","collection":"nope"}                     | 400 | collection
            /feedback/nonsense   | {"rating":1}                                            | 400 | interaction_id
            /feedback            | {}                                                      | 400 | outcome
            /v1/chat/completions | {"model":"nope","messages":[{"role":"user","content":"x"}]} | 404 | model
            /v1/chat/completions | {"model":"millrace","messages":[]}                      | 400 | messages
            /v1/chat/completions | {"model":"millrace","messages":[{"role":"user"}]}       | 400 | messages[0].content
            """)
    void shouldNameTheFieldWhenTheRequestIsWrong(String path, String body, int status, String field) throws Exception {
        HttpResponse<String> response = post(path, body);

        assertThat(response.statusCode()).isEqualTo(status);
        JsonNode json = JSON.readTree(response.body());
        assertThat(
                        path.startsWith("/v1")
                                ? json.at("/error/param").asText()
                                : json.path("field").asText())
                .isEqualTo(field);
    }

    @Test
    void shouldRefuseAQueryThatIsTooLong() throws Exception {
        assertThat(post("/query", "{\"query\":\"" + "x".repeat(4_097) + "\"}").statusCode())
                .isEqualTo(400);
        assertThat(post("/query", "{\"query\":\"" + "x".repeat(17 << 20) + "\"}")
                        .statusCode())
                .isEqualTo(413);
    }

    @Test
    void shouldServeTheOfficialClientWholeAndStreamed() {
        OpenAIClient client = OpenAIOkHttpClient.builder()
                .apiKey("none")
                .baseUrl(standalone.url() + "/v1")
                .build();
        ChatCompletionCreateParams params = ChatCompletionCreateParams.builder()
                .model("plain-remote")
                .addUserMessage("Hello")
                .build();

        ChatCompletion whole = client.chat().completions().create(params);
        String streamed;
        try (var response = client.chat().completions().createStreaming(params)) {
            streamed = response.stream()
                    .flatMap(chunk -> chunk.choices().stream())
                    .flatMap(choice -> choice.delta().content().stream())
                    .collect(Collectors.joining());
        }

        assertThat(whole.choices().getFirst().message().content())
                .get()
                .asString()
                .startsWith("remote: ");
        assertThat(streamed).isEqualTo("remote: 0 1 2 3 4 5 6 7 ");
    }

    @Test
    void shouldRejectASecondInstanceOnTheSameData() {
        org.assertj.core.api.Assertions.assertThatThrownBy(() -> Standalone.start(
                        ConfigLoader.load(Optional.empty(), Map.of(), Map.of("listen.port", "0")),
                        folder.resolve("data"),
                        List.of(),
                        line -> {}))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("is in use by pid");
    }

    @Test
    void shouldSeeWhatAWriteThatWaitedChanged() throws Exception {
        for (String height : List.of("nine", "eleven", "eleven", "nine")) {
            document("lock.md", "# The lock\n\nThe lock lifts a barge by " + height + " feet.");

            JsonNode found = JSON.readTree(post("/search", "{\"query\":\"How far does the lock lift a barge?\"}")
                    .body());

            List<String> texts = new ArrayList<>();
            found.path("results")
                    .forEach(hit -> texts.add(hit.at("/payload/content").asText()));
            assertThat(texts)
                    .filteredOn(text -> text.contains("lifts a barge"))
                    .singleElement()
                    .asString()
                    .contains(height + " feet");
        }
    }

    // ---- how it is asked

    private static void document(String path, String content) throws Exception {
        String body = JSON.createObjectNode()
                .put("content", content)
                .put("relative_path", path)
                .toString();
        HttpResponse<String> response = post("/documents?wait=true", body);
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
    }

    private static HttpResponse<String> chat(String model, String question, String extra) throws Exception {
        return post("/v1/chat/completions", body(model, question, extra));
    }

    private static String body(String model, String question, String extra) {
        return "{\"model\":\"" + model + "\",\"messages\":[{\"role\":\"user\",\"content\":\"" + question + "\"}]"
                + extra + "}";
    }

    private static List<String> stream(String model) throws Exception {
        HttpResponse<Stream<String>> response = HTTP.send(
                request("/v1/chat/completions", body(model, "Stream to me", ",\"stream\":true")),
                HttpResponse.BodyHandlers.ofLines());
        return response.body()
                .filter(line -> line.startsWith("data: "))
                .map(line -> line.substring(6))
                .toList();
    }

    private static String contents(List<String> frames) throws IOException {
        StringBuilder text = new StringBuilder();
        for (String frame : frames) {
            if (frame.startsWith("{")) {
                text.append(JSON.readTree(frame).at("/choices/0/delta/content").asText(""));
            }
        }
        return text.toString();
    }

    private static HttpResponse<String> post(String path, String body) throws Exception {
        return HTTP.send(request(path, body), HttpResponse.BodyHandlers.ofString());
    }

    private static HttpRequest request(String path, String body) {
        return HttpRequest.newBuilder(URI.create(standalone.url() + path))
                .timeout(Duration.ofSeconds(60))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build();
    }

    private static String get(String path) throws Exception {
        return HTTP.send(
                        HttpRequest.newBuilder(URI.create(standalone.url() + path))
                                .build(),
                        HttpResponse.BodyHandlers.ofString())
                .body();
    }

    private static String content(HttpResponse<String> response) throws IOException {
        return JSON.readTree(response.body()).at("/choices/0/message/content").asText();
    }

    private static String id(HttpResponse<String> response) {
        return response.headers().firstValue("x-millrace-interaction-id").orElseThrow();
    }

    /** What Postgres holds of an interaction. */
    private static JsonNode recorded(String id) throws Exception {
        JsonNode record = JSON.readTree(get("/interactions/" + id + "?wait=15"));
        assertThat(record.path("interaction").isObject()).as("row of %s", id).isTrue();
        await(() -> JSON.readTree(get("/interactions/" + id)).path("decisions").size()
                >= record.at("/interaction/attempts").size());
        return JSON.readTree(get("/interactions/" + id));
    }

    private static String status(String deployment) throws Exception {
        for (JsonNode backend : JSON.readTree(get("/status")).path("backends")) {
            if (backend.path("deployment").asText().equals(deployment)) {
                return backend.path("status").asText();
            }
        }
        return "unknown";
    }

    private static String sql(String select) throws SQLException {
        io.millrace.standalone.parts.Endpoints at = standalone.endpoints();
        try (var connection = DriverManager.getConnection(at.jdbcUrl(), at.user(), at.password());
                var rows = connection.createStatement().executeQuery(select)) {
            return rows.next() ? String.valueOf(rows.getString(1)) : "";
        }
    }

    private static void await(java.util.concurrent.Callable<Boolean> condition) {
        Awaitility.await()
                .atMost(Duration.ofSeconds(60))
                .pollInterval(Duration.ofMillis(50))
                .ignoreExceptions()
                .until(condition);
    }
}
