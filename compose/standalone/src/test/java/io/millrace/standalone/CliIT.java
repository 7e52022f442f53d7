package io.millrace.standalone;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.net.httpserver.HttpServer;
import io.millrace.bench.stub.StubUpstream;
import io.millrace.standalone.Millrace.Result;
import io.millrace.standalone.parts.Bundled;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.MethodOrderer;
import org.junit.jupiter.api.Order;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestMethodOrder;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The commands as a user runs them, each in a JVM of its own, against one {@code millrace up}. */
@TestMethodOrder(MethodOrderer.OrderAnnotation.class)
class CliIT {
    private static final ObjectMapper JSON = new ObjectMapper();

    @TempDir
    static Path folder;

    private static StubUpstream local;
    private static Process up;
    private static Path data;

    /** On a machine where the bundled servers do not run, and others are on the PATH. */
    @BeforeAll
    static void start() throws Exception {
        local = new StubUpstream("local", 8, 5).start(0);
        data = folder.resolve("data");
        Path path = Files.createDirectory(folder.resolve("path"));
        Bundled.breakRedis(data);
        Bundled.breakPostgres(data);
        Bundled.install(path);
        Path knowledge = Files.createDirectory(folder.resolve("mill"));
        Files.writeString(
                knowledge.resolve("keeper.md"),
                "# The sluice keeper\n\nThe sluice keeper of the old mill is called Ottokar Wendelin.\n");
        Files.write(knowledge.resolve("latin.md"), new byte[] {'M', (byte) 0xfc, 'h', 'l', 'e'});
        // cannot be read, whoever asks
        Files.createSymbolicLink(knowledge.resolve("memory.md"), Path.of("/proc/self/mem"));
        Files.writeString(knowledge.resolve("dump.txt"), "grain ".repeat(400_000));
        Files.write(knowledge.resolve("wheel.png"), new byte[] {1, 2, 3});
        Files.writeString(knowledge.resolve("empty.md"), "\n");
        // nobody misses what an editor keeps
        Files.write(Files.createDirectory(knowledge.resolve(".editor")).resolve("state"), new byte[] {1});
        Path other = Files.createDirectories(folder.resolve("other/mill"));
        Files.writeString(
                other.resolve("keeper.md"), "# The miller\n\nThe miller of the new mill is called Kunigunde Amsel.\n");
        Files.writeString(folder.resolve("millrace.yaml"), """
                dispatch: {probe: 100ms}
                backends:
                  local: {kind: llama.cpp, deployments: [{name: local, url: "%s"}]}
                """.formatted(local.url()));
        up = Millrace.start(
                folder,
                "up",
                Map.of("PATH", path + ":" + System.getenv("PATH")),
                "up",
                "--port",
                "0",
                "--data",
                data.toString(),
                "--config",
                folder.resolve("millrace.yaml").toString(),
                "--knowledge",
                knowledge + ":best-practices",
                "--knowledge",
                other + ":best-practices");
        assertThat(Millrace.awaitReady(up, folder, "up")).startsWith("http://127.0.0.1:");
    }

    @AfterAll
    static void stop() throws Exception {
        Millrace.stop(up);
        local.close();
    }

    private static Result run(String... arguments) throws Exception {
        List<String> all = new ArrayList<>(List.of(arguments));
        all.add("--data");
        all.add(data.toString());
        return Millrace.run(folder, Map.of(), all.toArray(String[]::new));
    }

    private static Result good(String... arguments) throws Exception {
        Result result = run(arguments);
        assertThat(result.code()).as(result.toString()).isZero();
        assertThat(result.err()).isEmpty();
        return result;
    }

    private static void refused(Result result, String... words) {
        assertThat(result.code()).as(result.toString()).isEqualTo(1);
        assertThat(result.complaints()).as(result.err()).hasSize(1);
        assertThat(result.err()).startsWith("millrace: ").contains(words).doesNotContain("Exception");
        assertThat(result.out()).isEmpty();
    }

