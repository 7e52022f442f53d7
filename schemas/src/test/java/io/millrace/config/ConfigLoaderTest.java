package io.millrace.config;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.millrace.config.ConfigLoader.Loaded;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Which value wins, and what a wrong one is told. */
class ConfigLoaderTest {
    @TempDir
    Path folder;

    private Loaded load(String yaml, Map<String, String> env, Map<String, String> flags) throws IOException {
        Path file = folder.resolve("millrace.yaml");
        Files.writeString(file, yaml);
        return ConfigLoader.load(Optional.of(file), env, flags);
    }

    @Test
    void shouldHaveADefaultForEverything() {
        Loaded loaded = ConfigLoader.load(Optional.empty(), Map.of(), Map.of());

        assertThat(loaded.config()).isEqualTo(MillraceConfig.defaults());
        assertThat(loaded.origins()).containsEntry("routing.local", "default");
    }

    @Test
    void shouldLetFlagsWinOverVariablesOverTheFile() throws IOException {
        Loaded loaded = load(
                "listen: {port: 1}\nrouting: {local: 0.9, fallback: 0.6}\n",
                Map.of("MILLRACE_LISTEN_PORT", "2", "MILLRACE_ROUTING_FALLBACK", "0.5"),
                Map.of("listen.port", "3"));

        assertThat(loaded.config().listen().port()).isEqualTo(3);
        assertThat(loaded.config().routing().fallback()).isEqualTo(0.5);
        assertThat(loaded.config().routing().local()).isEqualTo(0.9);
        assertThat(loaded.origins())
                .containsEntry("routing.fallback", "MILLRACE_ROUTING_FALLBACK")
                .containsEntry("listen.port", "flag");
        assertThat(loaded.origins().get("routing.local")).endsWith("millrace.yaml:2");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            rooting: {local: 0.9}                               | millrace.yaml:1: rooting.local is no setting; did you mean routing.local?
            routing: {local: 2}                                 | routing.local must be 0.3 to 0.95
            routing: {local: 0.7, fallback: 0.7}                | must be at most routing.local
            routing: {deadline: soon}                           | must be a duration
            listen: {host: 0.0.0.0}                             | is not a loopback address
            limits: {body: 1TB}                                 | must be a size
            backends: {a: {kind: telnet, deployments: []}}      | must be one of llama.cpp, openai
            backends: {a: {deployments: [{url: 'ftp://x'}]}}    | must be an http or https URL
            backends: {a: {deployments: [{url: 'http://x', key: abc}]}}      | a key does not belong into the file
            backends: {a: {deployments: [{url: 'http://x', key-env: NOPE}]}} | there is no variable NOPE
            models: {m: {backend: nope}}                        | there is no backend nope
            'a: [1'                                             | is not valid YAML
            """)
    void shouldNameTheKeyAndThePlaceWhenSomethingIsWrong(String yaml, String message) {
        assertThatThrownBy(() -> load(yaml, Map.of(), Map.of()))
                .isInstanceOf(ConfigException.class)
                .hasMessageContaining(message);
    }

    @Test
    void shouldTellAllErrorsAtOnceAndNeverAKey() throws IOException {
        assertThatThrownBy(
                        () -> load("routing: {local: 9}\nlisten: {port: -1}\n", Map.of("MILLRACE_NOPE", "1"), Map.of()))
                .isInstanceOfSatisfying(
                        ConfigException.class, e -> assertThat(e.errors()).hasSize(3));
        Loaded loaded = load(
                "backends: {a: {deployments: [{url: 'http://x', key-env: K}]}}", Map.of("K", "very-secret"), Map.of());
        assertThat(loaded.config().deployment("a").orElseThrow().key().value()).isEqualTo("very-secret");
        assertThat(loaded.view().toString()).doesNotContain("very-secret");
    }
}
