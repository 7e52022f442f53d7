package io.millrace.standalone;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * SIGTERM at moments of the start. It was passed on as an interrupt: Kafka took its disk for broken, ended the process and made the next
 * start wait for half a minute; what was being started was left behind; the index was made anew.
 */
class StopIT {
    private static final ObjectMapper JSON = new ObjectMapper();

    /** It allows itself 9 s, and a busy machine is late to count them. */
    private static final Duration LONGEST = Duration.ofSeconds(20);

    /** A start takes less, on a busy machine too. */
    private static final Duration NEXT = Duration.ofMinutes(2);

    @TempDir
    private Path folder;

    private int runs;

    private interface Moment {
        boolean hasCome() throws Exception;
    }

    @Test
    void shouldEndSoonAndLeaveGoodDataWhenItIsStoppedWhileItStarts() throws Exception {
        stopWhen("PostgreSQL is unpacked", () -> Files.exists(data().resolve("bin")));
        stopWhen("Kafka starts for the first time", () -> Files.exists(data().resolve("kafka/__cluster_metadata-0")));
        stopWhen("topics are made", () -> Files.exists(data().resolve("kafka/millrace.queries-0")));
        String id = ask("Who grinds the corn?", "");

        stopWhen("its children start", () -> Files.exists(data().resolve("children/redis")));
        for (int ms : List.of(800, 2_500)) {
            stopWhen(
                    "its children start, and " + ms + " ms go by",
                    () -> Files.exists(data().resolve("children/redis")),
                    ms);
        }
        // models are loaded, clients made, services started
        for (int ms : List.of(0, 200, 500, 900, 1_500)) {
            stopWhen("the parts are up, and " + ms + " ms go by", () -> said().contains("parts are up"), ms);
        }
        stopWhen("the services are up", () -> said().contains("services are up"));

        ask("And who bakes the bread?", id);
        assertThat(Files.readString(data().resolve("logs/millrace.log")))
                .as(
                        "the index and the log were not damaged by it, nothing failed to stop, nor started after that, nor outlived its part")
                .doesNotContain(
                        "cannot be opened and is rebuilt",
                        "ClosedByInterruptException",
                        "did not stop in good order",
                        "died",
                        "Redis does not answer",
                        "Cannot reconnect",
                        "could not be established");
    }

    private Path data() {
        return folder.resolve("data");
    }

    private Process start() throws IOException {
        runs++;
        return Millrace.start(folder, name(), Map.of(), "up", "--port", "0", "--data", data().toString());
    }

    private String name() {
        return "up-" + runs;
    }

    private String said() throws IOException {
        return Millrace.read(folder, name() + ".out");
    }

    private void stopWhen(String words, Moment moment) throws Exception {
        stopWhen(words, moment, 0);
    }

    private void stopWhen(String words, Moment moment, int laterMs) throws Exception {
        Process up = start();
        try {
            Awaitility.await(words)
                    .atMost(NEXT)
                    .pollDelay(Duration.ZERO)
                    .pollInterval(Duration.ofMillis(5))
                    .until(() -> {
                        assertThat(up.isAlive())
                                .as(Millrace.said(folder, name()))
                                .isTrue();
                        return moment.hasCome();
                    });
            Thread.sleep(laterMs);
            up.destroy();
            assertThat(up.waitFor(LONGEST.toSeconds(), TimeUnit.SECONDS))
                    .as("ended within %s when %s", LONGEST, words)
                    .isTrue();
            // 128 + 15
            assertThat(up.exitValue()).as(words).isEqualTo(143);
            assertThat(Millrace.read(folder, name() + ".err")).as(words).isEmpty();
            assertThat(said().lines().toList()).as(words).last().asString().isEqualTo("millrace stops");
        } finally {
            up.destroyForcibly().waitFor();
        }
        assertThat(left()).as("left when %s", words).isEmpty();
    }

    /** Processes that were started for this folder; where the time was up, their shells end them. */
    private List<String> left() throws InterruptedException {
        long until = System.nanoTime() + Duration.ofSeconds(30).toNanos();
        while (true) {
            List<String> there = ProcessHandle.allProcesses()
                    .filter(ProcessHandle::isAlive)
                    .flatMap(each -> each.info().commandLine().stream())
                    .filter(line -> line.contains(data().toString()))
                    .toList();
            if (there.isEmpty() || System.nanoTime() > until) {
                return there;
            }
            Thread.sleep(100);
        }
    }

    /** Starts it whole and asks; what was asked before must still be there. */
    private String ask(String question, String before) throws Exception {
        Process up = start();
        try {
            String url = Millrace.awaitReady(up, folder, name());
            if (!before.isEmpty()) {
                assertThat(send(HttpRequest.newBuilder(URI.create(url + "/interactions/" + before))))
                        .contains("Who grinds the corn?");
            }
            String answer = send(HttpRequest.newBuilder(URI.create(url + "/query"))
                    .header("Content-Type", "application/json")
                    .POST(HttpRequest.BodyPublishers.ofString(
                            "{\"query\":\"" + question + "\",\"generate_response\":true}")));
            String id = JSON.readTree(answer).path("interaction_id").asText();
            Awaitility.await("its row")
                    .atMost(Duration.ofSeconds(20))
                    .ignoreExceptions()
                    .until(() -> send(HttpRequest.newBuilder(URI.create(url + "/interactions/" + id)))
                            .contains("answered"));
            return id;
        } finally {
            Millrace.stop(up);
        }
    }

    private static String send(HttpRequest.Builder request) throws Exception {
        try (HttpClient http = HttpClient.newHttpClient()) {
            HttpResponse<String> response =
                    http.send(request.timeout(Duration.ofSeconds(30)).build(), HttpResponse.BodyHandlers.ofString());
            assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
            return response.body();
        }
    }
}
