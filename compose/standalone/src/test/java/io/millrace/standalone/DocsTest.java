package io.millrace.standalone;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.Locale;
import java.util.Set;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** What a newcomer copies from the documents works: its commands, its requests, its links. */
class DocsTest {
    private static final Path HOME = Path.of("..", "..");
    private static final Pattern CURL = Pattern.compile("curl [^`\n]*");
    private static final Pattern COMMAND = Pattern.compile("\\./millrace ([a-z]+)");
    private static final Pattern LINK = Pattern.compile("\\]\\(([^)#:]+)(?:#([^)]*))?\\)");
    private static final Pattern HEADING = Pattern.compile("(?m)^#+ (.*)$");

    static Stream<Path> documents() throws IOException {
        try (Stream<Path> docs = Files.walk(HOME.resolve("docs"))) {
            return Stream.concat(
                    Stream.of(HOME.resolve("README.md")),
                    docs.filter(each -> each.toString().endsWith(".md")))
                    .toList()
                    .stream();
        }
    }

    @ParameterizedTest
    @MethodSource("documents")
    void shouldHoldWhatCanBeCopied(Path document) throws IOException {
        String text = Files.readString(document).replaceAll("\\\\\\n\\s*", "");

        assertThat(CURL.matcher(text).results().map(MatchResult::group).filter(line -> line.contains(" -d ")))
                .allMatch(line -> line.toLowerCase(Locale.ROOT).contains("content-type: application/json"));
        Set<String> commands = new HashSet<>(Main.commandLine().getSubcommands().keySet());
        commands.addAll(Set.of("test", "bench"));
        assertThat(COMMAND.matcher(text).results().map(found -> found.group(1))).isSubsetOf(commands);
        for (MatchResult link : LINK.matcher(text).results().toList()) {
            Path to = document.resolveSibling(link.group(1));
            assertThat(to).exists();
            if (link.group(2) != null) {
                assertThat(anchors(to)).as(link.group()).contains(link.group(2));
            }
        }
    }

    /** Of headings, as they are made where Markdown is shown. */
    private static Stream<String> anchors(Path document) throws IOException {
        return HEADING.matcher(Files.readString(document))
                .results()
                .map(heading -> heading.group(1).toLowerCase(Locale.ROOT))
                .map(heading -> heading.replaceAll("[^\\p{L}\\p{N} _-]", "").replace(' ', '-'));
    }

    /** Or the test above says nothing. */
    @Test
    void shouldHaveFoundWhatCanBeCopied() throws IOException {
        StringBuilder all = new StringBuilder();
        for (Path document : documents().toList()) {
            all.append(Files.readString(document));
        }
        assertThat(CURL.matcher(all).results()).hasSizeGreaterThan(5);
        assertThat(COMMAND.matcher(all).results()).hasSizeGreaterThan(20);
        assertThat(LINK.matcher(all).results().filter(link -> link.group(2) != null))
                .isNotEmpty();
    }
}
