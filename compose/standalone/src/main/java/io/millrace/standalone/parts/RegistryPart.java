package io.millrace.standalone.parts;

import io.millrace.standalone.error.UserException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Apicurio as a schema registry, a process of its own because its 467 jars fit to none of ours. It stores in the embedded
 * PostgreSQL: its default is memory, and ids that are forgotten make the log unreadable.
 */
public final class RegistryPart implements Part {
    /** Where the build unpacked the server. */
    public static final String HOME_PROPERTY = "millrace.registry";

    private final DataFolder data;
    private final int port;
    private final int managementPort;
    private final Database database;
    private @Nullable Child child;

    /** Where the registry stores. */
    record Database(String url, String user, String password) {}

    RegistryPart(DataFolder data, int port, int managementPort, Database database) {
        this.data = data;
        this.port = port;
        this.managementPort = managementPort;
        this.database = database;
    }

    @Override
    public String name() {
        return "registry";
    }

    String url() {
        return "http://127.0.0.1:" + port + "/apis/ccompat/v7";
    }

    @Override
    public synchronized void start() {
        String home = System.getProperty(HOME_PROPERTY, "");
        Path jar = Path.of(home, "quarkus-run.jar");
        if (home.isEmpty() || !Files.exists(jar)) {
            throw new UserException("the schema registry is not where -D" + HOME_PROPERTY + " says (" + home
                    + "): build with ./millrace, or set registry.url");
        }
        child = Undisturbed.get(
                () -> Child.start(data, name(), "TERM", AotCache.patience(), command(home), environment()));
        child.awaitAnswer(data, "the schema registry", URI.create(url() + "/subjects"));
    }

    /**
     * 200 MB and 1.5-2.5 s with these; 290 MB and 3.2 s with none. Not by its own jar, whose class loader leaves the AOT cache unused for
     * a fifth of the classes: a quarter of the start.
     */
    private List<String> command(String home) {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-XX:+UseSerialGC",
                "-XX:+UseCompactObjectHeaders",
                "-Xmx64m",
                // it would go on as half a process; one that ends is started again
                "-XX:+ExitOnOutOfMemoryError",
                "-Xss512k",
                "-XX:TieredStopAtLevel=1",
                "-XX:ReservedCodeCacheSize=32m",
                "-XX:-UsePerfData",
                "--enable-native-access=ALL-UNNAMED",
                "--add-opens=java.base/java.lang=ALL-UNNAMED",
                "-Djava.util.logging.manager=org.jboss.logmanager.LogManager",
                "-Djava.io.tmpdir=" + data.folder("tmp")));
        command.addAll(AotCache.flags(AotCache.REGISTRY));
        command.addAll(List.of(
                "-Dquarkus.http.host=127.0.0.1",
                "-Dquarkus.http.port=" + port,
                "-Dquarkus.management.host=127.0.0.1",
                "-Dquarkus.management.port=" + managementPort,
                "-Dquarkus.log.level=WARN",
                "-Dquarkus.http.access-log.enabled=false",
                "-Dquarkus.shutdown.timeout=1",
                // two hundred, its default, hold more than its heap when everybody asks at once
                "-Dquarkus.thread-pool.max-threads=16",
                "-Dapicurio.storage.kind=sql",
                "-Dapicurio.storage.sql.kind=postgresql",
                "-Dapicurio.datasource.url=" + database.url(),
                "-Dapicurio.datasource.jdbc.initial-size=1",
                "-Dapicurio.datasource.jdbc.min-size=1",
                "-Dapicurio.datasource.jdbc.max-size=4",
                "-cp",
                home + "/quarkus/*:" + home + "/app/*:" + home + "/lib/main/*:" + home + "/lib/boot/*",
                "io.quarkus.runner.GeneratedMain"));
        return command;
    }

    /** What not everybody may read in the list of processes. */
    private Map<String, String> environment() {
        return Map.of(
                "APICURIO_DATASOURCE_USERNAME", database.user(), "APICURIO_DATASOURCE_PASSWORD", database.password());
    }

    @Override
    public synchronized boolean isAlive() {
        return child != null && child.isAlive();
    }

    @Override
    public synchronized void stop() {
        if (child != null) {
            child.stop();
        }
    }
}
