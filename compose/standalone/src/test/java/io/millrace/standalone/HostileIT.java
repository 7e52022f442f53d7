package io.millrace.standalone;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.millrace.standalone.Millrace.Result;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Clients that ask for too much of one {@code millrace up} with a small heap. */
class HostileIT {
    private static final ObjectMapper JSON = new ObjectMapper();

    @TempDir
    static Path folder;

    private static final HttpClient HTTP =
            HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private static Process up;
    private static String url = "";

    /** Bytes that may be taken of the disk before it counts as full. */
    private static long spare;

    @BeforeAll
    static void start() throws Exception {
        long free = Files.getFileStore(folder).getUsableSpace();
        spare = Math.min(4L << 30, free / 4);
        up = Millrace.start(
                folder,
                "up",
                Map.of(
                        "MILLRACE_LIMITS_FREE_DISK",
                        ((free - spare) >> 20) + "MiB",
                        // a look that took longer is told as a detail for a second
                        "MILLRACE_CACHE_TIMEOUT",
                        "5s"),
                "up",
                "--port",
                "0",
                "--data",
                folder.resolve("data").toString());
        url = Millrace.awaitReady(up, folder, "up");
        HttpResponse<String> added = post(
                        "/documents?wait=true",
                        "{\"content\":\"# The mill\\n\\nThe mill is built on Kafka.\",\"relative_path\":\"mill.md\"}")
                .join();
        assertThat(added.statusCode()).as(added.body()).isEqualTo(200);
    }

    @AfterAll
    static void stop() throws Exception {
        HTTP.close();
        Millrace.stop(up);
    }

    private static CompletableFuture<HttpResponse<String>> post(String path, String body) {
        return HTTP.sendAsync(
                HttpRequest.newBuilder(URI.create(url + path))
                        .timeout(Duration.ofSeconds(90))
                        .header("Content-Type", "application/json")
                        .POST(HttpRequest.BodyPublishers.ofString(body))
                        .build(),
                HttpResponse.BodyHandlers.ofString());
    }

    private static CompletableFuture<HttpResponse<String>> chat(String content) {
        return post("/v1/chat/completions", Stack.chatBody("millrace", content, ""));
    }

    private static CompletableFuture<HttpResponse<String>> query(String text) {
        return post("/query", "{\"query\":\"" + text + "\"}");
    }

    /** What came back on a connection of its own until it was closed or, once it had begun, went silent for two seconds. */
    private static String raw(String request) throws IOException {
        URI at = URI.create(url);
        try (Socket socket = new Socket(at.getHost(), at.getPort())) {
            socket.setSoTimeout(30_000);
            socket.getOutputStream().write(request.getBytes(StandardCharsets.UTF_8));
            ByteArrayOutputStream answer = new ByteArrayOutputStream();
            try {
                int first = socket.getInputStream().read();
                if (first >= 0) {
                    answer.write(first);
                }
                socket.setSoTimeout(2_000);
                socket.getInputStream().transferTo(answer);
            } catch (SocketTimeoutException e) {
                // it keeps the connection for the next request
            }
            return answer.toString(StandardCharsets.UTF_8);
        }
    }

    /** Sends a part of a body, and hangs up. */
    private static void abandon(String path, int sent) throws IOException {
        URI at = URI.create(url);
        String head =
                "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
                        + (3 << 20) + "\r\n\r\n";
        try (Socket socket = new Socket(at.getHost(), at.getPort())) {
            socket.getOutputStream().write((head + "x".repeat(sent)).getBytes(StandardCharsets.UTF_8));
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"/query", "/v1/chat/completions"})
    void shouldBlameTheClientWhenItsRequestIsNoHttp(String path) throws Exception {
        String head = "POST " + path + " HTTP/1.1\r\nContent-Type: application/json\r\n";

        assertThat(raw(head + "Content-Length: 2\r\n\r\n{}"))
                .startsWith("HTTP/1.1 400 ")
                .contains("Host");
        assertThat(raw(head + "Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"))
                .startsWith("HTTP/1.1 400 ")
                .contains("body");
        assertThat(raw(head + "Host: localhost\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"))
                .startsWith("HTTP/1.1 415 ")
                .contains("Content-Encoding");
    }

    /** Expressions that look for secrets took stack for each word: the ledger failed at one such query, for ever, and with it all others. */
    @ParameterizedTest
    @ValueSource(strings = {"-----BEGIN ", "Bearer config", "-----BEGIN PRIVATE KEY-----"})
    void shouldRecordAQueryThatBeginsLikeASecretAndGoesOnAndOn(String begin) throws Exception {
        for (String repeated : List.of("A ", ".a", "_A")) {
            HttpResponse<String> response =
                    chat(begin + repeated.repeat(20_000)).join();

            assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
            String id =
                    response.headers().firstValue("x-millrace-interaction-id").orElseThrow();
            Awaitility.await(begin + repeated)
                    .atMost(Duration.ofSeconds(20))
                    .untilAsserted(
                            () -> assertThat(get("/interactions/" + id)).containsPattern("\"outcome\": ?\"answered\""));
        }
        assertThat(health().at("/services/ledger/ready").asBoolean()).isTrue();
    }

    private static String get(String path) throws Exception {
        return HTTP.send(HttpRequest.newBuilder(URI.create(url + path)).build(), HttpResponse.BodyHandlers.ofString())
                .body();
    }

