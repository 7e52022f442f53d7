package io.millrace.standalone;

import static io.millrace.standalone.Stack.await;
import static io.millrace.standalone.Stack.id;
import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.bench.stub.StubUpstream;
import io.millrace.bench.stub.StubUpstream.Mode;
import io.millrace.log.Topics;
import io.millrace.schema.RoutingConfig;
import io.millrace.schema.Thresholds;
import io.millrace.standalone.Stack.Trace;
import java.net.URI;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.MethodOrderer;
import org.junit.jupiter.api.Order;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestMethodOrder;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * The rows of the decision order, {@code docs/routing.md}, through the running system: what the client is told, what the log says and
 * what Postgres holds. Those of {@link SpineIT} and {@link OutageIT} are not here again.
 */
@TestMethodOrder(MethodOrderer.OrderAnnotation.class)
class DecisionOrderIT {
    /** Its evidence scores between 0 and 1, so that thresholds can be put on either side of it. */
    private static final String QUESTION = "What does the blue lever in the mill open?";

    private static final String MODELS = """
            models:
              plain: {retrieval: "off", add-context: false}
              searched: {retrieval: keyword, add-context: false}
            """;

    @TempDir
    static Path folder;

    private static StubUpstream local;
    private static StubUpstream second;
    private static StubUpstream remote;
    private static Stack stack;
    private static long version;

    @BeforeAll
    static void start() throws Exception {
        local = new StubUpstream("local", 8, 5).start(0);
        second = new StubUpstream("second", 8, 5).start(0);
        remote = new StubUpstream("remote", 8, 5).start(0);
        stack = new Stack(folder, """
                routing: {deadline: 50s}
                retrieval: {timeout: 20s}
                dispatch: {probe: 100ms, breaker-failures: 100}
                backends:
                  mill:
                    kind: llama.cpp
                    deployments:
                      - {name: first, url: "%s", timeout: 15s, capabilities: []}
                      - {name: second, url: "%s", timeout: 15s, capabilities: []}
                  remote:
                    kind: openai
                    deployments: [{name: remote, url: "%s", model: big, timeout: 15s}]
                """.formatted(local.url(), second.url(), remote.url()) + MODELS, Map.of());
        stack.run("main", Stack.allBut("retrieval"));
        stack.run("retrieval", Set.of("retrieval"));
        HttpResponse<String> added = stack.post("/documents?wait=true", """
                {"content":"# The blue lever\\n\\nThe blue lever in the mill opens the upper sluice gate by two notches.",
                 "relative_path":"lever.md"}""");
        assertThat(added.statusCode()).as(added.body()).isEqualTo(200);
        await(
                "the other index has it too",
                () -> stack.query(QUESTION, "").body().contains("lever.md"));
    }

    @AfterAll
    static void stop() {
        stack.close();
        local.close();
        second.close();
        remote.close();
    }

    @BeforeEach
    void wellAgain() {
        local.reset();
        second.reset();
        remote.reset();
    }

    private static void well() {
        await(
                "healthy backends",
                () -> stack.status("first").equals("healthy")
                        && stack.status("second").equals("healthy")
                        && stack.status("remote").equals("healthy"));
    }

    /** The thresholds that are in force from the next decision on. */
    private static void thresholds(double local, double fallback, double margin) {
        long next = ++version;
        stack.log()
                .producer()
                .send(
                        Topics.ROUTING_CONFIG,
                        "default",
                        RoutingConfig.newBuilder()
                                .setVersion(next)
                                .setThresholds(new Thresholds(local, fallback, 0.0, margin))
                                .build())
                .join();
        await(
                "thresholds are in force",
                () -> stack.trace(stack.query("Hello", ",\"model\":\"plain\""))
                                .decisions()
                                .getFirst()
                                .getInputs()
                                .getConfigVersion()
                        == next);
    }

    private static Trace decided(HttpResponse<String> response, String route, String reason) throws Exception {
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        assertThat(response.headers().firstValue("x-millrace-route")).hasValue(route);
        assertThat(response.headers().firstValue("x-millrace-reason")).hasValue(reason);
        Trace trace = stack.trace(response);
        assertThat(trace.routes()).containsExactly(route);
        assertThat(trace.reasons()).containsExactly(reason);
        assertThat(trace.interaction().getOutcome()).isEqualTo("answered");
        return trace;
    }

