package io.millrace.standalone;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.abort;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.ObjectMapper;
import io.millrace.standalone.Millrace.Result;
import io.millrace.standalone.parts.Bundled;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.config.TopicConfig;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** {@code millrace up} where it cannot start: one line on standard error, exit code 1, nothing left running. */
class StartupIT {
    private static final Map<String, String> NOTHING = Map.of();
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final byte[] LIVE =
            "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n".getBytes(StandardCharsets.US_ASCII);

    @TempDir
    private Path folder;

    private Result up(Map<String, String> environment, String... more) throws Exception {
        return Millrace.run(
                folder,
                environment,
                Stream.concat(Stream.of("up", "--data", data().toString()), Stream.of(more))
                        .toArray(String[]::new));
    }

    private Path data() {
        return folder.resolve("data");
    }

    private void refused(Result result, String... words) throws IOException {
        assertThat(result.code()).as(result.toString()).isEqualTo(1);
        assertThat(result.complaints()).as(result.err()).hasSize(1);
        assertThat(result.err()).startsWith("millrace: ").contains(words).doesNotContain("Exception");
        assertThat(result.out()).doesNotContain("ready").doesNotContain("Exception");
        // Kafka's end is sudden: the watchdogs see to the rest
        Awaitility.await("nothing is left")
                .atMost(Duration.ofSeconds(30))
                .untilAsserted(() -> assertThat(below(folder)).isEmpty());
    }

    /** Processes whose command line names this folder. */
    private static List<String> below(Path folder) {
        return ProcessHandle.allProcesses()
                .filter(ProcessHandle::isAlive)
                .map(process -> process.info().commandLine().orElse(""))
                .filter(line -> line.contains(folder.toString()))
                .toList();
    }

    @Test
    void shouldSayWhoseThePortIsNotWhenItIsTaken() throws Exception {
        try (ServerSocket taken = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            String port = String.valueOf(taken.getLocalPort());

            refused(up(NOTHING, "--port", port), "port " + port, "--port");
        }
        // and the folder is free again
        assertThat(data().resolve("run.json")).doesNotExist();
    }

    @Test
    void shouldSayThatTheDataFolderIsAFile() throws Exception {
        Files.writeString(data(), "x");

        refused(up(NOTHING, "--port", "0"), data().toString(), "not a folder");
    }

    /** {@code --data ~} would have taken the rights of all others to it, and deleted what is called tmp there. */
    @Test
    void shouldTouchNothingInAFolderThatIsSomebodyElses() throws Exception {
        Files.createDirectories(data().resolve("tmp"));
        Files.writeString(data().resolve("tmp/precious"), "x");
        Files.setPosixFilePermissions(data(), PosixFilePermissions.fromString("rwxr-xr-x"));

        refused(up(NOTHING, "--port", "0"), data().toString(), "no data folder", "tmp", "--data");

        assertThat(data().resolve("tmp/precious")).exists();
        assertThat(Files.getPosixFilePermissions(data())).hasSize(7);
        assertThat(data().resolve("lock")).doesNotExist();
    }

    @Test
    void shouldSayThatTheDataFolderCannotBeWritten() throws Exception {
        Path parent = Files.createDirectory(folder.resolve("locked"));
        // root may write anywhere, but not to what the kernel makes up
        boolean root = "root".equals(System.getProperty("user.name"));
        Path target = root ? Path.of("/proc/millrace") : parent.resolve("data");
        Files.setPosixFilePermissions(parent, PosixFilePermissions.fromString("r-xr-xr-x"));
        try {
            refused(
                    Millrace.run(folder, NOTHING, "up", "--port", "0", "--data", target.toString()),
                    target + " cannot be used: ");
        } finally {
            Files.setPosixFilePermissions(parent, PosixFilePermissions.fromString("rwxr-xr-x"));
        }
    }

    /** The broker would take it for two folders. */
    @Test
    void shouldNameWhatAPathMustNotHave() throws Exception {
        Path target = folder.resolve("Notes, old");

        refused(
                Millrace.run(folder, NOTHING, "up", "--port", "0", "--data", target.toString()),
                target + " has a comma",
                "--data");

        assertThat(target).doesNotExist();
    }

