package io.millrace.standalone;

import static io.millrace.standalone.Stack.await;
import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.gateway.Gateway;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Two gateways of one Millrace: a client's limit is what both give together, and without Redis what each gives. */
class LimitsIT {
    private static final HttpClient HTTP = HttpClient.newHttpClient();
    private static final int PER_MINUTE = 20;

    @TempDir
    Path folder;

    @Test
    void shouldCountWhatAClientWritesAtAllGatewaysTogether() throws Exception {
        try (Stack stack = new Stack(folder, "limits: {document-requests: " + PER_MINUTE + "}\n", Map.of())) {
            stack.run("one", Set.of("gateway"));
            stack.run("two", Set.of("gateway"));
            List<Integer> ports = List.of(port(stack, "one"), port(stack, "two"));
            for (int port : ports) {
                await("the gateway on " + port, () -> get(port, "/health/ready").statusCode() == 200);
            }

            long started = System.nanoTime();
            int taken = 0;
            int[] refused = new int[2];
            for (int i = 0; i < 2 * PER_MINUTE; i++) {
                HttpResponse<String> response = write(ports.get(i % 2), i);
                if (response.statusCode() == 429) {
                    refused[i % 2]++;
                    assertThat(response.headers()
                                    .firstValueAsLong("Retry-After")
                                    .orElse(0))
                            .isBetween(1L, 4L);
                } else {
                    assertThat(response.statusCode()).as(response.body()).isEqualTo(202);
                    taken++;
                }
            }

            long refilled = Duration.ofNanos(System.nanoTime() - started).toMillis() * PER_MINUTE / 60_000 + 1;
            // what Redis took too long for is counted by the gateway alone
            assertThat(taken).isBetween(PER_MINUTE, (int) (PER_MINUTE + refilled + 4));
            assertThat(refused[0]).isPositive();
            assertThat(refused[1]).isPositive();

            // each on its own, and still limited
            stack.parts().redis().stop();
            for (int port : ports) {
                assertThat(write(port, 100).statusCode()).isEqualTo(202);
                assertThat(get(port, "/health/detailed").body()).contains("limits are known to this process only");
                HttpResponse<String> last = write(port, 101);
                for (int i = 0; i < 2 * PER_MINUTE && last.statusCode() == 202; i++) {
                    last = write(port, 102);
                }
                assertThat(last.statusCode()).isEqualTo(429);
            }
        }
    }

    private static int port(Stack stack, String name) {
        return stack.group(name).gateway().map(Gateway::port).orElseThrow();
    }

    private static HttpResponse<String> write(int port, int i) throws Exception {
        return HTTP.send(
                HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + port + "/documents"))
                        .header("Content-Type", "application/json")
                        .POST(HttpRequest.BodyPublishers.ofString(
                                "{\"project\":\"limits\",\"relative_path\":\"" + i + ".md\",\"content\":\"Oats.\"}"))
                        .build(),
                HttpResponse.BodyHandlers.ofString());
    }

    private static HttpResponse<String> get(int port, String path) throws Exception {
        return HTTP.send(
                HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + port + path))
                        .build(),
                HttpResponse.BodyHandlers.ofString());
    }
}