    @Test
    @Order(1)
    void shouldSayWhatItUsesInsteadWhenABundledBinaryDoesNotRun() throws Exception {
        assertThat(Millrace.read(folder, "up.out"))
                .contains("the bundled Redis does not run on this system, using "
                        + folder.resolve("path").resolve("redis-server"))
                .contains("the bundled PostgreSQL does not run on this system, using "
                        + folder.toRealPath().resolve("path/machine/postgresql/bin/postgres"));
    }

    @Test
    @Order(1)
    void shouldTellInOneLineWhichFilesOfAFolderAreLeftOut() throws Exception {
        Path log = data.resolve("logs/millrace.log");
        assertThat(Millrace.read(folder, "up.err").lines())
                .containsExactly("knowledge " + folder.resolve("mill")
                        + ": 5 files left out (1 too large, 1 not text, 1 empty, 1 unreadable, 1 of another type); see "
                        + log);
        assertThat(Files.readString(log)).contains("dump.txt", "latin.md", "empty.md", "memory.md", "wheel.png");
    }

    @Test
    @Order(2)
    void shouldTellServicesPartsAndBackends() throws Exception {
        String out = good("status").out();

        assertThat(out).contains("ready").contains("local").contains("healthy").doesNotContain("not reachable");
        for (String part : List.of("kafka", "registry", "postgres", "redis")) {
            assertThat(out).contains(part);
        }
        JsonNode json = JSON.readTree(good("status", "--json").out());
        assertThat(json.at("/services/gateway").asBoolean()).isTrue();
        assertThat(json.at("/reachable/kafka").asBoolean()).isTrue();
        assertThat(json.at("/backends/0/status").asText()).isEqualTo("healthy");
    }

    @Test
    @Order(3)
    void shouldAnswerWithTheDecisionAndTheFiles() throws Exception {
        String out = good("ask", "Who is the sluice keeper of the old mill?").out();

        assertThat(out)
                .contains("local: ")
                .contains("keeper.md")
                .containsPattern("route local \\(remote_not_configured\\), deployment local, confidence [01]\\.\\d\\d");
        JsonNode json = JSON.readTree(good("ask", "Who is the sluice keeper of the old mill?", "--json")
                .out());
        assertThat(json.at("/decision/route").asText()).isEqualTo("local");
        assertThat(json.path("response").asText()).startsWith("local: ");
        assertThat(json.toString()).contains("keeper.md");
        assertThat(good("ask", "Who", "is", "the", "sluice", "keeper?").out()).contains("keeper.md");
        refused(run("ask", "  "), "query");
    }

    /** An answer that could move the cursor would rewrite what stands above it. */
    @Test
    @Order(3)
    void shouldWriteOutWhatTheTerminalWouldObeyWhenAModelAnswersWithIt() throws Exception {
        String sent = "the wheel \u001b[2J\u001b]0;title\u0007 turns \u009b31m to the \u202eleft";
        local.text(sent);
        try {
            assertThat(good("ask", "Which way does the wheel turn?").out())
                    .contains("the wheel \\u001b[2J\\u001b]0;title\\u0007 turns \\u009b31m to the \\u202eleft")
                    .doesNotContain("\u001b", "\u009b", "\u0007", "\u202e");
            String json = good("ask", "Which way does the wheel turn today?", "--json")
                    .out();
            assertThat(json).doesNotContain("\u001b", "\u009b", "\u0007", "\u202e");
            assertThat(JSON.readTree(json).path("response").asText()).isEqualTo(sent);
        } finally {
            local.text("local: the wheel turns");
        }
    }

    /** Their files are called alike, too. */
    @Test
    @Order(3)
    void shouldKeepTwoFoldersOfOneNameApart() throws Exception {
        assertThat(good("ask", "Who is the sluice keeper of the old mill?", "--json")
                        .out())
                .contains("Ottokar Wendelin");
        assertThat(good("ask", "Who is the miller of the new mill?", "--json").out())
                .contains("Kunigunde Amsel");
    }

