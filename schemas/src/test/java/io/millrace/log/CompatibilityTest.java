package io.millrace.log;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.millrace.schema.Lease;
import io.millrace.schema.LedgerState;
import io.millrace.schema.RoutingState;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.avro.Schema;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Present schemas against released ones; see {@code src/compat/README.md}. And the check itself, which has to find things. */
class CompatibilityTest {
    private static final Path RELEASES = Path.of("src", "compat");

    @TempDir
    private Path folder;

    /** By topic; one work topic stands for all. */
    private static Map<String, Schema> present() {
        Records.trust();
        Map<String, Schema> schemas = new TreeMap<>();
        Topics.all(List.of()).forEach(topic -> schemas.put(topic.name(), topic.schema()));
        for (Schema state :
                List.of(LedgerState.getClassSchema(), RoutingState.getClassSchema(), Lease.getClassSchema())) {
            schemas.put("state." + state.getName(), state);
        }
        return schemas;
    }

    @Test
    void shouldAskForAnotherApplicationIdWhenAStateHasChanged() throws IOException {
        Compatibility releases = new Compatibility(folder);
        releases.write("0.1.0", present());
        String lease = String.valueOf(present().get("state.Lease"));
        Schema more = new Schema.Parser()
                .parse(lease.replace(
                        "\"fields\":[", "\"fields\":[{\"name\":\"more\",\"type\":\"int\",\"default\":0},"));
        Map<String, Schema> changed = present();

        changed.put("state.Lease", more);
        assertThat(releases.problems(changed))
                .singleElement()
                .asString()
                .contains("0.1.0 state.Lease: the state of routing-v1 has changed");
        changed.put(
                "state.Lease", new Schema.Parser().parse(String.valueOf(more).replace("routing-v1", "routing-v2")));
        assertThat(releases.problems(changed)).isEmpty();
    }

    /** With {@code -Dcompat.release=VERSION} it adds the release. */
    @Test
    void shouldFitToEveryRelease() throws IOException {
        Compatibility releases = new Compatibility(RELEASES);
        String version = System.getProperty("compat.release");
        if (version != null) {
            releases.write(version, present());
            assertThat(releases.release(version)).isEqualTo(present());
        }

        assertThat(releases.problems(present())).isEmpty();
    }

    @Test
    void shouldKeepASnapshotThatFitsAndIsWhole() throws IOException {
        Compatibility releases = new Compatibility(folder);

        releases.write("0.1.0", present());

        assertThat(releases.versions()).containsExactly("0.1.0");
        assertThat(releases.release("0.1.0")).isEqualTo(present()).hasSizeGreaterThan(20);
        assertThat(releases.problems(present())).isEmpty();
        assertThatThrownBy(() -> releases.write("0.1.0", present())).hasMessageContaining("released already");
        assertThatThrownBy(() -> releases.write("next", present())).hasMessageContaining("no version");
        Files.createDirectory(folder.resolve("0.0.1"));
        assertThatThrownBy(() -> releases.problems(present())).hasMessageContaining("no schemas");
    }

    @Test
    void shouldFindAChangeDeepInARealSchema() throws IOException {
        Compatibility releases = new Compatibility(folder);
        releases.write("0.1.0", present());
        Map<String, Schema> changed = present();
        String decision = String.valueOf(changed.get("decisions"));
        String field = "\"name\":\"local_only_reason\",\"type\":{\"type\":\"string\",\"avro.java.string\":\"String\"}";
        assertThat(decision).contains(field);
        String broken = decision.replace(field, "\"name\":\"local_only_reason\",\"type\":\"int\"")
                .replaceFirst(
                        "(\"name\":\"local_only_reason\",\"type\":\"int\",\"doc\":\"[^\"]*\",\"default\":)\"\"", "$10");
        changed.put("decisions", new Schema.Parser().parse(broken));
        changed.remove("feedback");

        assertThat(releases.problems(changed))
                .anyMatch(line ->
                        line.startsWith("0.1.0 decisions: what it wrote cannot be read now: TYPE_MISMATCH at /fields/"))
                .anyMatch(line -> line.startsWith("0.1.0 decisions: it cannot read what is written now: TYPE_MISMATCH"))
                .anyMatch(line -> line.equals("0.1.0 feedback: the topic was released and is gone"))
                .hasSize(3);
        assertThatThrownBy(() -> releases.write("0.2.0", changed)).hasMessageContaining("TYPE_MISMATCH");
        assertThat(releases.versions()).containsExactly("0.1.0");
    }

