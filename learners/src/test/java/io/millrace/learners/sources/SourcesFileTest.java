package io.millrace.learners.sources;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.millrace.config.ConfigException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class SourcesFileTest {
    private static final List<String> COLLECTIONS = List.of("codebase-context", "nixos-docs");
    private static final Path FILE = Path.of("/data/knowledge-sources.yaml");

    private static List<SourceDefinition> parse(String text) {
        return SourcesFile.parse(FILE, text, COLLECTIONS);
    }

    private static List<String> errors(String text) {
        ConfigException wrong = catchThrowableOfType(ConfigException.class, () -> parse(text));
        assertThat(wrong).as("it was taken: %s", text).isNotNull();
        return wrong.errors();
    }

    @Test
    void shouldReadASourceWithItsDefaults() {
        SourceDefinition source = parse("""
                sources:
                  - id: notes
                    type: local_dir
                    path: notes
                """).getFirst();

        assertThat(source.id()).isEqualTo("notes");
        assertThat(source.locations()).containsExactly("/data/notes");
        assertThat(source.collection()).isEqualTo("codebase-context");
        assertThat(source.trust()).isEqualTo("imported");
        assertThat(source.schedule()).isEqualTo(Duration.ofSeconds(2));
        assertThat(source.enabled()).isTrue();
        assertThat(source.localOnly()).isFalse();
        assertThat(source.maxBytes()).isEqualTo(8 << 20);
        assertThat(source.firstLine()).isEqualTo(2);
    }

    @Test
    void shouldTellEveryErrorWithFileAndLine() {
        List<String> errors = errors("""
                sources:
                  - id: Wrong Id
                    type: local_dir
                    path: x
                    collection: nowhere
                    colour: red
                  - id: two
                    type: ftp
                  - id: three
                    type: url
                    urls: ["not an address"]
                    depth: 11
                    trust: perhaps
                    schedule: soon
                  - id: four
                    type: git
                  - id: three
                    type: local_dir
                    path: y
                  - id: four-more
                    type: local_dir
                    path: z
                    max_documents: 200001
                """);

        assertThat(errors).allSatisfy(error -> assertThat(error).startsWith("/data/knowledge-sources.yaml:"));
        assertThat(String.join("\n", errors))
                .contains(":2: id Wrong Id must be lower-case letters, digits, dots and dashes")
                .contains(":5: there is no collection nowhere; there are codebase-context, nixos-docs")
                .contains(":6: colour is no key of a local_dir source; there are")
                .contains(":8: there is no type ftp; there are git, url, local_dir, connector")
                .contains(":11: ")
                .contains(":12: depth")
                .contains(":13: trust is perhaps; it may be trusted, imported or generated")
                .contains(":14: schedule")
                .contains(":15: url is missing: the repository")
                .contains(":17: ")
                .contains(":23: max_documents is 200001; it may be 1..200000")
                .doesNotContain("null");
        assertThat(errors).hasSize(11);
    }

    @Test
    void shouldRefuseTheNameOfTheApisTopic() {
        assertThat(errors("sources:\n  - {id: api, type: local_dir, path: x}\n").getFirst())
                .contains(":2: id api")
                .endsWith("and not api");
    }

    /** The later took the earlier one's place, and with it a local_only. */
    @Test
    void shouldRefuseAKeyThatStandsTwice() {
        assertThat(errors("""
                sources:
                  - id: one
                    type: local_dir
                    path: x
                    local_only: true
                    local_only: false
                sources: []
                """))
                .containsExactly(
                        FILE + ":6: sources[0].local_only is set twice, first at " + FILE + ":5",
                        FILE + ":7: sources is set twice, first at " + FILE + ":1");
    }

    @Test
    void shouldTellWhereYamlIsBroken() {
        assertThat(errors("sources:\n  - id: [a\n").getFirst()).startsWith("/data/knowledge-sources.yaml:");
        assertThat(errors("- id: a\n").getFirst()).startsWith("/data/knowledge-sources.yaml");
        assertThat(errors("sources: notes\n").getFirst()).startsWith("/data/knowledge-sources.yaml:1");
    }

    @Test
    void shouldBeNoSourcesWhenThereIsNothing(@TempDir Path folder) throws Exception {
        assertThat(parse("sources: []\n")).isEmpty();
        Path file = folder.resolve(SourcesFile.NAME);
        assertThat(SourcesFile.read(file, COLLECTIONS)).isEmpty();
        Files.writeString(file, "sources:\n  - {id: a, type: local_dir, path: x}\n");
        assertThat(SourcesFile.read(file, COLLECTIONS)).hasSize(1);
    }

    /** Each of these once removed every source with all its documents, and without an error. */
    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "\n",
                "# all of it is a comment\n",
                "{}\n",
                "sources:\n",
                "sources: hello\n",
                "sources: {a: b}\n",
                "sources:\n  notes:\n    type: local_dir\n    path: /tmp/x\n"
            })
    void shouldTakeNothingButAnEmptyListForNoSources(String text) {
        assertThat(errors(text))
                .singleElement()
                .asString()
                .startsWith("/data/knowledge-sources.yaml:")
                .endsWith("write `sources: []` to have none");
    }

    @Test
    void shouldSayThatSourcesMustBeAListWithItsLine() {
        for (String wrong : List.of("hello", "{a: b}", "\n  notes:\n    type: local_dir", "")) {
            assertThat(errors("# mine\nsources: " + wrong + "\n"))
                    .containsExactly("/data/knowledge-sources.yaml:2: sources must be a list:"
                            + " write `sources: []` to have none");
        }
    }

    @Test
    void shouldKeepWhatWasDeclaredWhileTheFileIsWrongOrMissing(@TempDir Path folder) throws Exception {
        Path file = folder.resolve(SourcesFile.NAME);
        DeclaredSources declared = new DeclaredSources(file, COLLECTIONS);
        assertThat(declared.look(false))
                .as("no file is no source, where there was none")
                .isTrue();
        assertThat(declared.error()).isEmpty();
        String text = "sources:\n  - {id: a, type: local_dir, path: x}\n";
        Files.writeString(file, text);
        FileTime written = Files.getLastModifiedTime(file);
        assertThat(declared.look(false)).isTrue();

        for (String wrong : List.of("", "sources:\n  a: {type: local_dir, path: x}\n")) {
            Files.writeString(file, wrong);
            assertThat(declared.look(true)).isFalse();
            assertThat(declared.error()).contains(file.toString());
            assertThat(declared.removed(Set.of("a"))).isEmpty();
        }
        Files.delete(file);
        assertThat(declared.look(true)).isFalse();
        assertThat(declared.error())
                .isEqualTo(file + ": is missing, and its sources stay: put it back, or write `sources: []` to have"
                        + " none");
        assertThat(declared.removed(Set.of("a"))).isEmpty();

        Files.writeString(file, text);
        Files.setLastModifiedTime(file, written);
        declared.look(true);
        assertThat(declared.error()).as("it is as it was").isEmpty();
        Files.writeString(file, "sources: []\n");
        declared.look(true);
        assertThat(declared.error()).isEmpty();
        assertThat(declared.removed(Set.of("a"))).containsExactly("a");
    }

    /** What an earlier process read is on the log, and what it had declared is not known until the file can be read. */
    @Test
    void shouldRemoveNothingAfterAStartThatFindsAFileItCannotRead(@TempDir Path folder) throws Exception {
        Path file = folder.resolve(SourcesFile.NAME);
        DeclaredSources declared = new DeclaredSources(file, COLLECTIONS);
        declared.look(true);
        assertThat(declared.removed(Set.of("a", "b"))).isEmpty();
        Files.writeString(file, "sources: [");
        declared.look(true);
        assertThat(declared.removed(Set.of("a", "b"))).isEmpty();

        Files.writeString(file, "sources:\n  - {id: a, type: local_dir, path: x}\n");
        declared.look(true);

        assertThat(declared.removed(Set.of("a", "b"))).containsExactly("b");
    }

    /** A comment behind the key must not keep the list from becoming an empty one. */
    @Test
    void shouldLeaveAnEmptyListWhenTheLastEntryGoes() {
        String text = "sources:  # mine\n  - id: a\n    type: local_dir\n    path: /a\n";

        String empty = SourcesFile.without(text, parse(text).getFirst());

        assertThat(empty).isEqualTo("sources: []  # mine\n");
        assertThat(parse(SourcesFile.with(empty, Map.of("id", "b", "type", "local_dir", "path", "/b"))))
                .hasSize(1);
    }

    /** All of these were taken, and not as they were meant. */
    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
                metadata: {foo: bar}            | metadata.foo is nothing to filter by; there are [category, framework, language, success_rate, version]
                metadata: {succes_rate: 0.9}    | metadata.succes_rate is nothing to filter by; there are [category, framework, language, success_rate, version]
                metadata: {success_rate: high}  | metadata.success_rate is high; it must be a number from 0 to 1
                metadata: {success_rate: 1.1}   | metadata.success_rate is 1.1; it must be a number from 0 to 1
                metadata: {success_rate: -0.1}  | metadata.success_rate is -0.1; it must be a number from 0 to 1
                metadata: {success_rate: NaN}   | metadata.success_rate is NaN; it must be a number from 0 to 1
                metadata: {version: [1, 2]}     | metadata.version must be one value
                metadata: {version: ""}         | metadata.version must be one line
                metadata: [a]                   | metadata must hold keys and values
                tags: {a: b}                    | tags must be a value, or a list of values, of a line each
                tags: [[x]]                     | tags must be a value, or a list of values, of a line each
                fetch: 3                        | fetch: 3 is no glob; if a file has that name, quote it
                fetch: [3]                      | fetch: 3 is no glob; if a file has that name, quote it
                fetch: {a: b}                   | fetch must be a value, or a list of values, of a line each
                exclude: true                   | exclude: true is no glob; if a file has that name, quote it
                """)
    void shouldRefuseAWrongValueWithItsLine(String line, String error) {
        assertThat(errors("sources:\n  - id: a\n    type: local_dir\n    path: x\n    " + line + "\n"))
                .containsExactly("/data/knowledge-sources.yaml:5: " + error);
    }

    @Test
    void shouldTakeTheRightValuesInEitherForm() {
        SourceDefinition source = parse("""
                sources:
                  - id: a
                    type: local_dir
                    path: x
                    tags: [one, 2026]
                    fetch: "**/*.md"
                    exclude:
                    metadata: {success_rate: 0.95, version: 25.05}
                """).getFirst();

        assertThat(source.tags()).containsExactly("one", "2026");
        assertThat(source.fetch()).containsExactly("**/*.md");
        assertThat(source.exclude()).isEmpty();
        assertThat(source.metadata()).isEqualTo(Map.of("success_rate", "0.95", "version", "25.05"));
    }

    /** People's comments and order stay. */
    @Test
    void shouldAddAndRemoveAnEntryAndTouchNothingElse() {
        String before = """
                # mine
                sources:
                  - id: one   # the first
                    type: local_dir
                    path: /one
                  # about two
                  - id: two
                    type: local_dir
                    path: /two
                """;
        String added = SourcesFile.with(before, Map.of("id", "three", "type", "local_dir", "path", "/three"));

        assertThat(added).startsWith(before);
        assertThat(parse(added).stream().map(SourceDefinition::id)).containsExactly("one", "two", "three");
        String removed = SourcesFile.without(added, parse(added).getFirst());
        assertThat(parse(removed).stream().map(SourceDefinition::id)).containsExactly("two", "three");
        assertThat(removed).startsWith("# mine\n").contains("# about two").doesNotContain("/one");
        String empty = removed;
        while (!parse(empty).isEmpty()) {
            empty = SourcesFile.without(empty, parse(empty).getFirst());
        }
        assertThat(parse(SourcesFile.with(
                                empty, Map.of("id", "new", "type", "git", "url", "https://example.org/x.git")))
                        .getFirst()
                        .id())
                .isEqualTo("new");
    }

    /** What a stopped reader still writes must not pass for what is read now. */
    @Test
    void shouldHaveAnotherDefinitionWhenAddedAgainOrReadByOtherRules() {
        SourceDefinition source =
                parse("sources:\n  - {id: a, type: local_dir, path: /x}\n").getFirst();
        SourceDefinition tagged = parse("sources:\n  - {id: a, type: local_dir, path: /x, tags: [t]}\n")
                .getFirst();
        SourceDefinition slower = parse("sources:\n  - {id: a, type: local_dir, path: /x, schedule: 5m}\n")
                .getFirst();

        assertThat(source.definition(1)).isEqualTo(source.definition(1)).isNotEqualTo(source.definition(2));
        assertThat(tagged.definition(1)).isNotEqualTo(source.definition(1));
        assertThat(slower.definition(1)).isEqualTo(source.definition(1));
    }
}
