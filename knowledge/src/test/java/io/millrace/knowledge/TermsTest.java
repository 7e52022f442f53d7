package io.millrace.knowledge;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.List;
import java.util.concurrent.FutureTask;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

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
        assertThat(Terms.expanded("undo a deployment", List.of("roll back the deployment")))
                .containsEntry("deploy", 1.0)
                .containsEntry("roll", Terms.SYNONYM_WEIGHT);
    }

    @Test
    void shouldBeEmptyWhenOnlyStopWordsAreAsked() {
        assertThat(Terms.expanded("is it the, or not?")).isEmpty();
    }

    /** Stack for each part of a word would end the worker that reads it; half of what stream threads have is a fair share. */
    @ParameterizedTest
    @ValueSource(strings = {".b", "-b", "_b", "a", "é😀"})
    void shouldReadAWordOfAnyLength(String repeated) throws InterruptedException {
        FutureTask<?> read = new FutureTask<>(() -> Terms.expanded("a1" + repeated.repeat(100_000)));
        Thread thread = new Thread(null, read, "small stack", 256 * 1024);
        thread.start();
        thread.join();

        assertThat(read).succeedsWithin(Duration.ZERO).isNotNull();
    }
}
