package io.millrace.gateway;

import static io.millrace.gateway.GatewayHarness.CHAT;
import static io.millrace.gateway.GatewayHarness.json;
import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import io.millrace.id.Ids;
import io.millrace.log.Vocabulary.CompletionKind;
import io.millrace.log.Vocabulary.FailureReason;
import io.millrace.log.Vocabulary.ReplyKind;
import io.millrace.schema.Answer;
import io.millrace.schema.Command;
import io.millrace.schema.Failure;
import io.millrace.schema.Feedback;
import io.millrace.schema.Query;
import io.millrace.schema.RawDocument;
import io.millrace.schema.Reply;
import io.millrace.schema.SearchNote;
import io.vertx.core.json.JsonObject;
import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What clients get for what the log says, over a real HTTP server. */
class QueryPathTest {
    private static final String HI = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"strange\":[1,{}]}";
    private static final String HI_STREAM = "{\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";

    private GatewayHarness harness;

    @BeforeEach
    void start() {
        harness = new GatewayHarness();
    }

    @AfterEach
    void stop() {
        harness.close();
    }

    private Query query() {
        await().until(() -> !harness.wire.sent(Query.class).isEmpty());
        return harness.wire.sent(Query.class).getLast();
    }

    private CompletableFuture<HttpResponse<String>> postAsync(String path, String body, String... headers) {
        HttpRequest.Builder request = HttpRequest.newBuilder(harness.uri(path))
                .POST(BodyPublishers.ofString(body))
                .header("Content-Type", "application/json");
        if (headers.length > 0) {
            request.headers(headers);
        }
        return harness.http().sendAsync(request.build(), BodyHandlers.ofString());
    }

    @Test
    void shouldWriteTheWholeQueryWhenChatIsAsked() {
        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.answer(query, 0, "hello"));

        HttpResponse<String> response = harness.post(
                CHAT,
                "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"system\",\"content\":\"be kind\"},"
                        + "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"what\\u200b is\"},{\"type\":\"text\",\"text\":\"this\"}]}],"
                        + "\"store\":false,\"max_tokens\":7,\"temperature\":0.5,\"tools\":[{\"type\":\"function\"}],"
                        + "\"response_format\":{\"type\":\"json_object\"},\"unheard_of\":{\"a\":[1]}}",
                "x-millrace-synthetic",
                "true",
                "x-millrace-cache",
                "true",
                "x-millrace-local-only",
                "true",
                "traceparent",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");

        assertThat(response.statusCode()).isEqualTo(200);
        Query query = query();
        assertThat(query.getText()).isEqualTo("what is\nthis");
        assertThat(query.getBody()).contains("\"unheard_of\":{\"a\":[1]}").contains("\\u200b");
        assertThat(query.getModel()).isEqualTo("gpt-4o");
        assertThat(query.getRetrieval()).isEqualTo("off");
        assertThat(query.getStore()).isFalse();
        assertThat(query.getTools()).isTrue();
        assertThat(query.getAddContext()).isFalse();
        assertThat(query.getStructured()).isTrue();
        assertThat(query.getMaxTokens()).isEqualTo(7);
        assertThat(query.getTemperature()).isEqualTo(0.5);
        assertThat(query.getCache()).isTrue();
        assertThat(query.getLocalOnly()).isTrue();
        assertThat(query.getLocalOnlyReason()).isEqualTo("request");
        assertThat(query.getEnvelope().getSynthetic()).isTrue();
        assertThat(query.getEnvelope().getTraceId()).isEqualTo("4bf92f3577b34da6a3ce929d0e0e4736");
        assertThat(query.getDeadlineAt()).isEqualTo(query.getEnvelope().getOccurredAt() + 20_000);
        assertThat(Ids.isEventId(query.getInteractionId())).isTrue();
    }

    @Test
    void shouldAnswerInOpenAisShapeWhenTheBackendIsBuiltIn() {
        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.answer(query, 0, "hello"));

        HttpResponse<String> response = harness.post(CHAT, HI);

