package io.millrace.knowledge;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.tuple;

import io.millrace.id.Ids;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class ChunkerTest {
    /** Passages of two ways to cut under the same ids: some would be old, and some new. When this fails, both strings change. */
    @Test
    void shouldHaveAnotherVersionWhenItCutsAnotherWay() {
        String text =
                "Before any heading.\n\n# Mill ##\n\n(anchor)=\nIt turns.\r\n\n## C#\n\n```` md\n# no heading\n```\n\nstill\n````\n"
                        + "~~~\n# nor this\n``` \n~~~\n### Deep\n\n" + "A sentence of the mill. ".repeat(60) + "\n\n"
                        + "line of code\n".repeat(90) + "\n\n" + "\ud83d\ude00".repeat(700) + "\n\n# "
                        + "long ".repeat(80)
                        + "\n\n## \n\nAt the end.\n";

        assertThat(Chunker.VERSION + " "
                        + Ids.content(Chunker.chunk("mill.md", text).toString()))
                .isEqualTo("md3 e27625848ce50a2e92c19638ee9c99cd");
    }

    /** It had no passage, and its source was waiting for one for ever. */
    @Test
    void shouldTakeHeadingsForTextWhenThereIsNothingElse() {
        assertThat(Chunker.chunk("mill.md", "# my-project\n\n## Sluices\n#  \n"))
                .containsExactly(new Chunker.Chunk(0, "mill.md", "my-project\n\nSluices"));
        assertThat(Chunker.chunk("mill.md", "# my-project\n\nIt turns.\n\n# Later\n"))
                .containsExactly(new Chunker.Chunk(0, "mill.md › my-project", "It turns."));
        assertThat(Chunker.chunk("mill.md", "#  \n")).isEmpty();
    }

    /** C# lost its sharp, and was found as C. */
    @ParameterizedTest
    @CsvSource({"# C#,C#", "## Sluices ##,Sluices", "#   The weir   ,The weir", "# F# and C# ##  ,F# and C#"})
    void shouldKeepTheHashesThatAreAHeadingsOwn(String line, String title) {
        assertThat(Chunker.chunk("mill.md", line + "\n\nWater runs here.\n"))
                .singleElement()
                .satisfies(chunk -> {
                    assertThat(chunk.title()).endsWith(title).doesNotEndWith(title + " ##");
                    assertThat(chunk.text()).contains("Water runs here.");
                });
    }

    /** Time for each pair of characters would be an hour for each of these. */
    @ParameterizedTest
    @ValueSource(strings = {" ", "#", "# ", "\t#"})
    @Timeout(60)
    void shouldTakeTimeByTheLengthOfALine(String repeated) {
        String line = "# " + repeated.repeat(2_000_000) + "x";

        assertThat(Chunker.chunk("mill.md", line + "\n\nWater runs here.\n"))
                .isNotEmpty()
                .last()
                .satisfies(chunk -> assertThat(chunk.text()).endsWith("Water runs here."));
    }

    /** Each chunk below it would carry it. */
    @Test
    void shouldTakeALineOfAMegabyteForTextWhateverItBeginsWith() {
        List<Chunker.Chunk> chunks =
                Chunker.chunk("mill.md", "# " + "wheel ".repeat(200_000) + "\n\n" + "Water runs here.\n\n".repeat(500));

        assertThat(chunks)
                .hasSizeGreaterThan(1_000)
                .allSatisfy(chunk -> assertThat(chunk.title()).isEqualTo("mill.md"));
        assertThat(chunks.getFirst().text()).startsWith("# wheel wheel");
    }

    @Test
    void shouldNameWhatFollowsByTheHeadingsAboveIt() {
        assertThat(Chunker.chunk("Mill", "# Mill\n\n## Wheel\n\nIt turns.\n\n## Sluice\n\nIt opens.\n"))
                .extracting(Chunker.Chunk::title)
                .containsExactly("Mill › Wheel", "Mill › Sluice");
    }

    /** Pages that show Markdown: what the example says is no heading of the page. */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "~~~~\n```\n# Not a heading\n```\n# Nor this\n~~~~",
                "````md\n```sh\n# Not a heading\n```\n# Nor this\n````",
                "```\n~~~\n# Not a heading\n``` sh\n# Nor this\n```  ",
                "```make mill```"
            })
    void shouldEndAFenceOnlyByOneOfItsKind(String fenced) {
        assertThat(Chunker.chunk("Mill", "# Mill\n\n" + fenced + "\n\n## Wheel\n\nIt turns.\n"))
                .extracting(Chunker.Chunk::title, Chunker.Chunk::text)
                .containsExactly(tuple("Mill", fenced.strip()), tuple("Mill › Wheel", "It turns."));
    }
}