    @Test
    @Order(4)
    void shouldRateTheLastAnswerOrOneByItsId() throws Exception {
        String id = JSON.readTree(good("ask", "Is this good?", "--json").out())
                .path("interaction_id")
                .asText();

        assertThat(good("rate", "last", "good", "--note", "to the point").out())
                .contains("good")
                .contains(id);
        assertThat(good("rate", id, "bad").out()).contains("bad").contains(id);

        Awaitility.await("the ratings")
                .atMost(Duration.ofSeconds(15))
                .ignoreExceptions()
                .until(() -> ratings(id).equals(List.of(-1, 1)));
        refused(run("rate", "no such/id ü", "good"), "interaction_id");
        Result wrong = run("rate", "last", "superb");
        assertThat(wrong.code()).isEqualTo(2);
        assertThat(wrong.err()).contains("good, bad").doesNotContain("\tat ");
    }

    private static List<Integer> ratings(String id) throws Exception {
        JsonNode run = JSON.readTree(data.resolve("run.json").toFile());
        try (var http = java.net.http.HttpClient.newHttpClient()) {
            String body = http.send(
                            java.net.http.HttpRequest.newBuilder(
                                            java.net.URI.create(run.path("url").asText() + "/interactions/" + id))
                                    .build(),
                            java.net.http.HttpResponse.BodyHandlers.ofString())
                    .body();
            List<Integer> ratings = new ArrayList<>();
            JSON.readTree(body)
                    .path("feedback")
                    .forEach(each -> ratings.add(each.path("rating").asInt()));
            return ratings.stream().sorted().toList();
        }
    }

    @Test
    @Order(5)
    void shouldShowTheEndOfTheLogAndFollowIt() throws Exception {
        List<String> lines = good("logs", "-n", "3").out().lines().toList();
        assertThat(lines).hasSize(3).allMatch(line -> line.startsWith("20"));
        refused(run("logs", "-n", "-1"), "-n is -1");

        String marker = "written meanwhile, with an ü";
        assertFollowed(
                data,
                () -> Files.writeString(
                        data.resolve("logs/millrace.log"),
                        marker + " \u001b[2J\n",
                        StandardCharsets.UTF_8,
                        java.nio.file.StandardOpenOption.APPEND),
                shown -> shown.contains(marker + " \\u001b[2J\n"));
    }

    /** Follows a log from its last line, does something to it, and waits for what is shown of that. */
    private static void assertFollowed(Path data, Callable<Path> change, Predicate<String> isShown) throws Exception {
        String name = "follower-" + data.getFileName();
        Process follower = Millrace.start(folder, name, Map.of(), "logs", "-f", "-n", "1", "--data", data.toString());
        try {
            Awaitility.await("the last line")
                    .atMost(Duration.ofSeconds(20))
                    .until(() -> !Millrace.read(folder, name + ".out").isEmpty());
            change.call();
            Awaitility.await("what was written meanwhile")
                    .atMost(Duration.ofSeconds(10))
                    .until(() -> isShown.test(Millrace.read(folder, name + ".out")));
        } finally {
            follower.destroy();
            follower.waitFor();
        }
        assertThat(Millrace.read(folder, name + ".err")).isEmpty();
    }