    @Test
    void shouldSayHowMuchIsFreeWhenTheDiskIsNearlyFull() throws Exception {
        long free = Files.getFileStore(folder).getUsableSpace() >> 30;
        assumeTrue(free < 1_000, "a disk that holds a terabyte more is never nearly full");

        refused(
                up(Map.of("MILLRACE_LIMITS_FREE_DISK", "1TiB"), "--port", "0"),
                "nearly full",
                " MiB free, ",
                "1048576 MiB needed",
                "limits.free-disk");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            routing: {local: 2}                  | 1: | routing.local
            routing: {lokal: 0.9}                | 1: | did you mean routing.local
            a: [1                                | 1: | not valid YAML
            backends: {x: {kind: nonsense}}      | 1: | kind
            listen: {host: 0.0.0.0}              | 1: | listen.host
            """)
    void shouldNameFileAndLineWhenTheConfigurationIsWrong(String yaml, String line, String words) throws Exception {
        Path config = Files.writeString(folder.resolve("wrong.yaml"), yaml);

        Result result = up(NOTHING, "--port", "0", "--config", config.toString());

        assertThat(result.code()).isEqualTo(1);
        assertThat(result.complaints())
                .isNotEmpty()
                .allMatch(each -> each.startsWith("millrace: "))
                .anyMatch(each -> each.contains(config + ":" + line) && each.contains(words));
        assertThat(result.err()).doesNotContain("\tat ");
        assertThat(data()).doesNotExist();
    }

    @Test
    void shouldSayThatAConfigurationOrVariableIsUnknown() throws Exception {
        refused(up(NOTHING, "--config", folder.resolve("none.yaml").toString()), "none.yaml", "no such file");
        refused(up(Map.of("MILLRACE_ROUTING_LOKAL", "1")), "MILLRACE_ROUTING_LOKAL");
        refused(up(NOTHING, "--knowledge", folder.resolve("none").toString()), "--knowledge", "no folder");
        refused(up(NOTHING, "--knowledge", folder + ":nonsense"), "no collection nonsense");
    }

    /** What runs already when this is found out is stopped again: Kafka and PostgreSQL may well be up by then. */
    @Test
    void shouldStopWhatItStartedWhenAPartCannotRun() throws Exception {
        Bundled.breakRedis(data());

        Result result = up(Map.of("PATH", withoutRedis()), "--port", "0");

        refused(result, "the bundled Redis does not run on this system", "no redis-server on the PATH", "redis.url");
        assertThat(data().resolve("run.json")).doesNotExist();
    }

    /** Kafka would end the process at some moment, the registry say that "Quarkus failed". */
    @Test
    void shouldSayThatTooFewFilesMayBeOpened() throws Exception {
        Process limited = Millrace.start(
                folder,
                "limited",
                NOTHING,
                List.of("/bin/sh", "-c", "ulimit -n 512; exec \"$@\"", "sh"),
                "up",
                "--port",
                "0",
                "--data",
                data().toString());
        assertThat(limited.waitFor(60, TimeUnit.SECONDS)).isTrue();
        refused(
                new Result(1, Millrace.read(folder, "limited.out"), Millrace.read(folder, "limited.err")),
                "may open 512 files",
                "ulimit -n");
        assertThat(limited.exitValue()).isEqualTo(1);
    }

    /** Connections that clients keep took the files that the broker needs, and it ended the process. */
    @Test
    void shouldCloseConnectionsRatherThanLoseItsLogWhenTooManyAreOpen() throws Exception {
        String answer = whileUp(List.of("/bin/sh", "-c", "ulimit -n 1100; exec \"$@\"", "sh"), NOTHING, url -> {
            URI at = URI.create(url);
            List<Socket> idle = new ArrayList<>();
            try {
                for (int i = 0; i < 600; i++) {
                    Socket socket = new Socket(at.getHost(), at.getPort());
                    idle.add(socket);
                    // a burst is accepted faster than it is counted: that is not what is looked at here
                    Thread.sleep(i % 25 == 0 ? 20 : 0);
                    // most say nothing at all
                    if (i % 10 == 0) {
                        socket.getOutputStream().write(LIVE);
                    }
                }
                Awaitility.await("refused")
                        .atMost(Duration.ofSeconds(20))
                        .until(() -> Millrace.read(data(), "logs/millrace.log").contains("connections are open"));
                assertThat(new String(idle.getFirst().getInputStream().readNBytes(12), StandardCharsets.US_ASCII))
                        .isEqualTo("HTTP/1.1 200");
            } finally {
                for (Socket socket : idle) {
                    socket.close();
                }
            }
            Awaitility.await("taken again")
                    .atMost(Duration.ofSeconds(20))
                    .ignoreExceptions()
                    .until(() -> get(url + "/health/live").statusCode() == 200);
            return ask(url, "Is anybody there?");
        });
        assertThat(answer).contains("interaction_id");
    }

    /** What a power cut can leave of the log, and what it can take of the database. */
    @Test
    void shouldSayWhatIsDamagedAndGoOnFromTheLog() throws Exception {
        String id = JSON.readTree(whileUp(url -> ask(url, "What is the mill built on?")))
                .path("interaction_id")
                .asText();
        assertThat(id).isNotEmpty();
        try (Stream<Path> files = Files.walk(data().resolve("kafka"))) {
            Path log = files.filter(file -> file.toString().matches(".*millrace.documents-\\d/0+.log"))
                    .max(Comparator.comparingLong(file -> file.toFile().length()))
                    .orElseThrow();
            Files.write(log, new byte[300], StandardOpenOption.APPEND);
        }

        refused(up(NOTHING, "--port", "0"), "Kafka cannot read or write its log", "millrace.log", "next start");
        // and it was no empty promise
        whileUp(url -> ask(url, "And now?"));

        Path bootstrap = data().resolve("kafka/bootstrap.checkpoint");
        Files.write(bootstrap, new byte[300]);
        refused(up(NOTHING, "--port", "0"), "Kafka cannot be started: ", "bootstrap.checkpoint", "Delete " + bootstrap);
        Files.delete(bootstrap);
        for (String file : List.of(
                "__cluster_metadata-0/quorum-state",
                "__cluster_metadata-0/leader-epoch-checkpoint",
                "recovery-point-offset-checkpoint",
                "log-start-offset-checkpoint",
                "replication-offset-checkpoint",
                "cleaner-offset-checkpoint")) {
            Files.write(data().resolve("kafka").resolve(file), new byte[300]);
        }

        Files.delete(data().resolve("postgres/data/PG_VERSION"));
        refused(up(NOTHING, "--port", "0"), "PostgreSQL stopped at once: ", "move " + data().resolve("postgres"));
        Files.move(data().resolve("postgres"), folder.resolve("damaged"));
        String found = whileUp(url -> {
            Awaitility.await("the row, read from the log again")
                    .atMost(Duration.ofSeconds(30))
                    .until(() -> get(url + "/interactions/" + id).statusCode() == 200);
            return get(url + "/interactions/" + id).body();
        });
        assertThat(found).contains("What is the mill built on?", "answered");
    }

    /** It said 127.0.0.1 whatever it listened on, and each command believed it. */
    @ParameterizedTest
    @ValueSource(strings = {"[::1]", "127.0.0.2"})
    void shouldBeFoundWhereItListens(String host) throws Exception {
        try (ServerSocket there = new ServerSocket()) {
            there.bind(new InetSocketAddress(host, 0));
        } catch (IOException e) {
            abort("this machine has no " + host);
        }

        whileUp(Map.of("MILLRACE_LISTEN_HOST", host), url -> {
            assertThat(InetAddress.getByName(URI.create(url).getHost())).isEqualTo(InetAddress.getByName(host));
            Result status = Millrace.run(folder, NOTHING, "status", "--data", data().toString());
            assertThat(status.code()).as(status.toString()).isZero();
            return url;
        });
    }

    /** They go where the collection for them is, or else into the first there is. */
    @Test
    void shouldKnowItsOwnDocumentsWhateverCollectionsThereAre() throws Exception {
        Path home = Files.createDirectories(folder.resolve("home"));
        Files.createDirectories(home.resolve("docs"));
        Files.writeString(
                home.resolve("docs/sluice.md"), "# Sluice\n\nThe sluice of Millrace is opened by Ottokar Wendelin.\n");
        Files.createDirectories(data());
        Files.writeString(data().resolve("millrace.yaml"), "collections: [notes, recipes]\n");

        String found = whileUp(Map.of("JAVA_TOOL_OPTIONS", "-Dmillrace.home=" + home), url -> {
            Awaitility.await("its own documents")
                    .atMost(Duration.ofSeconds(30))
                    .until(() -> search(url, "notes").contains("Ottokar Wendelin"));
            assertThat(search(url, "recipes")).contains("\"results\":[]");
            return ask(url, "Who opens the sluice of Millrace?");
        });

        assertThat(found).contains("Ottokar Wendelin", "sluice.md");
    }

    private static String search(String url, String collection) throws Exception {
        HttpResponse<String> response = send(HttpRequest.newBuilder(URI.create(url + "/search"))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(
                        "{\"query\":\"who opens the sluice\",\"collections\":[\"" + collection + "\"]}")));
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return response.body();
    }

    /** The ids of the log's schemas survive the database also where the services are processes of their own. */
    @Test
    void shouldNoteTheSchemasWhenThePartsRunAlone() throws Exception {
        Process parts = Millrace.start(folder, "parts", NOTHING, "parts", "--data", data().toString());
        try {
            Awaitility.await("ready").atMost(Duration.ofMinutes(2)).until(() -> {
                assertThat(parts.isAlive()).as(Millrace.said(folder, "parts")).isTrue();
                return Millrace.read(folder, "parts.out").contains("millrace parts ready ");
            });
        } finally {
            Millrace.stop(parts);
        }
        List<String> subjects = new ArrayList<>();
        JSON.readTree(data().resolve("schemas.json").toFile())
                .forEach(each -> subjects.add(each.path("subject").asText()));
        assertThat(subjects).contains("millrace.queries-value", "millrace.dispatch.builtin-value");
    }

    @Test
    void shouldGiveTopicsTheRetentionThatIsSetAndSaySo() throws Exception {
        assertThat(whileUp(Map.of("MILLRACE_RETENTION_DAYS", "2d"), url -> retention(url, "millrace.queries")))
                .isEqualTo("172800000");

        Files.writeString(data().resolve("millrace.yaml"), "retention: {short: 2h, long: 30d}\n");
        whileUp(Map.of(), url -> {
            assertThat(retention(url, "millrace.queries")).isEqualTo("604800000");
            assertThat(retention(url, "millrace.interactions")).isEqualTo("2592000000");
            assertThat(retention(url, "millrace.ticks")).isEqualTo("7200000");
            return ask(url, "Does it still answer?");
        });

        assertThat(Millrace.read(data(), "logs/millrace.log"))
                .contains("topic millrace.queries kept records for 2d and keeps them for 7d from now on"
                        + " (retention.days)")
                .contains("topic millrace.interactions kept records for 400d and keeps them for 30d from now on"
                        + " (retention.long): older ones are deleted")
                .contains("topic millrace.ticks kept records for 1h and keeps them for 2h from now on");
    }

    private static String retention(String url, String topic) throws Exception {
        String broker = JSON.readTree(get(url + "/status").body())
                .at("/endpoints/kafka")
                .asText();
        try (Admin admin = Admin.create(Map.<String, Object>of(AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, broker))) {
            ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
            return Objects.requireNonNull(
                            admin.describeConfigs(List.of(resource)).all().get().get(resource))
                    .get(TopicConfig.RETENTION_MS_CONFIG)
                    .value();
        }
    }

    private interface Use {
        String with(String url) throws Exception;
    }

    private String whileUp(Use use) throws Exception {
        return whileUp(List.of(), NOTHING, use);
    }

    private String whileUp(Map<String, String> environment, Use use) throws Exception {
        return whileUp(List.of(), environment, use);
    }

    /** @param by what starts it */
    private String whileUp(List<String> by, Map<String, String> environment, Use use) throws Exception {
        String name = "up-" + System.nanoTime();
        Process up = Millrace.start(folder, name, environment, by, "up", "--port", "0", "--data", data().toString());
        try {
            return use.with(Millrace.awaitReady(up, folder, name));
        } finally {
            Millrace.stop(up);
        }
    }

    private static String ask(String url, String question) throws Exception {
        HttpResponse<String> response = send(HttpRequest.newBuilder(URI.create(url + "/query"))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(
                        "{\"query\":\"" + question + "\",\"generate_response\":true}")));
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return response.body();
    }

    private static HttpResponse<String> get(String url) throws Exception {
        return send(HttpRequest.newBuilder(URI.create(url)));
    }

    private static HttpResponse<String> send(HttpRequest.Builder request) throws Exception {
        try (HttpClient http = HttpClient.newHttpClient()) {
            return http.send(request.timeout(Duration.ofSeconds(30)).build(), HttpResponse.BodyHandlers.ofString());
        }
    }

    /** The machine's path without what the fallback would find. */
    private static String withoutRedis() {
        return Stream.of(String.valueOf(System.getenv("PATH")).split(":"))
                .filter(each ->
                        !Files.exists(Path.of(each, "redis-server")) && !Files.exists(Path.of(each, "valkey-server")))
                .reduce((a, b) -> a + ":" + b)
                .orElse("/bin");
    }
}
