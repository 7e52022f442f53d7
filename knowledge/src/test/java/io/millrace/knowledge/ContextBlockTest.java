package io.millrace.knowledge;

import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.schema.Hit;
import java.util.List;
import java.util.Random;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class ContextBlockTest {
    private static final String LONG = """
            The mill was built long ago by people whose names are lost. It stands where the two valleys meet. Many have drawn it.

            ```
            sluice --open 2
            ```

            - The sluice opens by two notches when the blue lever is pulled.
            - The miller sleeps at noon.

            Visitors like the view from the tower, and the bread is good. In winter the pond freezes over and children skate there.
            """;

    @Test
    void shouldKeepPassagesWholeWithHeadingsAndNumbersWhenTheyFit() {
        ContextBlock block =
                ContextBlock.of("sluice", List.of(hit("A › B", "a.md", "First."), hit("C", "c.md", "Second.")), 200);

        assertThat(block.text()).isEqualTo("[1] A › B (a.md)\nFirst.\n\n[2] C (c.md)\nSecond.");
        assertThat(block.tokensAfter()).isEqualTo(ContextBlock.tokens(block.text()));
        assertThat(block.tokensBefore()).isEqualTo(4);
        assertThat(block.used()).containsExactly("id of a.md", "id of c.md");
    }

    @Test
    void shouldKeepWhatTheQuestionAsksForAndMarkGapsWhenCompressing() {
        ContextBlock block = ContextBlock.of(
                "How do I open the sluice with the blue lever?", List.of(hit("Mill", "m.md", LONG)), 70);

        assertThat(block.tokensAfter()).isLessThanOrEqualTo(70);
        assertThat(block.tokensBefore()).isGreaterThan(80);
        assertThat(block.text())
                .startsWith("[1] Mill (m.md)\n")
                .contains("- The sluice opens by two notches when the blue lever is pulled.")
                .contains("```\nsluice --open 2\n```")
                .contains("[…]")
                .doesNotContain("skate");
        assertThat(block.text().indexOf("```")).isLessThan(block.text().indexOf("- The sluice"));
    }

    @Test
    void shouldNeverExceedTheBudget() {
        Random random = new Random(7);
        for (int round = 0; round < 60; round++) {
            List<Hit> hits = IntStream.range(0, 1 + random.nextInt(6))
                    .mapToObj(i -> hit("T" + i, "p" + i, words(random)))
                    .toList();
            int budget = 10 + random.nextInt(300);

            ContextBlock block = ContextBlock.of("alpha beta gamma", hits, budget);

            assertThat(ContextBlock.tokens(block.text())).isLessThanOrEqualTo(budget);
            assertThat(block.tokensAfter()).isEqualTo(ContextBlock.tokens(block.text()));
        }
    }

    @Test
    void shouldTakeALaterPassageThatFitsWhenAnEarlierOneDoesNot() {
        ContextBlock block = ContextBlock.of(
                "miller", List.of(hit("Mill", "m.md", LONG), hit("B", "b.md", "The miller bakes.")), 30);

        assertThat(block.text()).isEqualTo("[2] B (b.md)\nThe miller bakes.");
    }

    @Test
    void shouldCountSpecialTokensAsText() {
        assertThat(ContextBlock.tokens("<|endoftext|>")).isGreaterThan(1);
    }

    private static String words(Random random) {
        List<String> words =
                List.of("alpha", "beta.", "Gamma", "delta\n\n", "```\ncode\n```\n\n", "epsilon", "水車", "ζ");
        return IntStream.range(0, 1 + random.nextInt(150))
                .mapToObj(i -> words.get(random.nextInt(words.size())))
                .collect(Collectors.joining(" "));
    }

    private static Hit hit(String title, String path, String text) {
        return Hit.newBuilder()
                .setPassageId("id of " + path)
                .setTitle(title)
                .setPath(path)
                .setText(text)
                .build();
    }
}