    /** Nothing runs here: a log of its own, since the instance goes on writing into the one that is moved away. */
    @Test
    void shouldShowWhatCameBeforeARollWhenItFollows() throws Exception {
        Path other = folder.resolve("rolled");
        Path log = Files.createDirectories(other.resolve("logs")).resolve("millrace.log");
        Files.writeString(log, "one\n");
        assertFollowed(
                other,
                () -> {
                    Files.writeString(log.resolveSibling("millrace.log.1"), "one\ntwo\n");
                    Path now = Files.writeString(log.resolveSibling("now"), "3\n");
                    return Files.move(now, log, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
                },
                "one\ntwo\n3\n"::equals);
    }

    @Test
    void shouldKeepEverySourceWhenManyAreAddedAtOnce() throws Exception {
        Path other = folder.resolve("sources");
        Path elsewhere = Files.createDirectories(folder.resolve("dotfiles")).resolve("sources.yaml");
        Files.createDirectories(other);
        Files.writeString(elsewhere, "sources: []\n");
        Files.setPosixFilePermissions(elsewhere, PosixFilePermissions.fromString("rw-------"));
        Files.createSymbolicLink(other.resolve("knowledge-sources.yaml"), elsewhere);
        List<Process> adding = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            adding.add(Millrace.start(
                    folder,
                    "add" + i,
                    Map.of(),
                    "sources",
                    "add",
                    "s" + i,
                    folder.toString(),
                    "--data",
                    other.toString()));
        }
        for (int i = 0; i < 5; i++) {
            assertThat(adding.get(i).waitFor(60, TimeUnit.SECONDS)).isTrue();
            assertThat(Millrace.read(folder, "add" + i + ".err")).isEmpty();
            assertThat(Millrace.read(folder, "add" + i + ".out")).contains("it is read when millrace is up");
        }

        assertThat(Files.readString(elsewhere)).contains("s0", "s1", "s2", "s3", "s4");
        assertThat(other.resolve("knowledge-sources.yaml")).isSymbolicLink();
        assertThat(Files.getPosixFilePermissions(elsewhere)).isEqualTo(PosixFilePermissions.fromString("rw-------"));
    }

    @Test
    @Order(6)
    void shouldCheckAndShowTheConfiguration() throws Exception {
        Path config = folder.resolve("millrace.yaml");
        assertThat(good("config", "check", "--config", config.toString()).out()).contains("good", config.toString());
        assertThat(good("config", "show", "--config", config.toString()).out())
                .containsPattern("dispatch\\.probe +100ms +" + config + ":1")
                .containsPattern("routing\\.local +0\\.85 +default")
                .containsPattern("\ncollections +codebase-context,skills-patterns, +default\n +error-solutions,");
        JsonNode json = JSON.readTree(
                good("config", "show", "--json", "--config", config.toString()).out());
        assertThat(json.at("/dispatch.probe/value").asText()).isEqualTo("100ms");

        Path wrong = Files.writeString(
                folder.resolve("wrong.yaml"), "routing:\n  local: 0.5\n  fallback: 0.8\nnonsense: 1\n");
        Result result = run("config", "check", "--config", wrong.toString());
        assertThat(result.code()).isEqualTo(1);
        assertThat(result.complaints())
                .hasSize(2)
                .anyMatch(line -> line.contains(wrong + ":4") && line.contains("nonsense"))
                .anyMatch(line -> line.contains("routing.fallback"));
    }

    @Test
    @Order(7)
    void shouldNameTheHolderWhenASecondOneIsStarted() throws Exception {
        Result result = run("up", "--port", "0");

        assertThat(result.code()).isEqualTo(1);
        assertThat(result.complaints())
                .singleElement()
                .asString()
                .contains("in use by pid " + up.pid())
                .contains("http://127.0.0.1:")
                .contains("millrace down");
        // and the first one goes on
        good("status");
    }

    @Test
    @Order(7)
    void shouldTellItsVersionAndEveryCommand() throws Exception {
        for (String[] asked : new String[][] {{"--version"}, {"up", "--version"}, {"cache", "clear", "--version"}}) {
            Result version = Millrace.run(folder, Map.of(), asked);
            assertThat(version.code()).isZero();
            assertThat(version.out()).startsWith("millrace ");
        }
        for (String asked : List.of("help", "--help")) {
            Result help = Millrace.run(folder, Map.of(), asked);
            assertThat(help.code()).isZero();
            assertThat(help.out())
                    .contains("  up ", "  rebuild ", "  test ", "  bench ")
                    .doesNotContain("train");
        }
    }

