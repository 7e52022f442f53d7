package io.millrace.standalone;

import static io.millrace.standalone.Stack.await;
import static io.millrace.standalone.Stack.id;
import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.bench.stub.StubUpstream;
import io.millrace.bench.stub.StubUpstream.Mode;
import io.millrace.schema.Interaction;
import io.millrace.standalone.Stack.Trace;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The response cache through the running system: what is answered from it, and what never is. */
class CacheIT {
    @TempDir
    static Path folder;

    private static StubUpstream remote;
    private static Stack stack;

    @BeforeAll
    static void start() throws Exception {
        remote = new StubUpstream("remote", 8, 5).start(0);
        stack = Stack.ofCaches(folder, remote);
        stack.run("all", Roles.ALL);
    }

    @AfterAll
    static void stop() {
        stack.close();
        remote.close();
    }

    @BeforeEach
    void forget() {
        remote.reset();
    }

    private static HttpResponse<String> ask(String model, String question, String extra) throws Exception {
        return stack.cacheable(model, question, extra);
    }

    private static boolean isCached(HttpResponse<String> response) {
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return response.headers().firstValue("x-millrace-cached").orElseThrow().equals("true");
    }

    /** Kept after the client has its answer, so the first repetition may come too early. */
    private static HttpResponse<String> askUntilCached(String model, String question, String extra) {
        HttpResponse<?>[] last = new HttpResponse<?>[1];
        await("a cached answer", () -> {
            HttpResponse<String> response = ask(model, question, extra);
            last[0] = response;
            return isCached(response);
        });
        @SuppressWarnings("unchecked")
        HttpResponse<String> response = (HttpResponse<String>) last[0];
        return response;
    }

    @Test
    void shouldAnswerTheSameAgainWithoutAskingWhenTheClientAllowsIt() throws Exception {
        HttpResponse<String> first = ask("plain", "What turns the wheel?", ",\"temperature\":0");
        assertThat(isCached(first)).isFalse();

        // the same request, written otherwise
        HttpResponse<String> again =
                askUntilCached("plain", "What turns the wheel?", ", \"user\":\"x\", \"temperature\": 0");

        int asked = remote.asked();
        assertThat(isCached(ask("plain", "What turns the wheel?", ",\"temperature\":0")))
                .isTrue();
        assertThat(remote.asked()).isEqualTo(asked);
        assertThat(Stack.content(again)).isEqualTo(Stack.content(first));
        Trace trace = stack.trace(again);
        assertThat(trace.reasons()).containsExactly("cache_exact");
        assertThat(trace.routes()).containsExactly("cache");
        Interaction interaction = trace.interaction();
        assertThat(interaction.getCachedKind()).isEqualTo("exact");
        assertThat(interaction.getCostUsd()).as("nothing was paid for it").isZero();
        assertThat(stack.trace(first).interaction().getCostUsd()).isPositive();
        assertThat(stack.sql(
                        "SELECT route || ' ' || reason || ' ' || cost_usd FROM interactions WHERE interaction_id = '"
                                + id(again) + "'"))
                .isEqualTo("cache cache_exact 0");
    }