    /** The last release alone would let this pass: 1.0.0 had the field without a default, 1.1.0 has not got it at all. */
    @Test
    void shouldHoldAgainstEveryReleaseAndNotTheLastOnly() throws IOException {
        release("1.0.0", "{\"name\":\"a\",\"type\":\"int\"},{\"name\":\"b\",\"type\":\"int\"}");
        release("1.1.0", "{\"name\":\"b\",\"type\":\"int\"}");

        List<String> problems = new Compatibility(folder)
                .problems(Map.of(
                        "topic",
                        record("{\"name\":\"b\",\"type\":\"int\"},{\"name\":\"c\",\"type\":\"int\",\"default\":0}")));

        assertThat(problems)
                .singleElement()
                .asString()
                .startsWith("1.0.0 topic: it cannot read what is written now: READER_FIELD_MISSING_DEFAULT_VALUE");
    }

    @ParameterizedTest(name = "{0}")
    @CsvSource(delimiter = '|', quoteCharacter = '\'', textBlock = """
            added with a default        | {"name":"a","type":"int"} | {"name":"a","type":"int"},{"name":"b","type":"int","default":0} | ''
            removed with a default      | {"name":"a","type":"int"},{"name":"b","type":"int","default":0} | {"name":"a","type":"int"} | ''
            documented                  | {"name":"a","type":"int"} | {"name":"a","type":"int","doc":"x"} | ''
            added without a default     | {"name":"a","type":"int"} | {"name":"a","type":"int"},{"name":"b","type":"int"} | 'READER_FIELD_MISSING_DEFAULT_VALUE'
            removed without a default   | {"name":"a","type":"int"},{"name":"b","type":"int"} | {"name":"a","type":"int"} | 'READER_FIELD_MISSING_DEFAULT_VALUE'
            renamed                     | {"name":"a","type":"int"} | {"name":"b","type":"int"} | 'READER_FIELD_MISSING_DEFAULT_VALUE'
            changed type                | {"name":"a","type":"int"} | {"name":"a","type":"string"} | 'TYPE_MISMATCH'
            widened, one way only       | {"name":"a","type":"int"} | {"name":"a","type":"long"} | 'TYPE_MISMATCH'
            optional, one way only      | {"name":"a","type":"int"} | {"name":"a","type":["null","int"]} | 'MISSING_UNION_BRANCH|TYPE_MISMATCH'
            a branch added              | {"name":"a","type":["null","int"]} | {"name":"a","type":["null","int","string"]} | 'MISSING_UNION_BRANCH'
            symbol added                | {"name":"a","type":{"type":"enum","name":"E","symbols":["X"]}} | {"name":"a","type":{"type":"enum","name":"E","symbols":["X","Y"]}} | 'MISSING_ENUM_SYMBOLS'
            symbol removed              | {"name":"a","type":{"type":"enum","name":"E","symbols":["X","Y"]}} | {"name":"a","type":{"type":"enum","name":"E","symbols":["X"]}} | 'MISSING_ENUM_SYMBOLS'
            symbol added, with default  | {"name":"a","type":{"type":"enum","name":"E","symbols":["X"],"default":"X"}} | {"name":"a","type":{"type":"enum","name":"E","symbols":["X","Y"],"default":"X"}} | ''
            record renamed              | {"name":"a","type":{"type":"record","name":"N","fields":[]}} | {"name":"a","type":{"type":"record","name":"M","fields":[]}} | 'NAME_MISMATCH'
            size of fixed changed       | {"name":"a","type":{"type":"fixed","name":"F","size":4}} | {"name":"a","type":{"type":"fixed","name":"F","size":8}} | 'FIXED_SIZE_MISMATCH'
            items changed               | {"name":"a","type":{"type":"array","items":"int"}} | {"name":"a","type":{"type":"array","items":"string"}} | 'TYPE_MISMATCH'
            """)
    void shouldFindWhatDoesNotFitAndNothingElse(String change, String before, String after, String problem)
            throws IOException {
        release("1.0.0", before);

        List<String> problems = new Compatibility(folder).problems(Map.of("topic", record(after)));

        if (problem.isEmpty()) {
            assertThat(problems).isEmpty();
        } else {
            assertThat(problems).isNotEmpty().anyMatch(line -> line.matches("1\\.0\\.0 topic: .*(" + problem + ").*"));
        }
    }

    private void release(String version, String fields) throws IOException {
        Path release = Files.createDirectory(folder.resolve(version));
        Files.writeString(release.resolve("topic.avsc"), record(fields).toString());
    }

    private static Schema record(String fields) {
        return new Schema.Parser().parse("{\"type\":\"record\",\"name\":\"R\",\"fields\":[" + fields + "]}");
    }
}
