package io.millrace.standalone.parts;

import io.millrace.standalone.error.UserException;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A Kafka Connect worker, standalone mode, for the knowledge sources: a process of its own with a class path of 60 jars, that is
 * started when the first source needs it. It forgets its connectors with its process, and is told them again; where they stopped
 * reading is in a file.
 */
public final class ConnectPart implements Part {
    /** Where the build put the worker's jars. */
    public static final String HOME_PROPERTY = "millrace.connect";

    private static final Logger LOG = LoggerFactory.getLogger(ConnectPart.class);

    private final DataFolder data;
    private final int port;
    private final String plugins;
    private final String bootstrapServers;
    private @Nullable Child child;
    private boolean wanted;
    private String known = "";

    /** @param plugins folder of further connectors; empty for the one in the data folder */
    ConnectPart(DataFolder data, int port, String plugins, String bootstrapServers) {
        this.data = data;
        this.port = port;
        this.plugins = plugins;
        this.bootstrapServers = bootstrapServers;
    }

    @Override
    public String name() {
        return "connect";
    }

    URI url() {
        return URI.create("http://127.0.0.1:" + port);
    }

    /** The worker's REST API; starts it when it does not run, and again when it does not know the connectors that are there now. */
    public synchronized URI running() {
        if (child == null || !child.isAlive()) {
            start();
        } else if (!ConnectPlugins.stamp(plugins()).equals(known)) {
            LOG.info("the connectors in {} changed: Kafka Connect is started again", plugins());
            child.stop();
            start();
        }
        return url();
    }

    private Path plugins() {
        return plugins.isEmpty() ? data.folder("connectors") : Path.of(plugins);
    }

    @Override
    public synchronized void start() {
        Path home = Path.of(System.getProperty(HOME_PROPERTY, ""));
        if (!hasWorker(home)) {
            throw new UserException("the Kafka Connect worker is not where -D" + HOME_PROPERTY + " says (" + home
                    + "): build with ./millrace, or set connect.url");
        }
        Path folder = data.folder("connect");
        known = ConnectPlugins.stamp(plugins());
        data.delete("connect/plugins");
        try {
            ConnectPlugins.link(plugins(), data.folder("connect/plugins"));
        } catch (IOException e) {
            throw new UserException("the connectors in " + plugins() + " cannot be used: " + DataFolder.reason(e), e);
        }
        data.write("connect/worker.properties", properties(folder));
        wanted = true;
        child = Child.start(data, name(), "TERM", Child.PATIENCE_SECONDS, command(home, folder), Map.of());
        child.awaitAnswer(data, "Kafka Connect", url().resolve("/connectors"));
    }

    private static boolean hasWorker(Path home) {
        if (!Files.isDirectory(home)) {
            return false;
        }
        try (Stream<Path> jars = Files.list(home)) {
            return jars.anyMatch(jar -> jar.getFileName().toString().startsWith("connect-runtime"));
        } catch (IOException e) {
            return false;
        }
    }

    private String properties(Path folder) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrapServers);
        properties.put("listeners", "http://127.0.0.1:" + port);
        properties.put("plugin.path", folder.resolve("plugins").toString());
        // scanning for plugins takes 1.7 GB and 10 s, see ConnectPlugins
        properties.put("plugin.discovery", "service_load");
        properties.put("key.converter", "org.apache.kafka.connect.storage.StringConverter");
        properties.put("value.converter", "org.apache.kafka.connect.json.JsonConverter");
        properties.put("value.converter.schemas.enable", "false");
        properties.put("offset.storage.file.filename", folder.resolve("offsets").toString());
        // what a kill has read again; the normalizer writes none of it twice
        properties.put("offset.flush.interval.ms", "1000");
        properties.put("task.shutdown.graceful.timeout.ms", "2000");
        properties.put("topic.creation.enable", "false");
        // documents of 16 MB, as base64
        properties.put("producer.max.request.size", "33554432");
        properties.put("producer.acks", "all");
        ByteArrayOutputStream written = new ByteArrayOutputStream();
        try {
            // escapes what is not Latin-1, as which Kafka reads it
            properties.store(written, null);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return written.toString(StandardCharsets.ISO_8859_1);
    }

    /** 135 MB and a second and a half to the first source. */
    private List<String> command(Path home, Path folder) {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-XX:+UseSerialGC",
                "-XX:+UseCompactObjectHeaders",
                "-Xmx256m",
                "-Xss512k",
                "-XX:TieredStopAtLevel=1",
                "-XX:-UsePerfData",
                "-Djava.io.tmpdir=" + data.folder("tmp"),
                "-Duser.home=" + folder,
                "-Dlog4j2.configurationFile=log4j2-connect.xml"));
        command.addAll(List.of(
                "-cp",
                home + "/*",
                "org.apache.kafka.connect.cli.ConnectStandalone",
                folder.resolve("worker.properties").toString()));
        return command;
    }

    /** Also while nobody needs it. */
    @Override
    public synchronized boolean isAlive() {
        return !wanted || (child != null && child.isAlive());
    }

    @Override
    public synchronized void stop() {
        wanted = false;
        if (child != null) {
            child.stop();
        }
    }
}
