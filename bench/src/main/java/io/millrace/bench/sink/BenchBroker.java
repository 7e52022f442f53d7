package io.millrace.bench.sink;

import java.io.OutputStream;
import java.io.PrintStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import kafka.server.KafkaConfig;
import kafka.server.KafkaRaftServer;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.metadata.storage.Formatter;
import org.apache.kafka.server.common.MetadataVersion;

/** A broker in this JVM, for one run. */
public record BenchBroker(KafkaRaftServer server, String bootstrapServers) implements AutoCloseable {
    /** Starts one that keeps its log in the folder. */
    public static BenchBroker start(Path directory) throws Exception {
        int port = freePort();
        int controller = freePort();
        Map<String, Object> config = new HashMap<>();
        config.put("process.roles", "broker,controller");
        config.put("node.id", 1);
        config.put("controller.quorum.voters", "1@127.0.0.1:" + controller);
        config.put("listeners", "PLAINTEXT://127.0.0.1:" + port + ",CONTROLLER://127.0.0.1:" + controller);
        config.put("controller.listener.names", "CONTROLLER");
        config.put("log.dirs", directory.toString());
        config.put("offsets.topic.replication.factor", (short) 1);
        config.put("offsets.topic.num.partitions", 1);
        config.put("group.initial.rebalance.delay.ms", 0);
        config.put("log.cleaner.dedupe.buffer.size", 2L * 1024 * 1024);
        Formatter formatter = new Formatter();
        formatter
                .setClusterId(Uuid.randomUuid().toString())
                .setNodeId(1)
                .setDirectories(List.of(directory.toString()))
                .setMetadataLogDirectory(directory.toString())
                .setControllerListenerName("CONTROLLER")
                .setReleaseVersion(MetadataVersion.latestProduction())
                .setIgnoreFormatted(true)
                .setPrintStream(new PrintStream(OutputStream.nullOutputStream(), false, StandardCharsets.UTF_8));
        formatter.run();
        KafkaRaftServer server = new KafkaRaftServer(new KafkaConfig(config, false), Time.SYSTEM);
        server.startup();
        return new BenchBroker(server, "127.0.0.1:" + port);
    }

    private static int freePort() throws java.io.IOException {
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            return socket.getLocalPort();
        }
    }

    @Override
    public void close() {
        server.shutdown();
        server.awaitShutdown();
    }
}
