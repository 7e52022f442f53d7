package io.millrace.knowledge;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class TermsTest {
    @Test
    void shouldAddTheFirstTwoSynonymsOfAWord() {
        assertThat(Terms.expanded("quantization")).containsOnlyKeys("quantiz", "gguf", "q4_k_m");
        assertThat(Terms.expanded("quantization").get("gguf")).isEqualTo(Terms.SYNONYM_WEIGHT);
        assertThat(Terms.expanded("quantization").get("quantiz")).isEqualTo(1.0);
    }

    /** The predecessor replaced substrings: nix in nixos, err in terror. */
    @Test
    void shouldExpandWholeWordsOnly() {
        assertThat(Terms.expanded("a terrorfixture")).containsOnlyKeys("terrorfixtur");
        assertThat(Terms.expanded("nixos")).doesNotContainKey("express");
    }

    @Test
    void shouldNotTakeTheWordItselfForItsSynonym() {
        assertThat(Terms.expanded("fix")).containsOnlyKeys("fix", "solv");
        assertThat(Terms.expanded("Error")).containsOnlyKeys("error", "issu");
    }

    @Test
    void shouldNotLowerAWordThatWasAskedForItself() {
        assertThat(Terms.expanded("deploy with nixos-rebuild switch").get("switch"))
                .isEqualTo(1.0);
    }

    @Test
    void shouldCountTheWordsOfRewordingsLess() {
        assertThat(Terms.expanded("undo a deployment", java.util.List.of("roll back the deployment")))
                .containsEntry("deploy", 1.0)
                .containsEntry("roll", Terms.SYNONYM_WEIGHT);
    }

    @Test
    void shouldBeEmptyWhenOnlyStopWordsAreAsked() {
        assertThat(Terms.expanded("is it the, or not?")).isEmpty();
    }

    /** Stack for each word of a question would end the worker that reads it; an eighth of a usual stack is a fair share. */
    @Test
    void shouldReadAQuestionOfAnyLength() throws InterruptedException {
        for (String repeated : java.util.List.of(".b", "-b", ",1", "/b", "_b", "a", "A", "+", "é\uD83D\uDE00")) {
            String question = "a1" + repeated.repeat(100_000);
            java.util.concurrent.FutureTask<?> read = new java.util.concurrent.FutureTask<>(() -> {
                assertThat(Terms.expanded(question)).isNotNull();
                return io.millrace.knowledge.meaning.Question.of(question, new float[] {1});
            });
            Thread thread = new Thread(null, read, "small stack", 256 * 1024);
            thread.start();
            thread.join();
            assertThat(read).as(repeated).succeedsWithin(java.time.Duration.ZERO);
        }
    }
}
