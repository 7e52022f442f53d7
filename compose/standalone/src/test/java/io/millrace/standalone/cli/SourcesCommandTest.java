package io.millrace.standalone.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.sun.net.httpserver.HttpServer;
import io.millrace.config.ConfigException;
import io.millrace.standalone.error.UserException;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

/** Without an instance: what the commands write into the file, and what they make of an answer. */
class SourcesCommandTest {
    @TempDir
    Path data;

    private record Ran(int code, String out, List<String> errors) {}

    private Ran run(String... arguments) {
        List<String> all = new ArrayList<>(List.of(arguments));
        all.addAll(List.of("--data", data.toString()));
        AtomicReference<List<String>> errors = new AtomicReference<>(List.of());
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        PrintStream before = System.out;
        System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
        try {
            int code = new CommandLine(new SourcesCommand())
                    .setExecutionExceptionHandler((error, line, result) -> {
                        errors.set(
                                error instanceof ConfigException config
                                        ? config.errors()
                                        : List.of(String.valueOf(error.getMessage())));
                        return 1;
                    })
                    .execute(all.toArray(String[]::new));
            return new Ran(code, out.toString(StandardCharsets.UTF_8), errors.get());
        } finally {
            System.setOut(before);
        }
    }

    private Path file() {
        return data.resolve("knowledge-sources.yaml");
    }

    @Test
    void shouldPrintTheEntryThatItWouldAdd() throws Exception {
        Ran plain = run("add", "site", "https://example.org/", "--depth", "2", "--metadata", "version=3", "--dry-run");
        Ran json = run("add", "site", "https://example.org/", "--depth", "2", "--dry-run", "--json");

        assertThat(plain.out()).contains("would be added to " + file()).endsWith("""
                  - id: "site"
                    type: "url"
                    urls: ["https://example.org/"]
                    metadata: {version: "3"}
                    depth: 2
                """);
        JsonNode entry = Instance.JSON.readTree(json.out()).path("entry");
        assertThat(entry.path("urls").path(0).asText()).isEqualTo("https://example.org/");
        assertThat(entry.path("depth").asInt()).isEqualTo(2);
        assertThat(file()).doesNotExist();
    }

    /** They named lines that the file did not have. */
    @Test
    void shouldNameTheSettingThatIsWrongAndNoLineOfAFileWithoutIt() {
        assertThat(run("add", "a", data.toString(), "--trust", "foo").errors())
                .containsExactly("trust is foo; it may be trusted, imported or generated");
        assertThat(run("add", "a", data.toString(), "--metadata", "foo=bar").errors())
                .singleElement()
                .asString()
                .startsWith("metadata.foo is nothing to filter by");
        assertThat(run("add", "a", data.toString(), "--metadata", "success_rate=abc")
                        .errors())
                .containsExactly("metadata.success_rate is abc; it must be a number from 0 to 1");
        assertThat(run("add", "A", data.toString()).errors())
                .singleElement()
                .asString()
                .startsWith("id A must be");
        assertThat(file()).doesNotExist();
    }

    /** The worker runs elsewhere, and did not find it. */
    @Test
    void shouldMakeTheFolderOfARepositoryAbsoluteAndLeaveAddressesAlone() throws Exception {
        Path here = Path.of("").toAbsolutePath();
        Path repository = Files.createDirectories(data.resolve("repository"));

        assertThat(run("add", "g1", here.relativize(repository).toString(), "--type", "git")
                        .code())
                .isZero();
        assertThat(run("add", "g2", "https://example.org/x.git").code()).isZero();

        assertThat(Files.readString(file()))
                .contains("url: \"" + repository + "\"")
                .contains("url: \"https://example.org/x.git\"");
    }

    @Test
    void shouldRefuseToRemoveAnEntryThatSharesItsLine() throws Exception {
        String text = "sources: [{id: a, type: local_dir, path: a}, {id: b, type: local_dir, path: b}]\n";
        Files.writeString(file(), text);

        assertThat(run("remove", "a").code()).isEqualTo(1);
        assertThat(Files.readString(file())).isEqualTo(text);
    }

    @Test
    void shouldTellTheFirstReasonsBelowASourceAndNothingThatMovesTheCursor() {
        ObjectNode source = Instance.JSON.createObjectNode().put("id", "notes").put("state", "idle");
        ObjectNode skips =
                source.putObject("scan").put("found", 9).put("skipped", 4).putObject("skips");
        skips.put("a\u001b[2Jb\nc\u202e", "binary, no text");
        skips.put("d", "9 bytes");
        skips.put("e", "9 bytes");
        skips.put("f", "9 bytes");
        source.putObject("failures").put("broken.pdf", "cannot be parsed");

        assertThat(SourcesCommand.told(source).subList(1, 6))
                .containsExactly(
                        "  skipped a\\u001b[2Jb\\u000ac\\u202e: binary, no text",
                        "  skipped d: 9 bytes",
                        "  skipped e: 9 bytes",
                        "  1 more skipped; see --json",
                        "  failed broken.pdf: cannot be parsed");
    }

    @Test
    void shouldFillTheBarAtTheEnd() {
        ObjectNode source = Instance.JSON.createObjectNode().put("state", "scanning");
        source.putObject("scan").put("found", 23).put("skipped", 1);
        source.putObject("documents").put("total", 20).put("searchable", 9);

        assertThat(SourcesCommand.bar(source)).contains("..] 10 of 23 documents, scanning");
        assertThat(SourcesCommand.bar(source.put("state", "idle")))
                .isEqualTo("[" + "#".repeat(30) + "] 23 of 23 documents, idle");
    }

    /** It said that it was removed with all its documents. */
    @Test
    void shouldSayWhyASourceIsNotGone() throws Exception {
        AtomicReference<String> sources = new AtomicReference<>("");
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/sources", exchange -> {
            byte[] body = sources.get().getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(200, body.length);
            try (exchange) {
                exchange.getResponseBody().write(body);
            }
        });
        server.start();
        try {
            Instance instance = CommandLine.populateCommand(
                    new Instance(),
                    "--url",
                    "http://127.0.0.1:" + server.getAddress().getPort());
            Duration patience = Duration.ofMillis(100);

            sources.set("{\"sources\":[{\"id\":\"news\",\"state\":\"removing\"}],\"errors\":[]}");
            assertThatThrownBy(() -> SourcesCommand.awaitGone(instance, "news", patience))
                    .isInstanceOf(UserException.class)
                    .hasMessageStartingWith("news is declared no more, but its documents are not gone");

            sources.set("{\"sources\":[{\"id\":\"news\"}],\"errors\":[\"knowledge-sources.yaml: is missing\"]}");
            assertThatThrownBy(() -> SourcesCommand.awaitGone(instance, "news", patience))
                    .isInstanceOf(UserException.class)
                    .hasMessage("knowledge-sources.yaml: is missing");

            sources.set("{\"sources\":[{\"id\":\"other\"}],\"errors\":[]}");
            SourcesCommand.awaitGone(instance, "news", patience);
        } finally {
            server.stop(0);
        }
    }
}
