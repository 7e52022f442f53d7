package io.millrace.standalone;

import static io.millrace.standalone.Stack.await;
import static io.millrace.standalone.Stack.id;
import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.bench.stub.StubUpstream;
import io.millrace.schema.DecisionInputs;
import io.millrace.schema.Interaction;
import io.millrace.standalone.Stack.Trace;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The semantic cache through the running system: which other question's answer a client gets, and which never. */
class SemanticCacheIT {
    private static final HttpClient HTTP = HttpClient.newHttpClient();

    @TempDir
    static Path folder;

    private static StubUpstream remote;
    private static Stack stack;

    @BeforeAll
    static void start() throws Exception {
        remote = new StubUpstream("remote", 8, 5).start(0);
        stack = new Stack(folder, """
                routing: {deadline: 20s}
                backends:
                  remote:
                    kind: openai
                    deployments: [{name: remote, url: "%s", model: big, timeout: 3s, input-price: 1, output-price: 2}]
                models:
                  plain: {retrieval: "off", add-context: false}
                  other: {retrieval: "off", add-context: false}
                """.formatted(remote.url()), Map.of());
        Set<String> others = new HashSet<>(Roles.ALL);
        others.remove("retrieval");
        stack.run("others", others);
        stack.run("looking", Set.of("retrieval"));
    }

    @AfterAll
    static void stop() {
        stack.close();
        remote.close();
    }

    private static HttpResponse<String> send(String body) throws Exception {
        HttpResponse<String> response = HTTP.send(
                HttpRequest.newBuilder(URI.create(stack.url() + "/v1/chat/completions"))
                        .header("Content-Type", "application/json")
                        .header("x-millrace-cache", "true")
                        .POST(HttpRequest.BodyPublishers.ofString(body))
                        .build(),
                HttpResponse.BodyHandlers.ofString());
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return response;
    }

    private static HttpResponse<String> ask(String model, String question, String extra) throws Exception {
        return send(Stack.chatBody(model, question, extra));
    }

    private static String reason(HttpResponse<String> response) {
        return response.headers().firstValue("x-millrace-reason").orElse("");
    }

    /** Asks until the answer is kept: that is after the client has it. */
    private static HttpResponse<String> keep(String question, String extra) throws Exception {
        HttpResponse<String> first = ask("plain", question, extra);
        await(
                "the answer to be kept",
                () -> reason(ask("plain", question, extra)).equals("cache_exact"));
        return first;
    }

    @Test
    void shouldAnswerFromAQuestionOfTheSameMeaningAndSayFromWhich() throws Exception {
        HttpResponse<String> first = keep("How do I learn to play the violin?", "");
        int asked = remote.asked();

        HttpResponse<String> near = ask("plain", "How can I learn to play the violin?", "");

        assertThat(reason(near)).isEqualTo("cache_semantic");
        assertThat(near.headers().firstValue("x-millrace-cached")).hasValue("true");
        assertThat(Stack.content(near)).isEqualTo(Stack.content(first));
        assertThat(remote.asked()).as("no model was asked").isEqualTo(asked);
        Trace trace = stack.trace(near);
        assertThat(trace.reasons()).containsExactly("cache_semantic");
        DecisionInputs inputs = trace.decisions().getFirst().getInputs();
        assertThat(inputs.getCachedInteractionId()).isEqualTo(id(first));
        assertThat(inputs.getCachedProbability()).isBetween(0.8, 1.0);
        Interaction interaction = trace.interaction();
        assertThat(interaction.getCachedKind()).isEqualTo("semantic");
        assertThat(interaction.getCachedInteractionId()).isEqualTo(id(first));
        assertThat(interaction.getCostUsd()).isZero();
        assertThat(stack.sql(
                        "SELECT route || ' ' || reason FROM interactions WHERE interaction_id = '" + id(near) + "'"))
                .isEqualTo("cache cache_semantic");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                // another number, the opposite, another thing, another request
                "plain | How do I install nginx 1.26 on NixOS? |",
                "plain | How do I uninstall nginx 1.24 on NixOS? |",
                "plain | How do I install apache 1.24 on NixOS? |",
                "other | How can I install nginx 1.24 on NixOS? |",
                "plain | How can I install nginx 1.24 on NixOS? | ,\"max_tokens\":7",
                "plain | How can I install nginx 1.24 on NixOS? | ,\"stream\":true",
                "plain | How can I install nginx 1.24 on NixOS? | ,\"temperature\":0.7"
            })
    void shouldAskTheModelWhenMeaningOrRequestDiffer(String model, String question, String extra) throws Exception {
        keep("How do I install nginx 1.24 on NixOS?", "");
        int asked = remote.asked();

        HttpResponse<String> response = ask(model, question, extra == null ? "" : extra);

        assertThat(reason(response)).isNotIn("cache_semantic", "cache_exact");
        assertThat(remote.asked()).isEqualTo(asked + 1);
    }

    @Test
    void shouldAskTheModelWithinAConversation() throws Exception {
        keep("How do I reset a forgotten password?", "");

        HttpResponse<String> response = send("""
                {"model":"plain","messages":[{"role":"user","content":"Hello"},{"role":"assistant","content":"Yes?"},
                 {"role":"user","content":"How can I reset my forgotten password?"}]}""");

        assertThat(reason(response)).isNotEqualTo("cache_semantic");
        assertThat(reason(ask("plain", "How can I reset my forgotten password?", "")))
                .as("alone it is served")
                .isEqualTo("cache_semantic");
    }

    @Test
    void shouldFindWhatWasAskedBeforeTheWorkerWasReplaced() throws Exception {
        keep("How can I delete my account?", "");
        stack.stop("looking");
        stack.run("looking", Set.of("retrieval"));

        assertThat(reason(ask("plain", "How do I delete my account?", ""))).isEqualTo("cache_semantic");
    }

    @Test
    void shouldAskTheModelWhenTheEpochMoved() throws Exception {
        keep("How do I build a water wheel?", "");
        HTTP.send(
                HttpRequest.newBuilder(URI.create(stack.url() + "/cache"))
                        .DELETE()
                        .build(),
                HttpResponse.BodyHandlers.ofString());

        assertThat(reason(ask("plain", "How can I build a water wheel?", ""))).isNotEqualTo("cache_semantic");
    }
}
