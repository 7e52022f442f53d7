package io.millrace.standalone;

import static io.millrace.standalone.Live.await;
import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.net.ServerSocket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Sources that are read by a Connect cluster of others: a real distributed worker, set up as docs/knowledge.md says. */
class ConnectClusterIT {
    @TempDir
    Path folder;

    private int port;

    @Test
    void shouldReadSourcesByAClusterAndGoOnWhenItWasAway() throws Exception {
        port = freePort();
        Path docs = Files.createDirectories(folder.resolve("docs"));
        Files.writeString(docs.resolve("one.md"), "# One\n\nThe toll house of Ratekau has a green door.\n");
        try (Live live = Live.start(folder.resolve("data"), Map.of("connect.url", "http://127.0.0.1:" + port))) {
            live.declare("  - {id: far, type: local_dir, path: \"" + docs + "\", schedule: 300ms}\n");
            await(() -> live.source("far").path("state").asText().equals("failed"));
            assertThat(live.source("far").path("error").asText())
                    .startsWith("Kafka Connect at http://127.0.0.1:" + port + " does not answer")
                    .hasLineCount(1);

            Process worker = worker(live);
            try {
                await(() -> live.found("toll house of Ratekau").contains("one.md"));
                await(() -> live.source("far").path("state").asText().equals("idle"));
                assertThat(connectors()).contains("source-far");
            } finally {
                worker.destroyForcibly().waitFor(20, TimeUnit.SECONDS);
            }
            await(() -> live.source("far").path("state").asText().equals("failed"));
            Files.writeString(docs.resolve("two.md"), "# Two\n\nThe ferry of Ratekau holds nine cows.\n");
            Files.delete(docs.resolve("one.md"));
            assertThat(live.found("toll house of Ratekau")).contains("one.md");

            Process next = worker(live);
            try {
                await(() -> live.found("ferry of Ratekau nine cows").contains("two.md"));
                await(() -> !live.found("toll house of Ratekau").contains("one.md"));
            } finally {
                next.destroyForcibly().waitFor(20, TimeUnit.SECONDS);
            }
            await(() -> live.source("far").path("state").asText().equals("failed"));
            live.declare("");
            await(() -> !live.found("ferry of Ratekau nine cows").contains("two.md"));
            // its connector waits in the cluster, and nobody else knows of it
            assertThat(live.source("far").path("state").asText()).isEqualTo("removing");
            assertThat(live.source("far").path("error").asText()).contains("does not answer");

            Process last = worker(live);
            try {
                await(() -> live.source("far").isMissingNode());
                assertThat(connectors()).doesNotContain("source-far");
            } finally {
                last.destroyForcibly().waitFor(20, TimeUnit.SECONDS);
            }
        }
    }

    /** The class path is Connect's own; our jars are a plugin of it. */
    private Process worker(Live live) throws IOException {
        Path home = Path.of(System.getProperty("millrace.connect"));
        Path plugin = Files.createDirectories(folder.resolve("plugins/millrace"));
        StringBuilder classPath = new StringBuilder();
        try (Stream<Path> jars = Files.list(home)) {
            for (Path jar : jars.toList()) {
                String name = jar.getFileName().toString();
                if (Stream.of("millrace", "org.eclipse.jgit", "JavaEWAH", "jsoup")
                        .anyMatch(name::startsWith)) {
                    Path link = plugin.resolve(name);
                    if (!Files.exists(link)) {
                        Files.createSymbolicLink(link, jar);
                    }
                } else {
                    classPath.append(jar).append(java.io.File.pathSeparatorChar);
                }
            }
        }
        Path settings = Files.writeString(folder.resolve("worker.properties"), """
                bootstrap.servers=%s
                group.id=their-connect
                listeners=http://127.0.0.1:%d
                plugin.path=%s
                plugin.discovery=service_load
                key.converter=org.apache.kafka.connect.json.JsonConverter
                value.converter=org.apache.kafka.connect.json.JsonConverter
                config.storage.topic=their-configs
                config.storage.replication.factor=1
                offset.storage.topic=their-offsets
                offset.storage.replication.factor=1
                offset.storage.partitions=1
                offset.flush.interval.ms=1000
                status.storage.topic=their-statuses
                status.storage.replication.factor=1
                status.storage.partitions=1
                scheduled.rebalance.max.delay.ms=0
                """.formatted(
                        live.standalone().endpoints().bootstrapServers(), port, folder.resolve("plugins")));
        return new ProcessBuilder(List.of(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-XX:+UseSerialGC",
                        "-XX:TieredStopAtLevel=1",
                        "-Xmx256m",
                        "-cp",
                        classPath.toString(),
                        "org.apache.kafka.connect.cli.ConnectDistributed",
                        settings.toString()))
                .redirectErrorStream(true)
                .redirectOutput(ProcessBuilder.Redirect.appendTo(
                        folder.resolve("worker.log").toFile()))
                .start();
    }

    private String connectors() throws Exception {
        return HttpClient.newHttpClient()
                .send(
                        HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + port + "/connectors"))
                                .build(),
                        HttpResponse.BodyHandlers.ofString())
                .body();
    }

    private static int freePort() throws IOException {
        try (ServerSocket socket = new ServerSocket(0)) {
            return socket.getLocalPort();
        }
    }
}