        JsonObject body = json(response);
        assertThat(body.getString("object")).isEqualTo("chat.completion");
        assertThat(body.getJsonArray("choices")
                        .getJsonObject(0)
                        .getJsonObject("message")
                        .getString("content"))
                .isEqualTo("hello");
        assertThat(body.getJsonObject("usage").getInteger("total_tokens")).isEqualTo(8);
        assertThat(response.headers().firstValue("x-millrace-interaction-id")).hasValue(query().getInteractionId());
        assertThat(response.headers().firstValue("x-millrace-route")).hasValue("local");
        assertThat(response.headers().firstValue("x-millrace-backend")).hasValue("llama");
        assertThat(response.headers().firstValue("x-millrace-confidence")).hasValue("0.9");
        assertThat(response.headers().firstValue("x-millrace-cached")).hasValue("false");
    }

    @Test
    void shouldPassTheBodyOfABackendVerbatim() {
        String verbatim = "{\"id\":\"x\",  \"odd\":1}";
        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.from(query, "final", 0)
                .setAnswer(
                        Answer.newBuilder().setText("hello").setBody(verbatim).build()));

        assertThat(harness.post(CHAT, HI).body()).isEqualTo(verbatim);
    }

    @Test
    void shouldStreamVerbatimAndEndWithDone() {
        harness.wire.onQuery = (wire, query) -> {
            wire.reply(FakeWire.delta(query, 0, "{\"a\": 1}"));
            wire.reply(FakeWire.delta(query, 1, "{\"b\":2}"));
            wire.reply(FakeWire.answer(query, 2, "ab").setData("{\"c\":3}\n{\"d\":4}"));
        };

        HttpResponse<String> response = harness.post(CHAT, HI_STREAM);

        assertThat(response.headers().firstValue("content-type")).hasValue("text/event-stream");
        assertThat(response.headers().firstValue("x-millrace-route")).hasValue("local");
        assertThat(response.body())
                .isEqualTo(
                        "data: {\"a\": 1}\n\ndata: {\"b\":2}\n\ndata: {\"c\":3}\n\ndata: {\"d\":4}\n\ndata: [DONE]\n\n");
        assertThat(query().getStream()).isTrue();
    }

    @Test
    void shouldForwardOneAttemptOnceWhenRepliesAreDoubledOrOfAnotherAttempt() {
        harness.wire.onQuery = (wire, query) -> {
            wire.reply(FakeWire.delta(query, 0, "one"));
            wire.reply(FakeWire.delta(query, 0, "other").setAttempt(2));
            wire.reply(FakeWire.delta(query, 0, "one"));
            wire.reply(FakeWire.delta(query, 1, "two").setGatewayId("another gateway"));
            wire.reply(FakeWire.delta(query, 1, "two"));
            wire.reply(FakeWire.answer(query, 2, ""));
            wire.reply(FakeWire.delta(query, 3, "late"));
        };

        assertThat(harness.post(CHAT, HI_STREAM).body()).isEqualTo("data: one\n\ndata: two\n\ndata: [DONE]\n\n");
    }

    @Test
    void shouldTellABrokenStreamAndCancelWhenAPieceIsMissing() {
        harness.wire.onQuery = (wire, query) -> {
            wire.reply(FakeWire.delta(query, 0, "one"));
            wire.reply(FakeWire.delta(query, 2, "three"));
        };

        HttpResponse<String> response = harness.post(CHAT, HI_STREAM);

        assertThat(response.body())
                .startsWith("data: one\n\ndata: {\"error\":")
                .contains("stream_broken")
                .doesNotContain("[DONE]");
        assertThat(harness.wire.sent(Command.class)).singleElement().satisfies(command -> {
            assertThat(command.getKind()).isEqualTo("cancel");
            assertThat(command.getTarget()).isEqualTo(query().getInteractionId());
        });
    }

    @Test
    void shouldSendATypedErrorEventWhenTheBackendFailsAfterContent() {
        harness.wire.onQuery = (wire, query) -> {
            wire.reply(FakeWire.delta(query, 0, "one"));
            wire.reply(FakeWire.error(query, 1, "stream_broken", 502));
        };

        HttpResponse<String> response = harness.post(CHAT, HI_STREAM);

        assertThat(response.statusCode()).isEqualTo(200);
        String event = response.body()
                .lines()
                .filter(line -> line.contains("error"))
                .findFirst()
                .orElseThrow();
        JsonObject error = new JsonObject(event.substring("data: ".length())).getJsonObject("error");
        assertThat(error.getString("code")).isEqualTo("stream_broken");
        assertThat(error.getString("type")).isEqualTo("server_error");
    }

    @Test
    void shouldAnswerWithAStatusWhenItFailsBeforeContent() {
        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.error(query, 0, "overloaded", 503));

        for (String body : List.of(HI, HI_STREAM)) {
            HttpResponse<String> response = harness.post(CHAT, body);
            assertThat(response.statusCode()).isEqualTo(503);
            assertThat(response.headers().firstValue("retry-after")).hasValue("2");
            assertThat(json(response).getJsonObject("error").getString("code")).isEqualTo("overloaded");
            assertThat(response.headers().firstValue("x-millrace-route")).hasValue("local");
        }
    }

    @Test
    void shouldNeverSay500WhenABackendDid() {
        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.error(query, 0, "backend_error", 500));

        assertThat(harness.post(CHAT, HI).statusCode()).isEqualTo(502);
    }

    @Test
    void shouldAnswerInThePredecessorsShapeWhenQueried() {
        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.answer(query, 0, "found")
                .setBackend("cloud")
                .setRoute("remote")
                .setAttempt(2)
                .setAnswer(Answer.newBuilder()
                        .setText("found")
                        .setBody("{\"usage\":{\"prompt_tokens_details\":{\"cached_tokens\":5}}}")
                        .build())
                .setHits(List.of(
                        GatewayHarness.hit("p1", 0.5, null),
                        GatewayHarness.hit("p2", 0.8, 2.0),
                        GatewayHarness.hit("p3", null, 9.0))));

        HttpResponse<String> response = harness.post(
                "/query",
                "{\"prompt\":\"how?\",\"mode\":\"keyword\",\"prefer_local\":false,\"force_remote\":true,\"limit\":1,"
                        + "\"keyword_limit\":2,\"collections\":[\"nixos-docs\"],\"generate_response\":true,"
                        + "\"context\":{\"os\":\"nixos\"},\"max_tokens\":9,\"llm_timeout_s\":3}");

        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        JsonObject body = json(response);
        assertThat(body.getString("route")).isEqualTo("keyword");
        assertThat(body.getString("backend")).isEqualTo("remote");
        assertThat(body.getString("response")).isEqualTo("found");
        assertThat(body.getInteger("latency_ms")).isNotNegative();
        assertThat(body.getString("interaction_id")).isEqualTo(query().getInteractionId());
        assertThat(body.getJsonObject("decision").getString("reason")).isEqualTo("confidence_high");
        JsonObject discovery = body.getJsonObject("capability_discovery");
        assertThat(discovery.getString("decision")).isEqualTo("skipped");
        assertThat(discovery.getString("reason")).isEqualTo("no_convincing_context");
        assertThat(discovery.getJsonArray("intent_tags")).containsExactly("synthesize", "keyword");
        assertThat(discovery.getJsonArray("datasets")).isEmpty();
        JsonObject results = body.getJsonObject("results");
        assertThat(results.getJsonArray("combined_results")).hasSize(3);
        assertThat(results.getJsonArray("semantic_results")).hasSize(1);
        assertThat(results.getJsonArray("semantic_results").getJsonObject(0).getString("id"))
                .isEqualTo("p2");
        assertThat(results.getJsonArray("semantic_results").getJsonObject(0).getDouble("score"))
                .isEqualTo(0.8);
        assertThat(results.getJsonArray("keyword_results").getJsonObject(0).getString("id"))
                .isEqualTo("p3");
        assertThat(results.fieldNames())
                .contains(
                        "combined_results",
                        "semantic_results",
                        "keyword_results",
                        "sql_results",
                        "tokens",
                        "collections",
                        "prompt_cache",
                        "context_compression",
                        "synthesis_fallback",
                        "synthesis_skipped",
                        "remote_burst");
        assertThat(results.getJsonArray("tokens")).containsExactly("how");
        assertThat(results.getJsonObject("prompt_cache").getInteger("cached_tokens"))
                .isEqualTo(5);
        assertThat(results.getBoolean("synthesis_skipped")).isFalse();
        assertThat(results.getBoolean("synthesis_fallback")).isFalse();
        assertThat(results.getBoolean("remote_burst")).isTrue();
        JsonObject item = results.getJsonArray("combined_results").getJsonObject(1);
        assertThat(item.fieldNames())
                .contains("collection", "id", "score", "payload", "source", "sources", "rerank_score");
        Query query = query();
        assertThat(query.getApi()).isEqualTo("query");
        assertThat(query.getBackend()).isEqualTo("remote");
        assertThat(query.getRetrieval()).isEqualTo("keyword");
        assertThat(query.getGenerate()).isTrue();
        assertThat(query.getPreferLocal()).isFalse();
        assertThat(query.getCollections()).containsExactly("nixos-docs");
        assertThat(query.getDeadlineAt()).isEqualTo(query.getEnvelope().getOccurredAt() + 3_000);
        JsonObject chat = new JsonObject(query.getBody());
        assertThat(chat.getInteger("max_tokens")).isEqualTo(9);
        assertThat(chat.getJsonArray("messages").getJsonObject(0).getString("content"))
                .contains("\"os\":\"nixos\"");
        assertThat(chat.getJsonArray("messages").getJsonObject(1).getString("content"))
                .isEqualTo("how?");
    }

    @Test
    void shouldWriteATurnOfASessionAndAnswerWithItsContext() {
        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.answer(query, 0, "[1] A (a.md)\ntext")
                .setHits(List.of(GatewayHarness.hit("p1", 0.7, null), GatewayHarness.hit("p2", 0.6, 3.5)))
                .setSearch(SearchNote.newBuilder()
                        .setSessionTurn(3)
                        .setUsed(List.of("p1"))
                        .setCollections(List.of("error-solutions"))
                        .setTokensBefore(90)
                        .setTokensAfter(11)
                        .build()));

        JsonObject body = json(harness.post(
                "/context/multi_turn",
                "{\"session_id\":\"s\",\"query\":\"why?\",\"previous_context_ids\":[\"p0\"],\"max_tokens\":700}"));

        Query query = query();
        assertThat(query.getApi()).isEqualTo("context");
        assertThat(query.getGenerate()).isFalse();
        assertThat(query.getAddContext()).isTrue();
        assertThat(query.getSessionId()).isEqualTo("s");
        assertThat(query.getContextLevel()).isEqualTo("standard");
        assertThat(query.getContextTokens()).isEqualTo(700);
        assertThat(query.getLimit()).isEqualTo(3);
        assertThat(query.getExclude()).containsExactly("p0");
        assertThat(body.getString("context")).isEqualTo("[1] A (a.md)\ntext");
        assertThat(body.getJsonArray("context_ids")).containsExactly("p1");
        assertThat(body.getInteger("turn_number")).isEqualTo(3);
        assertThat(body.getInteger("token_count")).isEqualTo(11);
        assertThat(body.getJsonArray("collections_searched")).containsExactly("error-solutions");
        assertThat(body.getJsonArray("suggestions").encode())
                .contains("guide/p2.md")
                .contains("context_level detailed")
                .doesNotContain("guide/p1.md");
    }

    @Test
    void shouldReturnTheQuestionItselfWhenThereIsNoContextToAugmentItWith() {
        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.answer(query, 0, ""));

        JsonObject body = json(harness.post("/augment_query", "{\"query\":\"why?\",\"agent_type\":\"coder\"}"));

        assertThat(query().getApi()).isEqualTo("augment");
        assertThat(new JsonObject(query().getBody()).getString("user")).isEqualTo("coder");
        assertThat(body.getString("augmented_prompt")).isEqualTo("why?");
        assertThat(body.getInteger("context_count")).isZero();
        assertThat(body.getJsonObject("capability_discovery").getString("decision"))
                .isEqualTo("skipped");
    }

    /** A client that is told when to come back must find the way: the batch is in the message. */
    @Test
    void shouldRefuseDocumentsOverTheLimitOfAMinuteAndSayWhenToComeBack() {
        String body = "{\"relative_path\":\"a.md\",\"content\":\"text\"}";
        long began = System.nanoTime();
        HttpResponse<String> first = harness.post("/documents", body);
        assertThat(first.statusCode()).as(first.body()).isEqualTo(202);
        assertThat(first.headers().firstValue("X-RateLimit-Limit")).hasValue("100");
        assertThat(first.headers().firstValue("X-RateLimit-Remaining")).hasValue("99");
        // what is wrong, deletions and batches count as well; searches do not
        harness.post("/documents/batch", "{\"documents\":[" + body + "]}");
        harness.post("/search", "{\"query\":\"text\"}");

        HttpResponse<String> last = first;
        int refusedAt = 0;
        for (int i = 3; i <= 1_000 && refusedAt == 0; i++) {
            last = harness.post("/documents", body);
            refusedAt = last.statusCode() == 429 ? i : 0;
        }

        // room for one comes back every 600 ms
        int back = (int) Duration.ofNanos(System.nanoTime() - began).dividedBy(Duration.ofMillis(600));
        assertThat(refusedAt).isBetween(101, 102 + back);
        assertThat(last.headers().firstValue("Retry-After")).hasValue("1");
        assertThat(last.headers().firstValue("X-RateLimit-Remaining")).hasValue("0");
        assertThat(last.headers().firstValue("Content-Type")).hasValue("application/problem+json");
        assertThat(json(last).getString("code")).isEqualTo("rate_limited");
        assertThat(json(last).getString("detail"))
                .contains("100 requests a minute")
                .contains("/documents/batch");
        assertThat(harness.metrics.get("millrace.gateway.limited").counter().count())
                .isEqualTo(1);
    }

    @Test
    void shouldAnswer404ForASessionThatIsNotThereAndClearItAllTheSame() {
        HttpResponse<String> missing = harness.get("/session/nobody");
        assertThat(missing.statusCode()).isEqualTo(404);
        assertThat(json(missing).getString("detail")).isEqualTo("session not found");
        assertThat(json(missing).getString("field")).isEqualTo("session_id");
        assertThat(harness.get("/session/" + "x".repeat(201)).statusCode()).isEqualTo(400);
    }

    @Test
    void shouldTellBudgetsByKindAndLevel() {
        assertThat(json(harness.post("/discovery/token_budget", "{}")).getMap())
                .containsEntry("standard", 500)
                .containsEntry("detailed", 1_000)
                .containsEntry("comprehensive", 2_000);
        assertThat(json(harness.post(
                                "/hybrid/discovery/token_budget",
                                "{\"query_type\":\"implementation\",\"context_level\":\"detailed\"}"))
                        .getInteger("recommended"))
                .isEqualTo(3_000);
    }

    @Test
    void shouldAnswerInTheSeedsShapeWhenRouted() {
        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.answer(query, 0, "so"));

        for (String path : List.of("/route", "/hybrid/route", "/aidb/route")) {
            JsonObject body = json(harness.post(path, "{\"query\":\"how?\",\"context\":{},\"prefer_local\":true}"));
            assertThat(body.getString("response")).isEqualTo("so");
            assertThat(body.getString("route")).isEqualTo("local");
            assertThat(body.getDouble("confidence")).isEqualTo(0.9);
            assertThat(body.getDouble("cost")).isEqualTo(0.25);
            assertThat(body.getBoolean("cached")).isFalse();
            assertThat(body.containsKey("value_score")).isTrue();
            assertThat(body.getValue("value_score")).isNull();
            assertThat(body.getBoolean("learned")).isFalse();
        }
        assertThat(query().getGenerate()).isTrue();
    }

    @Test
    void shouldAnswer202WithALocationWhenAskedToRespondAsync() {
        HttpResponse<String> response =
                harness.post("/query", "{\"query\":\"how?\"}", "Prefer", "wait=10, Respond-Async; x=1");

        assertThat(response.statusCode()).isEqualTo(202);
        assertThat(response.headers().firstValue("location")).hasValue("/interactions/" + query().getInteractionId());

        harness.wire.sent.clear();
        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.answer(query, 0, "ok"));
        assertThat(harness.post("/query", "{\"query\":\"how?\"}", "Prefer", "no-respond-async")
                        .statusCode())
                .isEqualTo(200);
    }

    @Test
    void shouldRefuseMoreThanTheLimitWhenQueriesAreInFlight() {
        List<CompletableFuture<HttpResponse<String>>> waiting = new ArrayList<>();
        for (int i = 0; i < GatewayHarness.IN_FLIGHT; i++) {
            waiting.add(postAsync(CHAT, HI));
        }
        await().until(() -> harness.wire.sent(Query.class).size() == GatewayHarness.IN_FLIGHT);

        HttpResponse<String> refused = harness.post(CHAT, HI);
        assertThat(refused.statusCode()).isEqualTo(503);
        assertThat(refused.headers().firstValue("retry-after")).hasValue("1");

        harness.wire.sent(Query.class).forEach(query -> harness.wire.reply(FakeWire.answer(query, 0, "ok")));
        waiting.forEach(response -> assertThat(response.join().statusCode()).isEqualTo(200));
        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.answer(query, 0, "ok"));
        assertThat(harness.post(CHAT, HI).statusCode()).isEqualTo(200);
    }

    @Test
    void shouldAnswer503LongBeforeTheDeadlineWhenTheLogIsAway() {
        harness.wire.down = true;
        long started = System.nanoTime();
        CompletableFuture<HttpResponse<String>> feedback = postAsync("/feedback/" + Ids.next(), "{\"rating\":1}");

        HttpResponse<String> response = harness.post(CHAT, HI);

        assertThat(response.statusCode()).isEqualTo(503);
        assertThat(TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - started)).isLessThan(20_000);
        assertThat(response.headers().firstValue("retry-after")).isPresent();
        assertThat(feedback.join().statusCode()).isEqualTo(503);
    }

    @Test
    void shouldAnswer504WhenNoReplyComesBeforeTheDeadline() {
        HttpResponse<String> response = harness.post("/query", "{\"query\":\"how?\",\"llm_timeout_s\":1}");

        assertThat(response.statusCode()).isEqualTo(504);
        assertThat(json(response).getString("code")).isEqualTo("deadline_exceeded");
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void shouldHoldTheFinalBackUntilTheLogHasTheAnswer(boolean stream) throws Exception {
        CompletableFuture<HttpResponse<String>> asked = postAsync(CHAT, stream ? HI_STREAM : HI);
        Reply reply = FakeWire.answer(query(), 0, "hello").setAttempt(2).build();

        harness.wire.completed(Reply.newBuilder(reply).setAttempt(1).build(), CompletionKind.FAILED);
        harness.wire.completed(reply, CompletionKind.STARTED);
        harness.wire.completed(reply, CompletionKind.HEARTBEAT);
        harness.wire.completed(reply, CompletionKind.FAILED);
        harness.wire.replyOnly(reply);
        Thread.sleep(200);
        assertThat(asked)
                .as("other steps, and ends of attempts that routing goes on after, are no record of this answer")
                .isNotDone();

        harness.wire.completed(reply, CompletionKind.ANSWERED);

        HttpResponse<String> response = asked.get(60, TimeUnit.SECONDS);
        assertThat(response.statusCode()).isEqualTo(200);
        assertThat(response.body()).contains("hello");
    }

    /** A broker that was away took the answer when the query had been ended: the client had it, and the record said failed. */
    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void shouldNotTellAnAnswerWhenTheLogHadAnotherEndBefore(boolean finalFirst) throws Exception {
        CompletableFuture<HttpResponse<String>> asked = postAsync(CHAT, HI);
        Reply answer = FakeWire.answer(query(), 0, "hello").setAttempt(1).build();
        Reply error = FakeWire.from(query(), ReplyKind.ERROR, 0)
                .setAttempt(2)
                .setFailure(Failure.newBuilder()
                        .setReason(FailureReason.WORKER_LOST)
                        .setHttpStatus(502)
                        .build())
                .build();
        if (finalFirst) {
            harness.wire.replyOnly(answer);
        }
        harness.wire.completed(error, CompletionKind.FAILED, true);
        harness.wire.completed(answer, CompletionKind.ANSWERED);
        if (!finalFirst) {
            harness.wire.replyOnly(answer);
        }
        Thread.sleep(200);
        assertThat(asked).isNotDone();

        harness.wire.replyOnly(error);

        HttpResponse<String> response = asked.get(5, TimeUnit.SECONDS);
        assertThat(response.statusCode()).isEqualTo(502);
        assertThat(response.body()).contains("worker_lost");
    }

    /** Two workers may answer when the first was held for lost; the record has the first one's. */
    @Test
    void shouldTellTheAnswerThatTheLogHasFirstWhenThereAreTwo() throws Exception {
        CompletableFuture<HttpResponse<String>> asked = postAsync(CHAT, HI);
        Reply first = FakeWire.answer(query(), 0, "hello").setAttempt(1).build();
        Reply second = FakeWire.answer(query(), 0, "good day").setAttempt(2).build();
        harness.wire.replyOnly(second);
        harness.wire.completed(first, CompletionKind.ANSWERED);
        harness.wire.completed(second, CompletionKind.ANSWERED);

        harness.wire.replyOnly(first);

        assertThat(asked.get(5, TimeUnit.SECONDS).body()).contains("hello").doesNotContain("good day");
    }

    @Test
    void shouldTellTheAnswerThatItsRecordCarries() throws Exception {
        CompletableFuture<HttpResponse<String>> asked = postAsync("/route", "{\"query\":\"how?\"}");
        assertThat(query().getToldByEnd()).isTrue();

        harness.wire.told(query(), 2, "hello");
        // a worker that was held for lost
        harness.wire.told(query(), 1, "good day");

        HttpResponse<String> response = asked.get(60, TimeUnit.SECONDS);
        assertThat(response.headers().firstValue("x-millrace-interaction-id")).hasValue(query().getInteractionId());
        assertThat(response.headers().firstValue("x-millrace-backend")).hasValue("llama");
        assertThat(json(response).getString("response")).isEqualTo("hello");
        assertThat(json(response).getString("route")).isEqualTo("local");
        assertThat(json(response).getDouble("confidence")).isEqualTo(0.9);
        JsonObject decision = json(response).getJsonObject("decision");
        assertThat(decision.getString("reason")).isEqualTo("confidence_high");
        assertThat(decision.getString("deployment")).isEqualTo("llama-1");
        assertThat(decision.getInteger("attempt")).isEqualTo(2);
    }

    @Test
    void shouldNotTellTheAnswerOfARecordWhenTheLogHadAnotherEndBefore() throws Exception {
        CompletableFuture<HttpResponse<String>> asked = postAsync(CHAT, HI);
        Reply error = FakeWire.error(query(), 0, FailureReason.WORKER_LOST, 502).build();
        harness.wire.completed(error, CompletionKind.FAILED, true);

        harness.wire.told(query(), 1, "hello");
        Thread.sleep(200);
        assertThat(asked).isNotDone();

        harness.wire.replyOnly(error);
        assertThat(asked.get(60, TimeUnit.SECONDS).statusCode()).isEqualTo(502);
    }

    /** It waited for the deadline with all content before it. */
    @Test
    void shouldBreakAStreamAtOnceWhenTheLogHasAnotherAttemptsAnswer() throws Exception {
        CompletableFuture<HttpResponse<String>> asked = postAsync(CHAT, HI_STREAM, "Idempotency-Key", "broken");
        Reply delta = delta("good day", 2);
        harness.wire.replyOnly(delta);

        harness.wire.completed(Reply.newBuilder(delta).setAttempt(1).build(), CompletionKind.ANSWERED);

        assertThat(asked.get(30, TimeUnit.SECONDS).body())
                .contains("good day", "stream_broken")
                .doesNotContain("[DONE]");
        // the log has an answer to it, and another would be paid for
        assertThat(postAsync(CHAT, HI_STREAM, "Idempotency-Key", "broken")
                        .get(30, TimeUnit.SECONDS)
                        .body())
                .contains("stream_broken");
        assertThat(harness.wire.sent(Query.class)).hasSize(1);
    }

    /** The client held a part of what the record is not, and waited for the deadline. */
    @Test
    void shouldStreamNothingOfAnAttemptWhenTheLogHasAnotherOnesAnswer() throws Exception {
        CompletableFuture<HttpResponse<String>> asked = postAsync(CHAT, HI_STREAM);
        Reply answer = FakeWire.answer(query(), 0, "hello").setAttempt(1).build();
        harness.wire.completed(answer, CompletionKind.ANSWERED);

        harness.wire.replyOnly(delta("good day", 2));
        harness.wire.replyOnly(answer);

        assertThat(asked.get(30, TimeUnit.SECONDS).body())
                .contains("hello", "[DONE]")
                .doesNotContain("good day");
    }

    private Reply delta(String content, int attempt) {
        return FakeWire.from(query(), ReplyKind.DELTA, 0)
                .setAttempt(attempt)
                .setData("{\"choices\":[{\"delta\":{\"content\":\"" + content + "\"}}]}")
                .build();
    }

    /** The refusal of another attempt, behind an answer that the log has. */
    @Test
    void shouldWaitForTheAnswerThatTheLogHasWhenAnErrorComesBeforeIt() throws Exception {
        CompletableFuture<HttpResponse<String>> asked = postAsync(CHAT, HI);
        Reply answer = FakeWire.answer(query(), 0, "hello").setAttempt(1).build();
        harness.wire.completed(answer, CompletionKind.ANSWERED);
        harness.wire.replyOnly(FakeWire.from(query(), ReplyKind.ERROR, 0)
                .setAttempt(2)
                .setFailure(Failure.newBuilder()
                        .setReason(FailureReason.WORKER_LOST)
                        .setHttpStatus(502)
                        .build())
                .build());

        harness.wire.replyOnly(answer);

        assertThat(asked.get(30, TimeUnit.SECONDS).body()).contains("hello");
    }

    /** The first choice alone was given for the whole. */
    @Test
    void shouldNotRepeatAStreamOfSeveralChoices() throws Exception {
        String two = HI_STREAM.replaceFirst("\\{", "{\"n\":2,");
        CompletableFuture<HttpResponse<String>> asked = postAsync(CHAT, two, "Idempotency-Key", "two");
        harness.wire.reply(FakeWire.answer(query(), 0, "hello"));
        assertThat(asked.get(30, TimeUnit.SECONDS).statusCode()).isEqualTo(200);

        HttpResponse<String> again =
                postAsync(CHAT, two, "Idempotency-Key", "two").get(30, TimeUnit.SECONDS);

        assertThat(again.statusCode()).isEqualTo(410);
        assertThat(again.body()).contains("answer_not_kept");
    }

    @Test
    void shouldAnswer504WhenTheFinalIsThereAndTheLogHasTheAnswerAfterTheDeadline() throws Exception {
        CompletableFuture<HttpResponse<String>> asked = postAsync("/query", "{\"query\":\"how?\",\"llm_timeout_s\":1}");
        Reply reply = FakeWire.answer(query(), 0, "hello").build();
        harness.wire.replyOnly(reply);

        HttpResponse<String> response = asked.get(60, TimeUnit.SECONDS);

        harness.wire.completed(reply, CompletionKind.ANSWERED);
        assertThat(response.statusCode()).isEqualTo(504);
        assertThat(json(response).getString("code")).isEqualTo("deadline_exceeded");
    }

    @Test
    void shouldCancelWhenTheClientGoesAway() {
        CompletableFuture<HttpResponse<String>> waiting = postAsync(CHAT, HI);
        Query query = query();
        waiting.cancel(true);

        await().until(() -> !harness.wire.sent(Command.class).isEmpty());
        assertThat(harness.wire.sent(Command.class)).singleElement().satisfies(command -> {
            assertThat(command.getKind()).isEqualTo("cancel");
            assertThat(command.getTarget()).isEqualTo(query.getInteractionId());
        });
    }

    /** {@code nc -N} closes its side as soon as it has asked. */
    @ParameterizedTest
    @ValueSource(strings = {"1.0", "1.1"})
    void shouldAnswerAClientThatClosedItsSide(String version) throws Exception {
        try (Socket socket = connect()) {
            send(
                    socket,
                    "POST " + CHAT + " HTTP/" + version + "\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                            + "Content-Length: " + HI.length() + "\r\n\r\n" + HI);
            socket.shutdownOutput();
            Query query = query();
            // long enough to find out that it is there
            Thread.sleep(300);
            harness.wire.reply(FakeWire.answer(query, 0, "hello"));

            String answer = new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8);

            assertThat(answer).contains("HTTP/" + version + " 200 ").contains("hello");
            assertThat(answer.startsWith("HTTP/1.1 100 ")).isEqualTo(version.equals("1.1"));
            assertThat(harness.wire.sent(Command.class)).isEmpty();
        }
    }

    @Test
    void shouldCancelWhenAClientClosedItsSideAndThenGoesAway() throws Exception {
        try (Socket socket = connect()) {
            send(
                    socket,
                    "POST " + CHAT + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                            + "Content-Length: " + HI_STREAM.length() + "\r\n\r\n" + HI_STREAM);
            socket.shutdownOutput();
            harness.wire.reply(FakeWire.delta(query(), 0, "{\"choices\":[]}"));
            byte[] head = socket.getInputStream().readNBytes(12);
            assertThat(new String(head, StandardCharsets.US_ASCII)).startsWith("HTTP/1.1 ");
        }

        await().until(() -> !harness.wire.sent(Command.class).isEmpty());
    }

    @Test
    void shouldTakeTheHostAsHttpWantsIt() throws Exception {
        assertThat(raw("GET /health HTTP/1.0\r\n\r\n")).startsWith("HTTP/1.0 200 ");
        assertThat(raw("GET /health HTTP/1.1\r\n\r\n"))
                .startsWith("HTTP/1.1 400 ")
                .contains("Host");
        assertThat(raw("GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"))
                .startsWith("HTTP/1.1 400 ")
                .contains("Host");
        assertThat(raw("GET /health HTTP/1.0\r\nHost: a b\r\n\r\n")).startsWith("HTTP/1.0 400 ");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "127.0.0.1",
                "127.0.0.1:8092",
                "127.8.9.10:1",
                "localhost",
                "LocalHost:80",
                "localhost.:8092",
                "[::1]",
                "[::1]:8092",
                "[0:0:0:0:0:0:0:1]:8092",
                "router.example",
                "Router.Example.:443"
            })
    void shouldAnswerWhenTheHostIsThisMachineOrConfigured(String host) throws Exception {
        assertThat(raw("GET /health HTTP/1.1\r\nHost: " + host + "\r\n\r\n")).startsWith("HTTP/1.1 200 ");
    }

    /** A page whose own name comes to mean 127.0.0.1 could read the notes of who looks at it, and spend the remote key. */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "evil.example",
                "evil.example:8092",
                "127.0.0.1.evil.example",
                "localhost.evil.example",
                "x.router.example",
                "192.168.1.1",
                "[2001:db8::1]:8092",
                "0.0.0.0:8092"
            })
    void shouldRefuseWhenTheHostIsAnother(String host) throws Exception {
        assertThat(raw("GET /documents HTTP/1.1\r\nHost: " + host + "\r\n\r\n"))
                .startsWith("HTTP/1.1 421 ")
                .contains("host_not_allowed")
                .contains("listen.hosts");
        assertThat(raw("GET /documents HTTP/1.0\r\nHost: " + host + "\r\n\r\n")).startsWith("HTTP/1.0 421 ");
        assertThat(raw("POST " + CHAT + " HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: application/json\r\n"
                        + "Content-Length: " + HI.length() + "\r\n\r\n" + HI))
                .startsWith("HTTP/1.1 421 ")
                .contains("{\"error\":{\"message\":");
        assertThat(harness.wire.sent(Query.class)).isEmpty();
    }

    @Test
    void shouldAnswerHeadWhereItAnswersGet() throws Exception {
        assertThat(raw("HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n"))
                .startsWith("HTTP/1.1 200 ")
                .endsWith("\r\n\r\n");
        assertThat(raw("HEAD /hybrid/health HTTP/1.1\r\nHost: localhost\r\n\r\n"))
                .startsWith("HTTP/1.1 200 ");
        assertThat(raw("HEAD /query HTTP/1.1\r\nHost: localhost\r\n\r\n"))
                .startsWith("HTTP/1.1 405 ")
                .containsIgnoringCase("\r\nallow: POST\r\n");
        assertThat(raw("HEAD /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")).startsWith("HTTP/1.1 404 ");
    }

    @Test
    void shouldSayWhatAPathTakesWhenAskedOtherwise() throws Exception {
        Map<String, String> takes = Map.of(
                "PUT /documents",
                "DELETE, GET, HEAD, POST",
                "POST /hybrid/health",
                "GET, HEAD",
                "GET /v1/chat/completions",
                "POST",
                "GET /aidb/v1/chat/completions",
                "POST",
                "OPTIONS /interactions/" + Ids.next(),
                "GET, HEAD");
        for (Map.Entry<String, String> each : takes.entrySet()) {
            assertThat(
                            raw(
                                    each.getKey()
                                            + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"))
                    .startsWith("HTTP/1.1 405 ")
                    .containsIgnoringCase("\r\nallow: " + each.getValue() + "\r\n");
        }
    }

    private Socket connect() throws IOException {
        return new Socket(InetAddress.getLoopbackAddress(), harness.gateway.port());
    }

    private static void send(Socket socket, String text) throws IOException {
        socket.getOutputStream().write(text.getBytes(StandardCharsets.US_ASCII));
    }

    /** What comes back for the head of a request. */
    private String raw(String head) throws IOException {
        try (Socket socket = connect()) {
            send(socket, head.replaceFirst("\r\n", "\r\nConnection: close\r\n"));
            return new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        }
    }

    @Test
    void shouldDropAReaderThatIsTooSlow() throws Exception {
        try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), harness.gateway.port())) {
            socket.setReceiveBufferSize(4_096);
            socket.getOutputStream()
                    .write(("POST " + CHAT
                                    + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
                                    + HI_STREAM.length() + "\r\n\r\n" + HI_STREAM)
                            .getBytes(java.nio.charset.StandardCharsets.US_ASCII));
            Query query = query();
            String piece = "x".repeat(50_000);
            for (int i = 0; i < 400; i++) {
                harness.wire.reply(FakeWire.delta(query, i, piece));
            }
            await().until(() -> !harness.wire.sent(Command.class).isEmpty());
            assertThat(harness.wire.sent(Command.class).getFirst().getTarget()).isEqualTo(query.getInteractionId());
        }
        assertThat(json(harness.get("/stats")).getJsonObject("outcomes").getInteger("cancelled"))
                .isEqualTo(1);
    }

    @Test
    void shouldRepeatTheFirstAnswerWhenAnIdempotencyKeyComesAgain() {
        CompletableFuture<HttpResponse<String>> first = postAsync(CHAT, HI, "Idempotency-Key", "k1");
        Query query = query();
        CompletableFuture<HttpResponse<String>> second = postAsync(CHAT, HI, "Idempotency-Key", "k1");
        await().until(() -> inFlight() == 2);
        harness.wire.reply(FakeWire.answer(query, 0, "once"));

        assertThat(first.join().body()).contains("once");
        assertThat(second.join().body()).isEqualTo(first.join().body());
        HttpResponse<String> third = harness.post(CHAT, HI, "Idempotency-Key", "k1");
        assertThat(third.body()).isEqualTo(first.join().body());
        assertThat(third.headers().firstValue("x-millrace-interaction-id")).hasValue(query.getInteractionId());
        assertThat(harness.wire.sent(Query.class)).hasSize(1);
        assertThat(query.getIdempotencyKey()).isEqualTo("k1");
        HttpResponse<String> other = harness.post(CHAT, HI_STREAM, "Idempotency-Key", "k1");
        assertThat(other.statusCode()).isEqualTo(422);
    }

    /** The first answer is not the answer to another question. */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "\"filters\":{\"language\":\"nix\"}",
                "\"filters\":{\"tags\":[\"t\"]}",
                "\"filters\":{\"min_success_rate\":0.5}",
                "\"score_threshold\":0.5",
                "\"keyword_limit\":3",
                "\"prefer_local\":false",
                "\"local_only\":true",
                "\"store\":false",
                "\"llm_timeout_s\":7",
                "\"limit\":3"
            })
    void shouldRefuseAnIdempotencyKeyWhenAnotherFieldOfItsQueryChanges(String field) {
        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.answer(query, 0, "ok"));
        assertThat(harness.post("/query", "{\"query\":\"x\"}", "Idempotency-Key", "k3")
                        .statusCode())
                .isEqualTo(200);

        HttpResponse<String> other = harness.post("/query", "{\"query\":\"x\"," + field + "}", "Idempotency-Key", "k3");

        assertThat(other.statusCode()).as(other.body()).isEqualTo(422);
        assertThat(harness.wire.sent(Query.class)).hasSize(1);
    }

    @ParameterizedTest
    @ValueSource(strings = {Headers.LOCAL_ONLY, Headers.CACHE, Headers.SYNTHETIC})
    void shouldRefuseAnIdempotencyKeyWhenAHeaderOfItsQueryChanges(String header) {
        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.answer(query, 0, "ok"));
        assertThat(harness.post(CHAT, HI, "Idempotency-Key", "k4").statusCode()).isEqualTo(200);

        assertThat(harness.post(CHAT, HI, "Idempotency-Key", "k4", header, "true")
                        .statusCode())
                .isEqualTo(422);
    }

    @Test
    void shouldRepeatTheFirstAnswerWhenTheFieldsHaveAnotherOrder() {
        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.answer(query, 0, "ok"));
        harness.post(CHAT, HI, "Idempotency-Key", "k5");
        String again = "{\"strange\":[1,{}], \"messages\":[{\"content\":\"hi\",\"role\":\"user\"}]}";

        assertThat(harness.post(CHAT, again, "Idempotency-Key", "k5").statusCode())
                .isEqualTo(200);
        assertThat(harness.post(CHAT, again.replace("1", "2"), "Idempotency-Key", "k5")
                        .statusCode())
                .isEqualTo(422);
        assertThat(harness.wire.sent(Query.class)).hasSize(1);
    }

    @Test
    void shouldReplayAStreamWhenAnIdempotencyKeyComesAgain() {
        harness.wire.onQuery = (wire, query) -> {
            wire.reply(FakeWire.delta(query, 0, "{\"piece\":1}"));
            wire.reply(FakeWire.answer(query, 1, "whole"));
        };
        assertThat(harness.post(CHAT, HI_STREAM, "Idempotency-Key", "k2").body())
                .contains("piece");

        HttpResponse<String> again = harness.post(CHAT, HI_STREAM, "Idempotency-Key", "k2");

        assertThat(again.body()).contains("\"content\":\"whole\"").endsWith("data: [DONE]\n\n");
        assertThat(harness.wire.sent(Query.class)).hasSize(1);
    }

    /** Clients put calls together by their numbers, and would have none. */
    @Test
    void shouldNumberTheCallsOfAToolWhenAStreamIsReplayed() {
        String calls = "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"a\"},{\"id\":\"b\"}]}";
        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.answer(query, 0, "")
                .setAnswer(Answer.newBuilder()
                        .setMessage(calls)
                        .setFinishReason("tool_calls")
                        .build()));
        harness.post(CHAT, HI_STREAM, "Idempotency-Key", "k-calls");

        assertThat(harness.post(CHAT, HI_STREAM, "Idempotency-Key", "k-calls").body())
                .contains("[{\"id\":\"a\",\"index\":0},{\"id\":\"b\",\"index\":1}]");
        assertThat(harness.wire.sent(Query.class)).hasSize(1);
    }

    /** Who waits for a key's first query takes as much as a query, until it goes away. */
    @Test
    void shouldLetRepeatsWaitUpToTheLimitAndGo() {
        String body = "{\"query\":\"x\"}";
        var first = harness.http().sendAsync(keyed(body), BodyHandlers.ofString());
        await().until(() -> harness.wire.sent(Query.class).size() == 1);
        List<CompletableFuture<HttpResponse<String>>> waiting = new ArrayList<>();
        for (int i = 1; i < GatewayHarness.IN_FLIGHT; i++) {
            waiting.add(harness.http().sendAsync(keyed(body), BodyHandlers.ofString()));
        }
        await().until(() -> inFlight() == GatewayHarness.IN_FLIGHT);
        HttpResponse<String> oneMore = harness.post("/query", body, "Idempotency-Key", "same");
        assertThat(oneMore.statusCode()).as(oneMore.body()).isEqualTo(503);

        waiting.removeFirst().cancel(true);

        await().until(() -> inFlight() == GatewayHarness.IN_FLIGHT - 1);
        harness.wire.reply(FakeWire.answer(harness.wire.sent(Query.class).getFirst(), 0, "done"));
        assertThat(first.join().statusCode()).isEqualTo(200);
        assertThat(waiting).isNotEmpty().allMatch(each -> each.join().statusCode() == 200);
        await().until(() -> inFlight() == 0);
    }

    private int inFlight() {
        return json(harness.get("/stats")).getInteger("in_flight");
    }

    private HttpRequest keyed(String body) {
        return HttpRequest.newBuilder(harness.uri("/query"))
                .header("Content-Type", "application/json")
                .header("Idempotency-Key", "same")
                .POST(BodyPublishers.ofString(body))
                .build();
    }

    @Test
    void shouldTellUsageOnceWhenAStreamThatAskedForItIsReplayed() {
        harness.wire.onQuery = (wire, query) -> {
            wire.reply(FakeWire.delta(query, 0, "{\"piece\":1}"));
            wire.reply(FakeWire.answer(query, 1, "whole").setData("{\"piece\":2}\n{\"usage\":{}}"));
        };
        String ask = HI_STREAM.replaceFirst("\\{", "{\"stream_options\":{\"include_usage\":true},");
        assertThat(harness.post(CHAT, ask, "Idempotency-Key", "k-usage").body())
                .endsWith("data: {\"piece\":2}\n\ndata: {\"usage\":{}}\n\ndata: [DONE]\n\n");

        String again = harness.post(CHAT, ask, "Idempotency-Key", "k-usage").body();

        assertThat(again)
                .containsOnlyOnce("\"usage\"")
                .contains("\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5,\"total_tokens\":8}}"
                        + "\n\ndata: [DONE]");
    }

    @Test
    void shouldRecordFeedbackInAllForms() {
        String id = Ids.next();
        for (String[] form : new String[][] {
            {"/feedback/" + id, "{\"rating\":-1,\"note\":\"no: password=hunter2hunter2\",\"query\":\"q\"}"},
            {"/feedback", "{\"interaction_id\":\"" + id + "\",\"outcome\":\"partial\",\"user_feedback\":1}"},
            {
                "/feedback",
                "{\"query\":\"q\",\"correction\":\"c\",\"original_response\":\"o\",\"rating\":0,\"tags\":[\"t\"],\"variant\":\"b\"}"
            }
        }) {
            HttpResponse<String> response = harness.post(form[0], form[1]);
            assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
            assertThat(json(response).getString("status")).isEqualTo("recorded");
            assertThat(Ids.isEventId(json(response).getString("feedback_id"))).isTrue();
        }
        List<Feedback> written = harness.wire.sent(Feedback.class);
        assertThat(written).extracting(Feedback::getRating).containsExactly(-1, 1, 0);
        assertThat(written).extracting(Feedback::getInteractionId).containsExactly(id, id, "");
        assertThat(written.getLast().getTags()).containsExactly("t", "variant:b");
        assertThat(written.getFirst().getNote()).isEqualTo("no: password=[REDACTED:password]");
    }

    @Test
    void shouldWriteADocumentAndWaitUntilItIsVisible() {
        String body =
                "{\"content\":\"# Title\",\"project\":\"p\",\"relative_path\":\"a.md\",\"collection\":\"nixos-docs\","
                        + "\"tags\":[\"t\"],\"metadata\":{\"k\":\"v\"},\"source_trust_level\":\"trusted\"}";

        HttpResponse<String> accepted = harness.post("/documents", body);
        assertThat(accepted.statusCode()).isEqualTo(202);
        assertThat(json(accepted).getString("document_id")).isEqualTo(Ids.content("default", "p", "a.md"));

        CompletableFuture<HttpResponse<String>> waiting = postAsync("/documents?wait=true", body);
        await().until(() -> harness.wire.sent(RawDocument.class).size() == 2);
        assertThat(waiting).isNotDone();
        harness.visible.set(true);
        assertThat(waiting.join().statusCode()).isEqualTo(200);
        assertThat(json(waiting.join()).getBoolean("visible")).isTrue();
        RawDocument written = harness.wire.sent(RawDocument.class).getFirst();
        assertThat(written.getTrust()).isEqualTo("trusted");
        assertThat(written.getMetadata()).containsEntry("k", "v");
        assertThat(harness.wire.sent.peek().key()).isEqualTo("p/a.md");
    }

    @Test
    void shouldSearchThroughThePort() {
        JsonObject body = json(harness.post(
                "/search",
                "{\"query\":\"x\",\"mode\":\"auto\",\"limit\":3,\"diversity\":0.2,\"collections\":[\"nixos-docs\"],"
                        + "\"filters\":{\"language\":\"nix\",\"tags\":[\"a\",\"b\"],\"min_success_rate\":0.5}}"));

        assertThat(harness.searched)
                .containsExactly(new SearchPort.Asked(
                        "x",
                        "auto",
                        List.of("nixos-docs"),
                        java.util.Map.of("language", "nix"),
                        List.of("a", "b"),
                        0.5,
                        3,
                        0.0,
                        0.2));
        assertThat(body.getString("search_mode")).isEqualTo("hybrid");
        assertThat(body.getDouble("context_score")).isEqualTo(0.9);
        assertThat(body.getJsonArray("degraded")).containsExactly("reranker");
        assertThat(body.getJsonArray("results")).hasSize(2);
        assertThat(body.getJsonArray("results").getJsonObject(1).getJsonArray("sources"))
                .hasSize(2);
    }

    @Test
    void shouldAnswer503WhenPostgresIsDown() {
        HttpResponse<String> response = harness.get("/interactions/" + Ids.next());

        assertThat(response.statusCode()).isEqualTo(503);
        assertThat(json(response).getString("code")).isEqualTo("postgres_unavailable");
        assertThat(harness.gateway.details()).containsKey("postgres");
    }

    @Test
    void shouldProbeThroughTheLog() {
        harness.wire.onQuery = (wire, query) -> wire.reply(FakeWire.answer(query, 0, ""));

        String id = harness.gateway.probe().toCompletableFuture().join();

        Query probe = query();
        assertThat(probe.getInteractionId()).isEqualTo(id);
        assertThat(probe.getApi()).isEqualTo("probe");
        assertThat(probe.getEnvelope().getSynthetic()).isTrue();
        assertThat(probe.getGenerate()).isFalse();
        assertThat(probe.getRetrieval()).isEqualTo("off");
    }

    /** The repeat was told 202 and an id that no interaction ever had. */
    @Test
    void shouldRefuseAnAsyncRepeatWhenTheLogDoesNotTakeTheFirst() throws Exception {
        harness.wire.down = true;
        try {
            var first = postAsync("/query", "{\"query\":\"away\"}", "Idempotency-Key", "away");
            Thread.sleep(500);
            var repeat = harness.post(
                    "/query", "{\"query\":\"away\"}", "Idempotency-Key", "away", "Prefer", "respond-async");

            assertThat(repeat.statusCode()).as(repeat.body()).isEqualTo(503);
            assertThat(first.get(60, TimeUnit.SECONDS).statusCode()).isEqualTo(503);
        } finally {
            harness.wire.down = false;
        }
    }

    @Test
    void shouldAcceptAnAsyncRepeatAtOnceWhenTheLogHasTheFirst() throws Exception {
        var first = postAsync("/query", "{\"query\":\"slow\"}", "Idempotency-Key", "slow");
        Query query = query();

        var repeat =
                harness.post("/query", "{\"query\":\"slow\"}", "Idempotency-Key", "slow", "Prefer", "respond-async");

        assertThat(repeat.statusCode()).as(repeat.body()).isEqualTo(202);
        assertThat(json(repeat).getString("interaction_id")).isEqualTo(query.getInteractionId());
        harness.wire.reply(FakeWire.answer(query, 0, "late"));
        assertThat(first.get(60, TimeUnit.SECONDS).statusCode()).isEqualTo(200);
    }
}