    /** Lucene refuses questions of more than 1,024 clauses: that looked like a broken index. */
    @Test
    void shouldSearchForAQuestionOfManyWords() throws Exception {
        String words = "Kafka " + IntStream.range(0, 700).mapToObj(i -> "w" + i).collect(Collectors.joining(" "));

        HttpResponse<String> response = query(words).join();

        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        JsonNode hits = JSON.readTree(response.body()).at("/results/combined_results");
        assertThat(hits).as(response.body()).isNotEmpty();
        JsonNode retrieval = health().at("/services/retrieval");
        assertThat(retrieval.path("details").isMissingNode())
                .as("%s", retrieval)
                .isTrue();
    }

    /** A broker whose disk is full halts its process. */
    @Test
    void shouldTakeNothingMoreWhileTheDiskIsNearlyFull() throws Exception {
        Path filler = folder.resolve("filler");
        assumeTrue(allocate(filler, 2 * spare), "no fallocate here");
        try {
            Awaitility.await("refused").atMost(Duration.ofSeconds(20)).until(() -> {
                HttpResponse<String> response = chat("Anything?").join();
                return response.statusCode() == 503
                        && code(response).startsWith("disk_full")
                        && response.headers().firstValue("Retry-After").isPresent();
            });
            assertThat(post("/documents", "{\"content\":\"x\",\"relative_path\":\"x.md\"}")
                            .join()
                            .body())
                    .contains("disk_full", "limits.free-disk");
            assertThat(health().at("/services/disk/details/disk").asText()).contains("nearly full");
            shouldSayWhichServiceIsNotReady();
        } finally {
            Files.deleteIfExists(filler);
        }

        Awaitility.await("taken again")
                .atMost(Duration.ofSeconds(20))
                .until(() -> chat("What is the mill built on?").join().statusCode() == 200);
        assertThat(health().at("/services/disk/ready").asBoolean()).isTrue();
    }

    private static void shouldSayWhichServiceIsNotReady() throws Exception {
        String data = folder.resolve("data").toString();
        Result status = Millrace.run(folder, Map.of(), "status", "--data", data);
        assertThat(status.code()).as(status.toString()).isEqualTo(1);
        assertThat(status.out()).contains("not ready: [disk]");
        assertThat(status.err()).isEmpty();
        Result json = Millrace.run(folder, Map.of(), "status", "--json", "--data", data);
        assertThat(json.code()).isEqualTo(1);
        assertThat(JSON.readTree(json.out()).at("/services/disk").asBoolean(true))
                .isFalse();
    }

    /** Takes space without writing. */
    private static boolean allocate(Path file, long bytes) throws InterruptedException {
        try {
            return new ProcessBuilder("fallocate", "-l", String.valueOf(bytes), file.toString())
                            .start()
                            .waitFor()
                    == 0;
        } catch (IOException e) {
            return false;
        }
    }

    private static JsonNode health() throws Exception {
        HttpRequest request =
                HttpRequest.newBuilder(URI.create(url + "/health/detailed")).build();
        return JSON.readTree(
                HTTP.send(request, HttpResponse.BodyHandlers.ofString()).body());
    }

    private static String code(HttpResponse<String> response) throws Exception {
        JsonNode error = JSON.readTree(response.body()).path("error");
        return error.path("code").asText() + " " + error.path("param").asText();
    }

    /** One of them used to take the broker, the streams and a sink down, for good. */
    @Test
    void shouldSayWhatDoesNotFitAndGoOnWhenRequestsAreLarge() throws Exception {
        HttpResponse<String> never = chat("x".repeat(15 << 20)).join();
        assertThat(never.statusCode()).isEqualTo(413);
        assertThat(code(never)).isEqualTo("too_large body");

        List<CompletableFuture<HttpResponse<String>>> asked =
                IntStream.range(0, 12).mapToObj(i -> chat("x".repeat(3 << 20))).toList();
        int answered = 0;
        for (CompletableFuture<HttpResponse<String>> each : asked) {
            HttpResponse<String> response = each.join();
            if (response.statusCode() == 200) {
                answered++;
            } else {
                assertThat(response.statusCode()).as(response.body()).isEqualTo(503);
                assertThat(code(response)).startsWith("overloaded");
                assertThat(response.headers().firstValue("Retry-After")).isPresent();
            }
        }
        assertThat(answered).isPositive();

        for (CompletableFuture<HttpResponse<String>> each :
                IntStream.range(0, 30).mapToObj(i -> query("x".repeat(9 << 20))).toList()) {
            assertThat(each.join().statusCode()).isIn(400, 503);
        }

        // what a refused one took is given back, and what one took that was never sent whole
        for (int i = 0; i < 10; i++) {
            abandon("/documents", 2 << 20);
            abandon("/v1/chat/completions", 2 << 20);
        }
        Awaitility.await("room again")
                .atMost(Duration.ofSeconds(20))
                .until(() -> chat("x".repeat(3 << 20)).join().statusCode() == 200);
        for (int i = 0; i < 3; i++) {
            HttpResponse<String> after = chat("x".repeat(3 << 20)).join();
            assertThat(after.statusCode()).as(after.body()).isEqualTo(200);
        }
        HttpResponse<String> small = chat("What is the mill built on?").join();
        assertThat(small.statusCode()).as(small.body()).isEqualTo(200);
        assertThat(small.body()).contains("Kafka");
        assertThat(up.isAlive()).as(Millrace.said(folder, "up")).isTrue();
    }
}
