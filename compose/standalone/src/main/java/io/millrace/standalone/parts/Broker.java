package io.millrace.standalone.parts;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Properties;
import kafka.server.KafkaConfig;
import kafka.server.KafkaRaftServer;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.metadata.storage.Formatter;
import org.apache.kafka.server.common.MetadataVersion;

/** A Kafka broker and its controller in this JVM, on loopback, with its data kept on disk. */
public final class Broker implements AutoCloseable {
    private final int port;
    private final KafkaRaftServer server;

    private Broker(int port, KafkaRaftServer server) {
        this.port = port;
        this.server = server;
    }

    /** Starts it; formats the folder the first time. */
    public static Broker start(Path folder) {
        int port = Ports.free();
        int controller = Ports.free();
        try {
            String cluster = clusterId(folder);
            Formatter formatter = new Formatter()
                    .setClusterId(cluster)
                    .setNodeId(1)
                    .setDirectories(List.of(folder.toString()))
                    .setMetadataLogDirectory(folder.toString())
                    .setControllerListenerName("CONTROLLER")
                    .setReleaseVersion(MetadataVersion.latestProduction())
                    .setIgnoreFormatted(true)
                    .setPrintStream(new PrintStream(new ByteArrayOutputStream(), false, StandardCharsets.UTF_8));
            formatter.run();
        } catch (Exception e) {
            throw new IllegalStateException(
                    "the broker's folder " + folder + " cannot be formatted: " + e.getMessage(), e);
        }
        KafkaRaftServer server =
                new KafkaRaftServer(new KafkaConfig(settings(folder, port, controller), false), Time.SYSTEM);
        server.startup();
        return new Broker(port, server);
    }

    private static Properties settings(Path folder, int port, int controller) {
        Properties p = new Properties();
        p.put("process.roles", "broker,controller");
        p.put("node.id", "1");
        p.put("controller.quorum.voters", "1@127.0.0.1:" + controller);
        p.put("listeners", "PLAINTEXT://127.0.0.1:" + port + ",CONTROLLER://127.0.0.1:" + controller);
        p.put("advertised.listeners", "PLAINTEXT://127.0.0.1:" + port);
        p.put("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT");
        p.put("controller.listener.names", "CONTROLLER");
        p.put("log.dirs", folder.toString());
        p.put("auto.create.topics.enable", "false");
        p.put("default.replication.factor", "1");
        p.put("min.insync.replicas", "1");
        // internal topics: one broker, and few partitions, since each is open files and memory
        p.put("offsets.topic.replication.factor", "1");
        p.put("offsets.topic.num.partitions", "4");
        p.put("transaction.state.log.replication.factor", "1");
        p.put("transaction.state.log.min.isr", "1");
        p.put("transaction.state.log.num.partitions", "4");
        p.put("share.coordinator.state.topic.replication.factor", "1");
        p.put("share.coordinator.state.topic.min.isr", "1");
        p.put("share.coordinator.state.topic.num.partitions", "4");
        // a restart after a crash waits for the old registration; the default of 9 s would be most of a start
        p.put("broker.session.timeout.ms", "1500");
        p.put("broker.heartbeat.interval.ms", "300");
        // groups: members are assigned at once, and a killed one is missed after 6 s and not 45
        p.put("group.initial.rebalance.delay.ms", "0");
        p.put("group.min.session.timeout.ms", "1000");
        p.put("group.share.min.heartbeat.interval.ms", "500");
        p.put("group.share.heartbeat.interval.ms", "500");
        p.put("group.share.min.session.timeout.ms", "3000");
        p.put("group.share.session.timeout.ms", "6000");
        // 128 MB on the heap by default
        p.put("log.cleaner.dedupe.buffer.size", String.valueOf(2 * 1024 * 1024));
        p.put("log.cleaner.io.buffer.size", String.valueOf(256 * 1024));
        // about 140 partitions: an index of 10 MB is allocated sparse for each by default
        p.put("log.index.size.max.bytes", String.valueOf(1024 * 1024));
        p.put("message.max.bytes", String.valueOf(32 * 1024 * 1024));
        p.put("num.network.threads", "2");
        p.put("num.io.threads", "4");
        p.put("background.threads", "2");
        p.put("num.recovery.threads.per.data.dir", "2");
        p.put("log.segment.bytes", String.valueOf(256 * 1024 * 1024));
        return p;
    }

    /** One cluster id for ever: a folder of another cluster is refused at the next start. */
    private static String clusterId(Path folder) throws IOException {
        Files.createDirectories(folder);
        Path file = folder.resolveSibling("cluster-id");
        if (!Files.exists(file)) {
            Files.writeString(file, Uuid.randomUuid().toString());
        }
        return Files.readString(file).strip();
    }

    /** Where clients connect. */
    public String bootstrapServers() {
        return "127.0.0.1:" + port;
    }

    @Override
    public void close() {
        server.shutdown();
        server.awaitShutdown();
    }
}
