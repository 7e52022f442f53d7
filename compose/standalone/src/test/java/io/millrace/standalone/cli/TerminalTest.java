package io.millrace.standalone.cli;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.node.ObjectNode;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption.DoNotIncludeTests;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;

/** An answer must not be able to rewrite what stands on the screen. */
class TerminalTest {
    private static String printed(String text) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        PrintStream before = System.out;
        System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
        try {
            Terminal.line(text);
        } finally {
            System.setOut(before);
        }
        return out.toString(StandardCharsets.UTF_8).stripTrailing();
    }

    @Test
    void shouldWriteOutEveryControlButNewlineAndTab() {
        for (char each = 0; each < 0xa0; each++) {
            if (each == '\n' || each == '\t' || (each >= ' ' && each < 0x7f)) {
                assertThat(printed("a" + each + "b")).isEqualTo("a" + each + "b");
            } else {
                assertThat(printed("a" + each + "b")).isEqualTo("a\\u%04xb".formatted((int) each));
            }
        }
        for (char direction : "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069".toCharArray()) {
            assertThat(printed("" + direction)).isEqualTo("\\u%04x".formatted((int) direction));
        }
    }

    @Test
    void shouldLeaveWhatIsWrittenWithOtherLettersAndTheLineEndsOfOtherSystems() {
        for (String text : new String[] {"Grüße, 水車, नमस्ते", "می‌خواهم", "👩‍🌾 at the mill", "one\ntwo\n\tthree"}) {
            assertThat(printed(text)).isEqualTo(text);
        }
        assertThat(printed("one\r\ntwo")).isEqualTo("one\ntwo");
        assertThat(printed("all is well\rall is lost")).isEqualTo("all is well\\u000dall is lost");
    }

    @Test
    void shouldKeepANameWithinItsLine() {
        assertThat(Terminal.inLine("a\nb\u2028c\u2029d\u0085e")).isEqualTo("a\\u000ab\\u2028c\\u2029d\\u0085e");
    }

    /** JSON escapes C0 only, and a terminal takes C1 for commands, too. */
    @Test
    void shouldPrintJsonThatIsReadAsWhatItWas() throws Exception {
        ObjectNode answer =
                Instance.JSON.createObjectNode().put("response", "\u001b[2J \u009b2J \u007f \u202e \r\n \\u009b");

        String printed = printed(answer.toPrettyString());

        assertThat(printed).doesNotContain("\u001b", "\u009b", "\u007f", "\u202e");
        assertThat(Instance.JSON.readTree(printed)).isEqualTo(answer);
    }

    /** Measurements print numbers of their own, and a line of progress is rewritten in place. */
    @Test
    void shouldBeTheOnlyWayOutOfACommand() {
        noClasses()
                .that()
                .haveSimpleNameNotStartingWith("Eval")
                .and()
                .doNotBelongToAnyOf(Terminal.class, ProgressLine.class)
                .should()
                .accessField(System.class, "out")
                .orShould()
                .accessField(System.class, "err")
                .check(new ClassFileImporter()
                        .withImportOption(new DoNotIncludeTests())
                        .importPackages("io.millrace.standalone.cli"));
    }
}
