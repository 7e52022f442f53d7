package io.millrace.standalone.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.config.ConfigLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A long value pushed what is behind it out of its column. */
class ConfigCommandTest {
    @Test
    void shouldKeepItsColumnsWhenValuesAreLong(@TempDir Path folder) throws Exception {
        String url = "https://models.example.org/a/path/that/is/longer/than/the/column/of/values";
        Path file = Files.writeString(folder.resolve("millrace.yaml"), """
                retrieval:
                  rerank-url: %s
                  rerank-model: m
                """.formatted(url));

        List<String> table = ConfigCommand.table(ConfigLoader.load(Optional.of(file), Map.of(), Map.of()));

        int value = table.getFirst().indexOf("true");
        int origin = table.getFirst().indexOf("default");
        assertThat(table.getFirst()).startsWith("cache.semantic.enabled ");
        assertThat(below(table, "collections "))
                .containsExactly(
                        "codebase-context,skills-patterns,",
                        "error-solutions,interaction-history,",
                        "best-practices,nixos-docs");
        assertThat(table)
                .anyMatch(row -> row.startsWith("collections ") && row.indexOf("default") == origin)
                .anyMatch(row ->
                        row.startsWith("retrieval.rerank-url ") && row.indexOf(url) == value && row.endsWith(url))
                .contains(" ".repeat(origin) + file + ":2")
                .allMatch(row -> row.length() > value && row.charAt(value - 1) == ' ')
                .noneMatch(row -> row.endsWith("default") && row.indexOf("default") != origin);
    }

    /** The value in the row that begins so, and in those that go on with it. */
    private static List<String> below(List<String> table, String start) {
        int first = 0;
        while (!table.get(first).startsWith(start)) {
            first++;
        }
        int end = first + 1;
        while (table.get(end).startsWith(" ")) {
            end++;
        }
        return table.subList(first, end).stream()
                .map(row -> row.replaceFirst("^\\S*\\s+", "").replaceFirst("\\s.*", ""))
                .toList();
    }
}
