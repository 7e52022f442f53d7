package io.millrace.standalone;

import static io.millrace.standalone.Stack.await;
import static io.millrace.standalone.Stack.id;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.lettuce.core.RedisClient;
import io.micrometer.core.instrument.Counter;
import io.millrace.bench.stub.StubUpstream;
import io.millrace.routers.cache.Bans;
import io.millrace.schema.DecisionInputs;
import io.millrace.schema.Interaction;
import io.millrace.standalone.Stack.Trace;
import io.millrace.standalone.cli.EvalCacheCommand;
import io.millrace.standalone.error.UserException;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import picocli.CommandLine;

/** The semantic cache through the running system: which other question's answer a client gets, and which never. */
class SemanticCacheIT {
    @TempDir
    static Path folder;

    private static StubUpstream remote;
    private static Stack stack;

    @BeforeAll
    static void start() throws Exception {
        remote = new StubUpstream("remote", 8, 5).start(0);
        stack = Stack.ofCaches(folder, remote);
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
        HttpResponse<String> response = stack.cacheable(body);
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
    private static HttpResponse<String> keep(String model, String question, String extra) throws Exception {
        HttpResponse<String> first = ask(model, question, extra);
        await("the answer to be kept", () -> reason(ask(model, question, extra)).equals("cache_exact"));
        return first;
    }

    private static HttpResponse<String> keep(String question, String extra) throws Exception {
        return keep("plain", question, extra);
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

    /** What would be served alone is not looked at behind a nearer question that asks something else. */
    @Test
    void shouldJudgeTheNearestQuestionOnly() throws Exception {
        String question = "How can I earn money online?";
        keep("other", "What is the best way to earn money online?", "");
        assertThat(reason(ask("other", question, ""))).isEqualTo("cache_semantic");

        keep("plain", "What is the best way to earn money online?", "");
        keep("plain", "How can I earn money online and offline?", "");

        assertThat(reason(ask("plain", question, ""))).isNotIn("cache_semantic", "cache_exact");
    }

    @Test
    void shouldNeverServeAgainWhatWasRejectedForThatQuestion() throws Exception {
        keep("How do I sharpen a kitchen knife?", "");
        HttpResponse<String> served = ask("plain", "How can I sharpen a kitchen knife?", "");
        assertThat(reason(served)).isEqualTo("cache_semantic");

        double rejected = labels("rejected");
        stack.rate(served, "\"rating\":-1");
        awaitLabel("rejected", rejected + 1);

        assertThat(reason(ask("plain", "How can I sharpen a kitchen knife?", "")))
                .isNotIn("cache_semantic", "cache_exact");
        assertThat(reason(ask("plain", "How do I sharpen a kitchen knife?", "")))
                .as("whose answer it was still gets it")
                .isEqualTo("cache_exact");
        await(
                "the label to be among the pairs to learn from",
                () -> stack.sql("""
                        SELECT i.query_text || ' | ' || c.query_text || ' | ' || (f.rating > 0)
                        FROM feedback f
                        JOIN interactions i ON i.interaction_id = f.interaction_id
                        JOIN interactions c ON c.interaction_id = nullif(i.record ->> 'cached_interaction_id', '')::uuid
                        WHERE i.reason = 'cache_semantic' AND i.interaction_id = '%s'""".formatted(id(served)))
                        .equals("How can I sharpen a kitchen knife? | How do I sharpen a kitchen knife? | false"));
    }

    @Test
    void shouldTakeARejectionBackWithAnApproval() throws Exception {
        keep("How do I sharpen a pencil?", "");
        HttpResponse<String> served = ask("plain", "How can I sharpen a pencil?", "");
        assertThat(reason(served)).isEqualTo("cache_semantic");
        double approved = labels("approved");

        stack.rate(served, "\"rating\":-1");
        stack.rate(served, "\"rating\":1");
        awaitLabel("approved", approved + 1);

        assertThat(reason(ask("plain", "How can I sharpen a pencil?", ""))).isEqualTo("cache_semantic");
    }

    @Test
    void shouldHearARejectionThatCameWhileRedisWasDownAndTheWorkerWasReplaced() throws Exception {
        keep("How do I learn to play the piano?", "");
        HttpResponse<String> served = ask("plain", "How can I learn to play the piano?", "");
        assertThat(reason(served)).isEqualTo("cache_semantic");
        stack.parts().redis().stop();
        try {
            stack.rate(served, "\"correction\":\"With a teacher.\"");
            stack.stop("looking");
        } finally {
            stack.parts().redis().start();
        }
        stack.run("looking", Set.of("retrieval"));
        awaitLabel("rejected", 1);

        await(
                "Redis to be asked again",
                () -> reason(ask("plain", "How do I learn to play the piano?", ""))
                        .equals("cache_exact"));
        assertThat(reason(ask("plain", "How can I learn to play the piano?", "")))
                .isNotEqualTo("cache_semantic");
    }

    /** Whoever wonders why nothing comes from the cache any more finds the reason. */
    @Test
    void shouldSayThatARejectionIsNotTakenAndServeNothingUntilItIs() throws Exception {
        keep("How do I grow tomatoes?", "");
        HttpResponse<String> served = ask("plain", "How can I grow tomatoes?", "");
        assertThat(reason(served)).isEqualTo("cache_semantic");
        RedisClient client = RedisClient.create(stack.parts().endpoints().redisUrl());
        try (var connection = client.connect()) {
            String broken = "millrace:served:" + id(served);
            assertThat(connection.sync().del(broken)).as("what is broken here").isOne();
            connection.sync().hset(broken, "no", "string");
            stack.rate(served, "\"rating\":-1");

            await("the reason to be told", () -> feedbackDetails().contains("1 not taken by redis"));
            assertThat(reason(ask("plain", "How do I grow tomatoes?", ""))).isNotIn("cache_semantic", "cache_exact");

            connection.sync().del(broken);
            await("all to be well", () -> feedbackDetails().isEmpty());
        } finally {
            client.shutdown();
        }
        keep("How do I grow tomatoes?", "");
    }

    private static String feedbackDetails() {
        return stack.group("looking").all().stream()
                .filter(service -> service.name().equals("cache-feedback"))
                .map(service -> String.join("; ", service.details().values()))
                .findFirst()
                .orElseThrow();
    }

    /** A Redis that lost everything is told what was rejected before anything is served by meaning again. */
    @Test
    void shouldKnowRejectionsAgainWhenRedisForgotEverything() throws Exception {
        String question = "How do I clean a cast iron pan?";
        String other = "How can I clean a cast iron pan?";
        keep(question, "");
        HttpResponse<String> served = ask("plain", other, "");
        assertThat(reason(served)).isEqualTo("cache_semantic");
        double rejected = labels("rejected");
        stack.rate(served, "\"rating\":-1");
        awaitLabel("rejected", rejected + 1);
        stack.trace(served);

        RedisClient client = RedisClient.create(stack.parts().endpoints().redisUrl());
        try (var connection = client.connect()) {
            connection.sync().flushall();
            await("the rejections to be there again", () -> connection.sync().exists(Bans.MARK) == 1);
        } finally {
            client.shutdown();
        }

        keep(question, "");
        keep("How do I clean a camera lens?", "");
        assertThat(reason(ask("plain", "How can I clean a camera lens?", "")))
                .as("the cache is at work")
                .isEqualTo("cache_semantic");
        assertThat(reason(ask("plain", other, ""))).isNotIn("cache_semantic", "cache_exact");
    }

    /** Of ratings heard since the worker was started. */
    private static double labels(String label) {
        Counter counter = stack.group("looking")
                .log()
                .metrics()
                .find("millrace.response.cache.feedback")
                .tag("kind", "semantic")
                .tag("verdict", label)
                .counter();
        return counter == null ? 0 : counter.count();
    }

    private static void awaitLabel(String label, double count) {
        await(label + " to be heard", () -> labels(label) >= count);
    }

    @Test
    void shouldFindWhatWasAskedBeforeTheWorkerWasReplaced() throws Exception {
        keep("How can I delete my account?", "");
        stack.stop("looking");
        stack.run("looking", Set.of("retrieval"));

        assertThat(reason(ask("plain", "How do I delete my account?", ""))).isEqualTo("cache_semantic");
    }

    /** The whole way of an owner: learn from pairs of one's own, name the file, restart. So few pairs promise nothing, so nothing is served. */
    @Test
    void shouldJudgeByTheVerdictThatTheOwnerLearned() throws Exception {
        Path pairs = folder.resolve("mine.jsonl");
        Path learned = folder.resolve("mine.bin");
        Files.write(
                pairs,
                IntStream.range(0, 40)
                        .mapToObj(i -> "{\"a\":\"How deep is pond %d?\",\"b\":\"How %s is pond %d?\",\"same\":%b}"
                                .formatted(i, i % 2 == 0 ? "deep" : "old", i, i % 2 == 0))
                        .toList());
        assertThat(new CommandLine(new EvalCacheCommand())
                        .execute("--pairs", pairs.toString(), "--write", learned.toString()))
                .isZero();
        String yaml = Files.readString(stack.configFile());
        keep("How can I get rid of ants?", "");
        stack.stop("looking");
        try {
            stack.configure(yaml, Map.of("MILLRACE_CACHE_SEMANTIC_MODEL", pairs.toString()));
            assertThatThrownBy(() -> stack.run("broken", Set.of("retrieval")))
                    .isInstanceOf(UserException.class)
                    .hasMessageStartingWith("cache.semantic.model: " + pairs);

            stack.configure(yaml, Map.of("MILLRACE_CACHE_SEMANTIC_MODEL", learned.toString()));
            stack.run("looking", Set.of("retrieval"));
            assertThat(reason(ask("plain", "How do I get rid of ants?", ""))).isNotEqualTo("cache_semantic");
        } finally {
            stack.stop("looking");
            stack.configure(yaml, Map.of());
            stack.run("looking", Set.of("retrieval"));
        }
        keep("other", "How can I get rid of ants?", "");
        assertThat(reason(ask("other", "How do I get rid of ants?", "")))
                .as("by the verdict that comes with the product")
                .isEqualTo("cache_semantic");
    }

    @Test
    void shouldAskTheModelWhenTheEpochMoved() throws Exception {
        keep("How do I build a water wheel?", "");
        stack.endCaches();

        keep("How do I clean a camera lens?", "");
        assertThat(reason(ask("plain", "How can I clean a camera lens?", "")))
                .as("the cache is at work")
                .isEqualTo("cache_semantic");
        assertThat(reason(ask("plain", "How can I build a water wheel?", "")))
                .isNotIn("", "cache_semantic", "cache_exact");
    }
}