    @Test
    void shouldStreamAgainWhatWasStreamed() throws Exception {
        ask("plain", "What is a sluice?", ",\"stream\":true");

        HttpResponse<String> again = askUntilCached("plain", "What is a sluice?", ",\"stream\":true");

        assertThat(again.body()).contains("remote: 0").endsWith("data: [DONE]\n\n");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "other | What is a weir? |",
                "plain | What is a mole? |",
                "plain | What is a weir? | ,\"temperature\":0.5",
                "plain | What is a weir? | ,\"stream\":true",
                "plain | What is a weir? | ,\"max_tokens\":7"
            })
    void shouldAskWhenAnythingIsDifferent(String model, String question, String extra) throws Exception {
        ask("plain", "What is a weir?", "");
        askUntilCached("plain", "What is a weir?", "");
        int asked = remote.asked();

        assertThat(isCached(ask(model, question, extra == null ? "" : extra))).isFalse();

        assertThat(remote.asked()).isEqualTo(asked + 1);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "What is a race? | ,\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]",
                "What is a pond? | ,\"store\":false"
            })
    void shouldNeverKeepWhatMustNotBeKept(String question, String extra) throws Exception {
        for (int i = 0; i < 3; i++) {
            assertThat(isCached(ask("plain", question, extra))).isFalse();
            Thread.sleep(100);
        }
        assertThat(remote.asked()).isEqualTo(3);
    }

    @Test
    void shouldNotKeepFailuresOrAnswersThatWereCutOff() throws Exception {
        remote.mode(Mode.ERROR_500);
        assertThat(ask("plain", "What is a penstock?", "").statusCode()).isGreaterThanOrEqualTo(500);
        remote.mode(Mode.TRUNCATED);
        assertThat(isCached(ask("plain", "What is a penstock?", ""))).isFalse();
        Thread.sleep(200);
        remote.mode(Mode.OK);

        assertThat(isCached(ask("plain", "What is a penstock?", ""))).isFalse();
    }

    @Test
    void shouldAskAnewWhenTheEpochMoves() throws Exception {
        ask("plain", "What is a gudgeon?", "");
        askUntilCached("plain", "What is a gudgeon?", "");

        stack.endCaches();

        // the cache is at work: nothing is missed because Redis is slow
        askUntilCached("plain", "What is a trundle?", "");
        assertThat(isCached(ask("plain", "What is a gudgeon?", ""))).isFalse();
    }

    @ParameterizedTest
    @CsvSource({"What is a tailrace?,true", "What is a headrace?,false"})
    void shouldAskAnewWhenSomebodySaysThatTheAnswerIsBad(String question, boolean cached) throws Exception {
        HttpResponse<String> first = ask("plain", question, "");
        HttpResponse<String> again = askUntilCached("plain", question, "");

        // by who got it from the cache, or by who got it first
        stack.rate(cached ? again : first, "\"rating\":-1");

        await("the entry to be gone", () -> !isCached(ask("plain", question, "")));
        HttpResponse<String> renewed = askUntilCached("plain", question, "");
        assertThat(stack.trace(renewed).interaction().getCachedInteractionId()).isNotEqualTo(id(first));
        // a late second voice on the old answer is none on the new one
        stack.rate(again, "\"outcome\":\"failure\"");
        Thread.sleep(500);
        assertThat(isCached(ask("plain", question, ""))).isTrue();
    }

    @Test
    void shouldAskAnewWhenTheKnowledgeChanges() throws Exception {
        String allowed = ",\"enable_cache\":true";
        await(
                "a cached answer",
                () -> reason(stack.query("How high is the dam?", allowed)).equals("cache_exact"));

        HttpResponse<String> added = stack.post("/documents?wait=true", """
                {"content":"# The dam\\n\\nThe dam is twelve metres high.","collection":"best-practices","relative_path":"dam.md"}""");

        assertThat(added.statusCode()).as(added.body()).isEqualTo(200);
        await(
                "the cache to be at work",
                () -> reason(stack.query("Who greases the bearings?", allowed)).equals("cache_exact"));
        assertThat(reason(stack.query("How high is the dam?", allowed))).isNotIn("", "cache_exact", "cache_semantic");
    }

    private static String reason(HttpResponse<String> answer) throws Exception {
        return Stack.JSON.readTree(answer.body()).at("/decision/reason").asText();
    }

    @Test
    void shouldAskWhenRedisIsDown() throws Exception {
        ask("plain", "What is a trunnion?", "");
        askUntilCached("plain", "What is a trunnion?", "");
        stack.parts().redis().stop();
        try {
            assertThat(isCached(ask("plain", "What is a trunnion?", ""))).isFalse();
        } finally {
            stack.parts().redis().start();
        }
    }
}