    @ParameterizedTest
    @Order(8)
    @ValueSource(
            strings = {
                "nonsense",
                "localhost:1",
                "http://127.0.0.1:1",
                "http://no.such.host.invalid:80",
                "http://in valid"
            })
    void shouldSayThatNobodyIsThereWhenTheUrlIsWrong(String url) throws Exception {
        refused(run("status", "--url", url), url);
    }

    /** What is not ready is named, and the exit code says so too; the same for something that is no millrace. */
    @Test
    @Order(9)
    void shouldFailAndNameTheServiceWhenOneIsNotReady() throws Exception {
        HttpServer other = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        String url = "http://127.0.0.1:" + other.getAddress().getPort();
        List<String> answer = new ArrayList<>(List.of("<html>hello</html>"));
        other.createContext("/", exchange -> {
            byte[] body = answer.getFirst().getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        other.start();
        try {
            refused(run("status", "--url", url), "not as millrace does");
            answer.set(0, "{\"services\":{\"gateway\":true,\"sink-postgres\":false}}");
            Result result = run("status", "--url", url);
            assertThat(result.code()).isEqualTo(1);
            assertThat(result.out()).contains("not ready: [sink-postgres]");
            assertThat(run("status", "--json", "--url", url).code()).isEqualTo(1);
        } finally {
            other.stop(0);
        }
    }

    @Test
    @Order(19)
    @EnabledOnOs(OS.LINUX)
    void shouldHaveUnpackedItsLibrariesIntoItsDataFolder() throws Exception {
        List<String> unpacked = Files.readAllLines(Path.of("/proc", String.valueOf(up.pid()), "maps")).stream()
                .filter(line -> line.contains("/"))
                .map(line -> line.substring(line.indexOf('/')))
                .filter(file -> file.matches(".*(onnxruntime|tokenizers|snappy|zstd|lz4|brotli|netty)[^/]*\\.so.*"))
                .distinct()
                .toList();
        assertThat(unpacked)
                .anyMatch(file -> file.contains("libonnxruntime.so"))
                .allMatch(file -> file.startsWith(data.toString()));
    }

    @Test
    @Order(20)
    void shouldStopInOrderAndThenSayThatNothingRuns() throws Exception {
        long began = System.nanoTime();
        assertThat(good("down").out()).contains("millrace stopped");
        assertThat(Duration.ofNanos(System.nanoTime() - began)).isLessThan(Duration.ofSeconds(25));

        assertThat(up.waitFor(10, TimeUnit.SECONDS)).isTrue();
        assertThat(Millrace.read(folder, "up.err").lines()).hasSize(1);
        assertThat(Files.readAllLines(data.resolve("logs/millrace.log")))
                .isNotEmpty()
                // Kafka's word for a machine that others use, and ours for one that stood still longer than a session
                .filteredOn(line ->
                        !line.contains("controller event queue overloaded") && !line.contains("died and is replaced"))
                .noneMatch(line -> line.contains(" ERROR ") || line.contains("did not stop in good order"));
        assertThat(ProcessHandle.allProcesses()
                        .map(process -> process.info().commandLine().orElse(""))
                        .filter(line -> line.contains(folder.toString())))
                .isEmpty();
        refused(run("down"), "no millrace is running on " + data);
        // it stops what runs on a folder, and nothing that is elsewhere
        assertThat(run("down", "--url", "http://127.0.0.1:1").code()).isEqualTo(2);
        refused(run("status"), "no millrace is serving on " + data, "millrace up");
        refused(run("ask", "Anybody?"), "no millrace is serving");
        refused(run("rate", "last", "good"), "no millrace is serving");
        // why it stopped can still be read
        good("logs");
        Path none = folder.resolve("none");
        for (String[] command :
                new String[][] {{"status"}, {"ask", "x"}, {"rate", "last", "good"}, {"logs"}, {"down"}}) {
            List<String> all = new ArrayList<>(List.of(command));
            all.addAll(List.of("--data", none.toString()));
            refused(Millrace.run(folder, Map.of(), all.toArray(String[]::new)), none.toString());
        }
        assertThat(none).doesNotExist();
    }
}
