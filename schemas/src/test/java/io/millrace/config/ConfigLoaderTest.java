package io.millrace.config;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.millrace.config.ConfigLoader.Loaded;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
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
            {retention: {short: 10m}, routing: {deadline: 11m}} | millrace.yaml:1: retention.short 10m must be at least routing.deadline (11m from
            retention: {days: 1h, short: 2h}                    | millrace.yaml:1: retention.days 1h must be at least retention.short (2h from
            registry: {user: mill}                              | millrace.yaml:1: registry.user does nothing without registry.url
            registry: {user: mill, url: 'http://a:b@c/'}        | millrace.yaml:1: registry.user: registry.url holds a user already
            registry: {url: 'http://c/', password-env: NOPE}    | there is no variable NOPE
            retention: {long: 2d}                               | millrace.yaml:1: retention.long 2d must be at least retention.days (7d from default)
            retention: {long: 1h}                               | retention.long must be 1d to 3650d
            routing: {deadline: soon}                           | must be a duration
            listen: {host: 0.0.0.0}                             | is not a loopback address
            listen: {hosts: ['http://a.example']}               | millrace.yaml:1: listen.hosts must be host names without scheme and port
            listen: {hosts: [a.example, 'b:80']}                | b:80 is none
            limits: {body: 1TB}                                 | must be a size
            backends: {a: {kind: telnet, deployments: []}}      | must be one of llama.cpp, openai
            backends: {a: {deployments: [{url: 'ftp://x'}]}}    | must be an http or https URL
            backends: {a: {deployments: [{url: 'http://x', key: abc}]}}      | a key does not belong into the file
            backends: {a: {deployments: [{url: 'http://x', key-env: NOPE}]}} | there is no variable NOPE
            backends: {a: {deployments: [{url: 'http://x', capabilities: json}]}} | millrace.yaml:1: backends.a.deployments[0].capabilities must be a list
            backends: {a: {deployments: {url: 'http://x'}}}     | backends.a.deployments must be a list
            backends: {a: {deployments: [{url: [b]}]}}          | backends.a.deployments[0].url must be one value
            backends: {a: {deployments: [{url: 'http://x', timeout: 0s}]}}   | timeout must be 100ms to 1h
            backends: {a: {deployments: [{url: 'http://x', name: b}, {url: 'http://y', name: b}]}} | millrace.yaml:1: backends.a: another deployment has the name b
            models: {m: {backend: nope}}                        | millrace.yaml:1: models.m.backend: there is no backend nope
            models: {m: {aliases: gpt-4o}}                      | models.m.aliases must be a list
            models: {m: {aliases: [millrace]}}                  | millrace.yaml:1: models.m.aliases: millrace is also a model
            models: {m: {aliases: [extractive]}}                | millrace.yaml:1: models.m.aliases: extractive is also a backend
            models: {m: {backend: remote, local-only: true}}    | millrace.yaml:1: models.m.local-only: what may not leave cannot be sent to the backend remote
            backends: {local: {deployments: [{url: 'http://x'}]}} | millrace.yaml:1: models.millrace/local.local-only: what may not leave cannot be sent to the backend local, whose locality is remote
            kafka: {replication: 3}                             | millrace.yaml:1: kafka.replication 3 needs as many brokers
            kafka: {bootstrap-servers: localhost}               | kafka.bootstrap-servers must be host:port
            kafka: {prefix: 'a b'}                              | kafka.prefix must be up to 60 letters
            registry: {url: localhost}                          | registry.url must be an http or https URL
            postgres: {url: 'postgres://x/y'}                   | postgres.url must be jdbc:postgresql:
            redis: {url: 'localhost:6379'}                      | redis.url must be redis://
            collections: [a, b, a]                              | collections must name each once
            collections: [My Notes]                             | My Notes is none
            rooting: {}                                         | rooting is no setting
            retrieval: {tree: maybe}                            | millrace.yaml:1: retrieval.tree must be off or on
            retrieval: {rerank-url: 'example.com/rerank'}       | millrace.yaml:1: retrieval.rerank-url must be an http or https URL
            retrieval: {expand-key-env: NOPE}                   | millrace.yaml:1: retrieval.expand-key-env: there is no variable NOPE
            retrieval: {decay-first: 9d, decay-second: 8d}      | millrace.yaml:1: retrieval.decay-second 8d must be at least retrieval.decay-first (9d from
            knowledge: {index: redis}                           | millrace.yaml:1: knowledge.index must be lucene or qdrant
            knowledge: {index: qdrant}                          | millrace.yaml:1: knowledge.index qdrant needs knowledge.qdrant-url
            knowledge: {embedding-url: 'http://localhost:1/v1/embeddings'} | millrace.yaml:1: knowledge.embedding-url needs knowledge.embedding-model
            knowledge: {embedding-url: 'http://gpu:1/v1/embeddings', embedding-model: m} | gpu is not this machine, and texts that are local_only would go there too; knowledge.embedding-remote: true says that they may
            knowledge: {embedding-url: 'http://127.example.com:1/v1/embeddings', embedding-model: m} | 127.example.com is not this machine
            knowledge: {embedding-query-prefix: 'query: '}      | millrace.yaml:1: knowledge.embedding-query-prefix does nothing without knowledge.embedding-url
            knowledge: {embedding-passage-prefix: 'passage: '}  | millrace.yaml:1: knowledge.embedding-passage-prefix does nothing without knowledge.embedding-url
            knowledge: {embedding-query-prefix: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'} | millrace.yaml:1: knowledge.embedding-query-prefix must be at most 200 characters
            knowledge: {embedding-dimensions: 5000}             | millrace.yaml:1: knowledge.embedding-dimensions must be 1 to 4096
            routing: 5                                          | millrace.yaml:1: routing is a section; settings stand below it, such as routing.local
            routing: [local, fallback]                          | millrace.yaml:1: routing is a section; settings stand below it, such as routing.local
            cache: {semantic: true}                             | millrace.yaml:1: cache.semantic is a section; settings stand below it, such as cache.semantic.enabled
            'a: [1'                                             | is not valid YAML
            """)
    void shouldNameTheKeyAndThePlaceWhenSomethingIsWrong(String yaml, String message) {
        assertThatThrownBy(() -> load(yaml, Map.of(), Map.of()))
                .isInstanceOf(ConfigException.class)
                .hasMessageContaining(message);
    }

    @Test
    void shouldTakeAnAddressAsItStandsInAUrl() throws IOException {
        assertThat(load("listen: {host: '[::1]'}\n", Map.of(), Map.of())
                        .config()
                        .listen()
                        .host())
                .isEqualTo("::1");
    }

    /** e5 finds less where the space after the colon is missing. */
    @Test
    void shouldKeepTheSpaceAtTheEndOfAPrefix() throws IOException {
        MillraceConfig.Embedding embedding = load(
                        """
                        knowledge:
                          embedding-url: http://localhost:1/v1/embeddings
                          embedding-model: e5
                          embedding-query-prefix: "query: "
                        """, Map.of("MILLRACE_KNOWLEDGE_EMBEDDING_PASSAGE_PREFIX", "passage: "), Map.of())
                .config()
                .knowledge()
                .embedding();

        assertThat(embedding.queryPrefix()).isEqualTo("query: ");
        assertThat(embedding.passagePrefix()).isEqualTo("passage: ");
    }

    /** Its errors, each without the folder. */
    private List<String> errors(String yaml, Map<String, String> env) {
        ConfigException wrong = catchThrowableOfType(ConfigException.class, () -> load(yaml, env, Map.of()));
        assertThat(wrong).as("it was taken: %s", yaml).isNotNull();
        return wrong.errors().stream()
                .map(line -> line.replace(folder + "/", ""))
                .toList();
    }

    /** The later took the earlier one's place without a word, and with it a local-only. */
    @Test
    void shouldRefuseAKeyThatStandsTwice() {
        assertThat(errors("""
                routing:
                  local: 0.9
                  local: 0.8
                models:
                  m: {local-only: true}
                  "m": {}
                backends:
                  a:
                    deployments:
                      - url: http://x
                        url: http://y
                routing:
                  fallback: 0.6
                routing.fallback: 0.5
                """, Map.of()))
                .containsExactly(
                        "millrace.yaml:3: routing.local is set twice, first at millrace.yaml:2",
                        "millrace.yaml:6: models.m is set twice, first at millrace.yaml:5",
                        "millrace.yaml:11: backends.a.deployments[0].url is set twice, first at millrace.yaml:10",
                        "millrace.yaml:12: routing is set twice, first at millrace.yaml:1",
                        "millrace.yaml:14: routing.fallback is set twice, first at millrace.yaml:13");
    }

    private static final Map<String, String> REMOTE = Map.of(
            "MILLRACE_REMOTE_URL", "http://env",
            "MILLRACE_REMOTE_MODEL", "from-env",
            "MILLRACE_REMOTE_KEY", "sk-x");

    /** As every variable comes over its setting; what the file says besides stays. */
    @Test
    void shouldPutShortCutsOverTheOnlyDeploymentOfTheFile() throws IOException {
        Loaded loaded = load(
                """
                backends:
                  local: {kind: openai, locality: local, deployments: [{url: 'http://file'}]}
                  remote:
                    deployments:
                      - name: big
                        url: http://file
                        model: filemodel
                        key-env: NOT_SET
                        input-price: 2
                """,
                Map.of(
                        "MILLRACE_LOCAL_URL", "http://near",
                        "MILLRACE_REMOTE_URL", "http://env",
                        "MILLRACE_REMOTE_MODEL", "from-env",
                        "MILLRACE_REMOTE_KEY", "sk-x"),
                Map.of());

        assertThat(loaded.config().deployment("local").orElseThrow().url()).isEqualTo("http://near");
        assertThat(loaded.values()).containsEntry("backends.local.kind", "openai");
        assertThat(loaded.config().deployment("big").orElseThrow())
                .extracting(
                        MillraceConfig.Deployment::url,
                        MillraceConfig.Deployment::model,
                        deployment -> deployment.key().value(),
                        MillraceConfig.Deployment::inputPrice)
                .containsExactly("http://env", "from-env", "sk-x", 2.0);
        assertThat(loaded.origins())
                .containsEntry("backends.local.local.url", "MILLRACE_LOCAL_URL")
                .containsEntry("backends.remote.big.url", "MILLRACE_REMOTE_URL")
                .containsEntry("backends.remote.big.model", "MILLRACE_REMOTE_MODEL")
                .containsEntry("backends.remote.big.key", "MILLRACE_REMOTE_KEY");
        assertThat(loaded.view().toString()).doesNotContain("sk-x");
    }

    /** The file may leave to variables what is secret, or differs from place to place. */
    @Test
    void shouldTakeFromShortCutsWhatTheFileLeavesOut() throws IOException {
        Loaded loaded = load(
                "backends: {remote: {deployments: [{output-price: 3, key-env: MILLRACE_REMOTE_KEY}]}}",
                REMOTE,
                Map.of());

        assertThat(loaded.config().deployment("remote").orElseThrow().url()).isEqualTo("http://env");
        assertThat(loaded.config().deployment("remote").orElseThrow().key().value())
                .isEqualTo("sk-x");
    }

    @Test
    void shouldRefuseShortCutsWhereTheFileHasSeveralDeployments() {
        String several = """
                backends:
                  remote:
                    deployments:
                      - url: http://x
                      - url: http://y
                """;
        String why = ": backends.remote has 2 deployments (millrace.yaml:2), and a variable cannot say which of them it"
                + " is for; write it there";

        assertThat(errors(several, REMOTE))
                .containsExactlyInAnyOrder(
                        "MILLRACE_REMOTE_URL" + why, "MILLRACE_REMOTE_MODEL" + why, "MILLRACE_REMOTE_KEY" + why);
    }

    @Test
    void shouldTakeAShortCutAsTheKeyThatTheFileNamesIt() throws IOException {
        Loaded loaded = load("""
                backends:
                  remote:
                    deployments:
                      - {url: 'http://x', key-env: MILLRACE_REMOTE_KEY}
                      - {url: 'http://y'}
                """, Map.of("MILLRACE_REMOTE_KEY", "sk-x"), Map.of());

        assertThat(loaded.config().deployment("remote").orElseThrow().key().value())
                .isEqualTo("sk-x");
        assertThat(loaded.config().deployment("remote-2").orElseThrow().key().isPresent())
                .isFalse();
    }

    @ParameterizedTest
    @CsvSource({"local, openai, 4", "local, llama.cpp, 4", "remote, openai, 64"})
    void shouldTakeAsManyRequestsAtOnceFromAShortCutAsFromTheFile(String locality, String kind, int concurrency)
            throws IOException {
        Loaded file = load(
                "backends: {b: {locality: %s, kind: %s, deployments: [{url: 'http://x'}]}}".formatted(locality, kind),
                Map.of("MILLRACE_LOCAL_URL", "http://near", "MILLRACE_REMOTE_URL", "http://far"),
                Map.of());

        assertThat(List.of("b", locality))
                .allSatisfy(name -> assertThat(
                                file.config().deployment(name).orElseThrow().concurrency())
                        .isEqualTo(concurrency));
    }

    /** Every field is in it, and the values that it calls defaults are those. */
    @Test
    void shouldTakeTheFileOfTheDocumentation() throws IOException {
        String page = Files.readString(Path.of("..", "docs", "configuration.md"));
        String example = page.substring(page.indexOf("```yaml") + "```yaml".length(), page.lastIndexOf("```"));

        Loaded loaded = load(example, Map.of("REMOTE_KEY", "sk-x"), Map.of());

        String fieldsLeftOut = "backends: {local: {kind: llama.cpp, deployments: [{url: 'http://127.0.0.1:8080'}]}}\n"
                + "models: {mine: {aliases: [gpt-4o]}}";
        MillraceConfig defaults = load(fieldsLeftOut, Map.of(), Map.of()).config();
        assertThat(loaded.config().backends().get("local"))
                .isNotNull()
                .isEqualTo(defaults.backends().get("local"));
        assertThat(loaded.config().models()).isEqualTo(defaults.models());
        assertThat(loaded.config().deployment("remote").orElseThrow().contextLength())
                .isEqualTo(128_000);
    }

    @Test
    void shouldNameTheShortCutThatIsWrong() {
        assertThat(errors(
                        "backends: {remote: {deployments: [{url: 'http://x'}]}}",
                        Map.of("MILLRACE_REMOTE_URL", "api.example.com", "MILLRACE_LOCAL_URL", "ftp://x")))
                .containsExactly(
                        "MILLRACE_REMOTE_URL: must be an http or https URL",
                        "MILLRACE_LOCAL_URL: must be an http or https URL");
    }

    /** Not that of the deployment, the backend or the model that it belongs to. */
    @Test
    void shouldNameTheLineOfTheSettingThatIsWrong() {
        assertThat(errors("""
                backends:
                  a:
                    locality: moon
                    kind: telnet
                    deployments:
                      - url: http://x
                        concurrency: many
                        timeout: soon
                        capabilities:
                          - json
                          - magic
                        input-price: -1
                        output-price: x
                        context-length: long
                        key-env: NOPE
                      - name: ""
                        model: big
                        url: ftp://x
                      - model: big
                  b:
                    deployments:
                      []
                models:
                  m:
                    backend: ""
                    retrieval: sometimes
                    add-context: 7
                    local-only: perhaps
                    aliases:
                      - millrace
                """, Map.of()))
                .extracting(line -> line.replaceAll("^millrace.yaml:(\\d+: [^ :]*).*", "$1"))
                .containsExactlyInAnyOrder(
                        "3: backends.a.locality",
                        "4: backends.a.kind",
                        "7: backends.a.deployments[0].concurrency",
                        "8: backends.a.deployments[0].timeout",
                        "11: backends.a.deployments[0].capabilities",
                        "12: backends.a.deployments[0].input-price",
                        "13: backends.a.deployments[0].output-price",
                        "14: backends.a.deployments[0].context-length",
                        "15: backends.a.deployments[0].key-env",
                        "16: backends.a.deployments[1].name",
                        "18: backends.a.deployments[1].url",
                        "19: backends.a.deployments[2].url",
                        "21: backends.b.deployments",
                        "26: models.m.retrieval",
                        "27: models.m.add-context",
                        "28: models.m.local-only",
                        "29: models.m.aliases");
    }

    /** It may name those variables, and have that backend. */
    @Test
    void shouldNotJudgeVariablesByAFileThatCannotBeRead() {
        assertThat(errors("a: [1", Map.of("MILLRACE_REMOTE_KEY", "k", "MILLRACE_DATABASE_PASSWORD", "p")))
                .singleElement()
                .asString()
                .startsWith("millrace.yaml:1: is not valid YAML");
    }

    /** Of what is wrong, and not of what would be right without it. */
    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            backends: {local: {kind: telnet, deployments: [{url: 'http://x'}]}}           | backends.local.kind must be one of llama.cpp, openai
            backends: {local: {knd: llama.cpp, deployments: [{url: 'http://x'}]}}         | backends.local.knd is no setting
            backends: {local: {locality: here, deployments: [{url: 'http://x'}]}}         | backends.local.locality must be one of local, remote
            backends: {a: {deployments: [{ulr: 'http://x'}]}}                             | backends.a.deployments[0].ulr is no setting
            backends: {a: {deployments: [{url: [b]}]}}                                    | backends.a.deployments[0].url must be one value
            backends: {a: {deployments: 'http://x'}}                                      | backends.a.deployments must be a list
            backends: {a: {deployments: ['http://x']}}                                    | backends.a.deployments: each must hold keys and values
            backends: {a: {deployments: [{url: 'http://x', concurrency: [4]}]}}           | backends.a.deployments[0].concurrency must be one value
            {backends: {a: 5}, models: {m: {backend: a}}}                                 | backends.a must hold keys and values
            {backends: [a], models: {m: {backend: a}}}                                    | backends must be a map of names
            {backends: {A: {deployments: [{url: 'http://x'}]}}, models: {m: {backend: A}}} | a backend's name is lower-case letters
            models: {m: {retrieval: [auto]}}                                              | models.m.retrieval must be one value
            routing: {local: 9, fallback: 0.85}                                           | routing.local must be 0.3 to 0.95
            {kafka: 'localhost:9092', kafka.replication: 3}                               | kafka is a section
            kafka: {bootstrap-servers: localhost, replication: 3}                         | kafka.bootstrap-servers must be host:port
            registry: {url: localhost, user: mill}                                        | registry.url must be an http or https URL
            {retention: {short: soon}, routing: {deadline: 1h}}                           | retention.short must be a duration
            {retention: {short: soon, days: 1h}}                                          | retention.short must be a duration
            """)
    void shouldNotTellWhatOnlyFollowsFromAnotherError(String yaml, String message) {
        assertThat(errors(yaml, Map.of())).singleElement().asString().contains(message);
    }

    @Test
    void shouldTakeAPartThatIsReferredToTwice() throws IOException {
        Loaded loaded = load("""
                backends:
                  a: {deployments: [{url: 'http://x', name: one}]}
                models:
                  m: &m {backend: a}
                  n: *m
                """, Map.of(), Map.of());

        assertThat(loaded.config().model("n").orElseThrow().backend()).isEqualTo("a");
    }

    @Test
    void shouldPutUserAndPasswordIntoTheRegistrysAddressAndShowThemNowhere() throws IOException {
        Loaded loaded = load(
                "registry: {url: 'https://registry.example:8443/api', user: m@ill, password-env: REGISTRY_PW}\n",
                Map.of("REGISTRY_PW", "s3/cr et"),
                Map.of());

        assertThat(loaded.config().registry().address())
                .isEqualTo("https://m%40ill:s3%2Fcr%20et@registry.example:8443/api");
        assertThat(loaded.view().toString()).contains("REGISTRY_PW").doesNotContain("s3/cr", "s3%2Fcr");
        assertThat(loaded.config().toString()).doesNotContain("s3/cr", "s3%2Fcr");
        assertThat(load("registry: {url: 'http://u:hidden@r:1/'}\n", Map.of(), Map.of())
                        .view()
                        .toString())
                .doesNotContain("hidden");
    }

    @Test
    void shouldTakeASectionWithNothingInIt() throws IOException {
        assertThat(load("routing:\nlimits: {}\nbackends:\nmodels:\n", Map.of(), Map.of())
                        .config())
                .isEqualTo(MillraceConfig.defaults());
    }

    @Test
    void shouldShowEachFieldOfABackendWithWhereItCameFrom() throws IOException {
        Map<String, String> env = Map.of(
                "MILLRACE_POSTGRES_PW",
                "very-secret",
                "MILLRACE_REMOTE_URL",
                "https://me:very-secret@api.example.com",
                "MILLRACE_REMOTE_KEY",
                "very-secret");

        Loaded loaded = load("""
                redis: {url: "redis://:very-secret@cache:6379/0"}
                postgres: {url: "jdbc:postgresql://db/m?user=u&password=very-secret&ssl=true", password-env: MILLRACE_POSTGRES_PW}
                backends:
                  a:
                    deployments:
                      - url: http://x/
                        input-price: 2
                models:
                  m: {aliases: [gpt-4o]}
                """, env, Map.of());

        assertThat(loaded.config().postgres().password().value()).isEqualTo("very-secret");
        assertThat(loaded.view().toString()).doesNotContain("very-secret");
        assertThat(loaded.values())
                .containsEntry("redis.url", "redis://:********@cache:6379/0")
                .containsEntry("postgres.url", "jdbc:postgresql://db/m?user=u&password=********&ssl=true")
                .containsEntry("backends.a.a.input-price", "2.0")
                .containsEntry("backends.a.a.concurrency", "64")
                .containsEntry("backends.a.a.timeout", "2m")
                .containsEntry("backends.remote.remote.url", "https://me:********@api.example.com")
                .containsEntry("backends.remote.remote.key", "********")
                .containsEntry("models.m.aliases", "gpt-4o")
                .containsEntry("models.m.retrieval", "auto");
        assertThat(loaded.origins())
                .containsEntry("backends.remote.remote.url", "MILLRACE_REMOTE_URL")
                .containsEntry("backends.remote.remote.key", "MILLRACE_REMOTE_KEY")
                .doesNotContainKey("backends.a.a.concurrency");
        assertThat(loaded.origins().get("backends.a.a.input-price")).endsWith("millrace.yaml:7");
        assertThat(loaded.origins().get("models.m.aliases")).endsWith("millrace.yaml:9");
    }

    @Test
    void shouldSayWhatAVariableLacksOrMayMean() {
        assertThatThrownBy(() -> ConfigLoader.load(
                        Optional.empty(),
                        Map.of("MILLRACE_REMOTE_KEY", "k", "MILLRACE_ROUTING_LOKAL", "0.9", "MILLRACE_AOT", "off"),
                        Map.of()))
                .isInstanceOfSatisfying(
                        ConfigException.class,
                        e -> assertThat(e.errors())
                                .hasSize(2)
                                .anyMatch(line -> line.startsWith("MILLRACE_REMOTE_KEY: ")
                                        && line.contains("MILLRACE_REMOTE_URL"))
                                .anyMatch(line -> line.contains("did you mean MILLRACE_ROUTING_LOCAL?")));
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