    @ParameterizedTest
    @Order(1)
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            ,"model":"mill"                                                        | local      | forced_backend
            ,"model":"extractive"                                                  | extractive | forced_extractive
            ,"model":"plain"                                                       | local      | confidence_unknown
            ,"model":"plain","prefer_local":false                                  | remote     | confidence_unknown
            ,"local_only":true                                                     | local      | local_only
            """)
    void shouldDecideWithoutConfidence(String extra, String route, String reason) throws Exception {
        well();
        decided(stack.query(QUESTION, extra), route, reason);
    }

    @Test
    @Order(2)
    void shouldGiveEvidenceOnlyWhenNoAnswerIsAskedFor() throws Exception {
        HttpResponse<String> response = stack.post("/query", "{\"query\":\"" + QUESTION + "\"}");

        decided(response, "evidence", "evidence_only");
        assertThat(response.body()).contains("lever.md");
        assertThat(local.asked() + second.asked() + remote.asked()).isZero();
    }

    @Test
    @Order(3)
    void shouldRefuseWhenWhatMayNotLeaveIsSentAway() throws Exception {
        HttpResponse<String> response = stack.query(QUESTION, ",\"local_only\":true,\"force_remote\":true");

        assertThat(response.statusCode()).isEqualTo(403);
        Trace trace = stack.trace(response);
        assertThat(trace.routes()).containsExactly("reject");
        assertThat(trace.reasons()).containsExactly("egress_denied");
        assertThat(trace.interaction().getOutcome()).isEqualTo("failed");
        assertThat(remote.asked()).isZero();
    }

    /** Turned off on the log, without a restart: everything is local from the next decision on. */
    @Test
    @Order(4)
    void shouldKeepEverythingLocalWhenRemoteIsTurnedOff() throws Exception {
        well();
        RoutingConfig off = RoutingConfig.newBuilder()
                .setVersion(++version)
                .setRemoteEnabled(false)
                .build();
        stack.log().producer().send(Topics.ROUTING_CONFIG, "default", off).join();
        try {
            await(
                    "remote is off",
                    () -> stack.query("Away", ",\"model\":\"plain\",\"force_remote\":true")
                                    .statusCode()
                            == 403);
            remote.reset();

            decided(stack.query(QUESTION, ",\"prefer_local\":false"), "local", "local_only");
            HttpResponse<String> denied = stack.query(QUESTION, ",\"force_remote\":true");
            assertThat(denied.statusCode()).isEqualTo(403);
            Trace trace = stack.trace(denied);
            assertThat(trace.reasons()).containsExactly("egress_denied");
            assertThat(trace.decisions().getFirst().getInputs().getLocalOnlyReason())
                    .isEqualTo("config");
            assertThat(remote.asked()).isZero();
        } finally {
            stack.log().producer().tombstone(Topics.ROUTING_CONFIG, "default").join();
        }
        await(
                "remote is on",
                () -> stack.query("Away", ",\"model\":\"plain\",\"force_remote\":true")
                                .statusCode()
                        == 200);
    }

    @ParameterizedTest
    @Order(4)
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            ,"response_format":{"type":"json_object"}                              | structured_output
            ,"tools":[{"type":"function","function":{"name":"f","parameters":{}}}] | tools
            """)
    void shouldGoRemoteWithWhatNoLocalDeploymentCanDo(String extra, String reason) throws Exception {
        well();
        decided(stack.chat("plain", "Do it", extra), "remote", reason);
    }

    @ParameterizedTest
    @Order(5)
    @CsvSource({
        "0.0001, 0.00001, 0.0,  local,               confidence_high",
        "0.9999, 0.0001,  0.0,  local_with_fallback, confidence_medium",
        "0.9999, 0.9998,  0.95, local,               remote_not_better"
    })
    void shouldHoldConfidenceAgainstTheThresholds(
            double above, double fallback, double margin, String route, String reason) throws Exception {
        well();
        thresholds(above, fallback, margin);

        Trace trace = decided(stack.query(QUESTION, ""), route, reason);

        assertThat(trace.decisions().getFirst().getConfidence()).isBetween(0.0001, 0.9998);
        assertThat(trace.decisions().getFirst().getThresholds().getLocal()).isEqualTo(above);
    }

    /** A question whose evidence is next to nothing: the prior of remote, 0.8, is better. */
    @Test
    @Order(6)
    void shouldGoRemoteWhenConfidenceIsLow() throws Exception {
        well();
        thresholds(0.9999, 0.9998, 0.0);

        Trace trace = decided(
                stack.query("Which composer wrote the opera Fidelio in Vienna?", ""), "remote", "confidence_low");

        assertThat(trace.decisions().getFirst().getConfidence()).isLessThan(0.5);
    }

    @Test
    @Order(7)
    void shouldStayLocalWhenRemoteIsUnhealthy() throws Exception {
        thresholds(0.9999, 0.9998, 0.0);
        int port = URI.create(remote.url()).getPort();
        remote.close();
        try {
            await("remote is down", () -> stack.status("remote").equals("unhealthy"));

            decided(stack.query(QUESTION, ""), "local", "remote_unhealthy");
        } finally {
            remote = new StubUpstream("remote", 8, 5).start(port);
        }
    }

    @Test
    @Order(8)
    void shouldTryTheNextDeploymentAndThenTheOtherSide() throws Exception {
        well();
        local.mode(Mode.ERROR_500);

        HttpResponse<String> sibling = stack.chat("plain", "Next one please", "");

        assertThat(Stack.content(sibling)).startsWith("second: ");
        assertThat(stack.trace(sibling).reasons()).containsExactly("confidence_unknown", "next_deployment");

        second.mode(Mode.ERROR_500);
        HttpResponse<String> other = stack.chat("plain", "Other side please", "");

        assertThat(Stack.content(other)).startsWith("remote: ");
        Trace trace = stack.trace(other);
        assertThat(trace.reasons()).containsExactly("confidence_unknown", "next_deployment", "fallback_remote");
        // a route without its reason would say that it was remote because the first decision was for local
        assertThat(stack.sql(
                        "SELECT route || ' ' || reason FROM interactions WHERE interaction_id = '" + id(other) + "'"))
                .isEqualTo("remote fallback_remote");
        assertThat(trace.interaction().getAttempts())
                .extracting(attempt -> attempt.getEnd())
                .containsExactly("failed", "failed", "answered");

        remote.mode(Mode.ERROR_500);
        HttpResponse<String> nobody = stack.chat("plain", "Nobody", "");

        assertThat(nobody.statusCode()).isEqualTo(502);
        Trace failed = stack.trace(nobody);
        assertThat(failed.routes()).containsExactly("local", "local", "remote", "reject");
        assertThat(failed.failure()).isEqualTo("backend_error");
    }

    @Test
    @Order(9)
    void shouldFallBackToLocalWhenRemoteFails() throws Exception {
        well();
        remote.mode(Mode.ERROR_500);

        HttpResponse<String> response = stack.query("Hello", ",\"model\":\"plain\",\"prefer_local\":false");

        assertThat(response.body()).contains("local: ");
        assertThat(stack.trace(response).reasons()).containsExactly("confidence_unknown", "fallback_local");
    }

    /** Neither waits for retrieval nor is it told: no evidence is searched for, and no cache may answer. */
    @Test
    @Order(10)
    void shouldDecideOnTheQueryItselfWhereNothingIsRetrieved() throws Exception {
        well();
        long retrieved = stack.end(Topics.RETRIEVALS);
        long replied = stack.end(Topics.REPLIES);
        stack.stop("retrieval");
        try {
            HttpResponse<String> response = stack.chat("plain", "Straight on", "");

            assertThat(Stack.content(response)).startsWith("local: ");
            Trace trace = stack.trace(response);
            assertThat(trace.reasons()).containsExactly("confidence_unknown");
            assertThat(trace.interaction().getQueryText()).isEqualTo("Straight on");
            assertThat(trace.interaction().getContextScore()).isNull();
            HttpResponse<String> asked = stack.query("Straight on", ",\"model\":\"plain\",\"prefer_local\":true");
            assertThat(stack.trace(asked).interaction().getOutcome()).isEqualTo("answered");
            assertThat(stack.end(Topics.REPLIES))
                    .as("whole answers come with the record of their end")
                    .isEqualTo(replied);
            HttpResponse<String> streamed = stack.chat("plain", "In pieces", ",\"stream\":true");
            assertThat(streamed.body()).contains("data: [DONE]");
            assertThat(stack.end(Topics.REPLIES)).isGreaterThan(replied);
        } finally {
            stack.run("retrieval", Set.of("retrieval"));
        }
        // the one that is searched for comes behind the others
        assertThat(stack.trace(stack.chat("searched", "Past them", ""))
                        .interaction()
                        .getOutcome())
                .isEqualTo("answered");
        assertThat(stack.end(Topics.RETRIEVALS)).isEqualTo(retrieved + 1);
    }

    /** Nothing is decided while retrieval is away, so what comes meanwhile is met by the decision. */
    @Test
    @Order(11)
    void shouldRefuseWhatIsCancelledOrTooLateWhenItIsDecided() throws Exception {
        stack.stop("retrieval");
        String marker = "cancel me " + System.nanoTime();
        CompletableFuture<HttpResponse<String>> cancelled =
                stack.later("/v1/chat/completions", Stack.chatBody("searched", marker, ""));
        HttpResponse<String> late = stack.query("Too late", ",\"model\":\"searched\",\"llm_timeout_s\":1");
        assertThat(late.statusCode()).isEqualTo(504);
        Trace closed = stack.trace(late);
        assertThat(closed.failure()).isEqualTo("retrieval_timeout");
        long commands = stack.end(Topics.COMMANDS);
        cancelled.cancel(true);
        // a decision that is faster than the cancel would be right, too
        await("the cancel on the log", () -> stack.end(Topics.COMMANDS) > commands);

        stack.run("retrieval", Set.of("retrieval"));

        await(
                "the decision on what is too late",
                () -> stack.sql("SELECT route || ' ' || reason FROM decisions WHERE interaction_id = '" + id(late)
                                + "'")
                        .equals("reject deadline_exceeded"));
        await(
                "the cancelled one has ended",
                () -> !stack.sql("SELECT outcome FROM interactions WHERE query_text = '" + marker + "'")
                        .isEmpty());
        Trace trace =
                stack.trace(stack.sql("SELECT interaction_id FROM interactions WHERE query_text = '" + marker + "'"));
        assertThat(trace.interaction().getOutcome()).isEqualTo("cancelled");
        assertThat(trace.routes()).containsExactly("reject");
        assertThat(trace.reasons()).containsExactly("cancelled");
        assertThat(local.asked() + second.asked() + remote.asked()).isZero();
        // the decision that came after the end did not make a second one
        assertThat(stack.trace(late).failure()).isEqualTo("retrieval_timeout");
    }

    @Test
    @Order(20)
    void shouldDoWithWhatIsConfigured() throws Exception {
        stack.log().producer().tombstone(Topics.ROUTING_CONFIG, "default").join();

        configure("");
        decided(stack.query(QUESTION, ""), "extractive", "no_model_configured");
        decided(stack.query(QUESTION, ",\"force_remote\":true"), "extractive", "no_model_configured");
        decided(stack.query(QUESTION, ",\"force_local\":true"), "extractive", "local_not_configured");
        decided(stack.query(QUESTION, ",\"local_only\":true"), "extractive", "local_only_no_model");

        configure("backends: {mill: {kind: llama.cpp, deployments: [{name: first, url: \"" + local.url() + "\"}]}}\n");
        decided(stack.query(QUESTION, ""), "local", "remote_not_configured");
        decided(stack.query(QUESTION, ",\"force_remote\":true"), "local", "remote_not_configured");

        configure("backends: {remote: {kind: openai, deployments: [{name: remote, url: \"" + remote.url()
                + "\", model: big}]}}\n");
        decided(stack.query(QUESTION, ""), "remote", "local_not_configured");
        decided(stack.query(QUESTION, ",\"local_only\":true"), "extractive", "local_only_no_model");
        assertThat(remote.seen()).hasSize(1);
        assertThat(List.of(local.asked(), second.asked())).containsExactly(2, 0);
        stack.awaitReconciled();
    }

    private static void configure(String backends) throws Exception {
        stack.stop("main");
        stack.stop("retrieval");
        // the others' sessions would have to end first
        stack.dismissMembers();
        stack.configure("dispatch: {probe: 100ms}\n" + backends + MODELS, Map.of());
        stack.run("main", Roles.ALL);
    }
}
