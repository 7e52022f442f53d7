package io.millrace.standalone.parts;

import io.millrace.standalone.UserException;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * Apicurio's registry as a child process on loopback, with its schemas in the embedded Postgres: in memory, its default, the ids on
 * the log would mean nothing after a restart.
 */
public final class Registry implements AutoCloseable {
    private static final Duration START = Duration.ofSeconds(40);

    private final Child child;
    private final String url;

    private Registry(Child child, String url) {
        this.child = child;
        this.url = url;
    }

    /** @param home folder with {@code quarkus-run.jar} */
    public static Registry start(DataFolder data, Path home, Postgres postgres) {
        Child.reap("registry", data.path("run"), "TERM");
        if (!Files.exists(home.resolve("quarkus-run.jar"))) {
            throw new UserException(
                    "the schema registry is not in " + home + ": build with ./millrace up, or set registry.url");
        }
        int port = Ports.free();
        int management = Ports.free();
        Path java = Path.of(System.getProperty("java.home"), "bin", "java");
        List<String> command = new ArrayList<>(List.of(
                java.toString(),
                "-XX:+UseSerialGC",
                "-XX:+UseCompactObjectHeaders",
                "-Xmx96m",
                "-Xss512k",
                "-XX:TieredStopAtLevel=1",
                "-XX:ReservedCodeCacheSize=32m",
                "-Djava.io.tmpdir=" + data.path("tmp"),
                "-Dquarkus.http.host=127.0.0.1",
                "-Dquarkus.http.port=" + port,
                // its management port is open to the world otherwise
                "-Dquarkus.management.host=127.0.0.1",
                "-Dquarkus.management.port=" + management,
                "-Dquarkus.log.level=WARN",
                "-Dquarkus.http.access-log.enabled=false",
                "-Dapicurio.storage.kind=sql",
                "-Dapicurio.storage.sql.kind=postgresql",
                "-Dapicurio.datasource.jdbc.initial-size=1",
                "-Dapicurio.datasource.jdbc.min-size=1",
                "-Dapicurio.datasource.jdbc.max-size=4",
                "-jar",
                home.resolve("quarkus-run.jar").toString()));
        Map<String, String> environment = Map.of(
                "APICURIO_DATASOURCE_URL", postgres.jdbcUrl("registry"),
                "APICURIO_DATASOURCE_USERNAME", postgres.user(),
                "APICURIO_DATASOURCE_PASSWORD", postgres.password());
        Child child = Child.start(
                "registry",
                "TERM",
                command,
                environment,
                data.root(),
                data.path("logs/registry.log"),
                data.path("run"));
        Registry registry = new Registry(child, "http://127.0.0.1:" + port + "/apis/ccompat/v7");
        registry.await(data);
        return registry;
    }

    private void await(DataFolder data) {
        HttpRequest request = HttpRequest.newBuilder(URI.create(url + "/subjects"))
                .timeout(Duration.ofSeconds(5))
                .build();
        long until = System.nanoTime() + START.toNanos();
        try (HttpClient http = HttpClient.newHttpClient()) {
            while (System.nanoTime() < until) {
                try {
                    if (http.send(request, HttpResponse.BodyHandlers.discarding())
                                    .statusCode()
                            == 200) {
                        return;
                    }
                } catch (IOException e) {
                    if (!child.isAlive()) {
                        break;
                    }
                }
                Thread.sleep(50);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        throw new UserException("the schema registry did not start; see " + data.path("logs/registry.log"));
    }

    /** Base of the Confluent-compatible API. */
    public String url() {
        return url;
    }

    @Override
    public void close() {
        child.close();
    }
}
