package io.millrace.standalone.parts;

import io.millrace.standalone.error.UserException;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import kafka.server.KafkaConfig;
import kafka.server.KafkaRaftServer;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.metadata.storage.Formatter;
import org.apache.kafka.server.common.MetadataVersion;
import org.jspecify.annotations.Nullable;

/** A Kafka broker and controller in this JVM, KRaft, on loopback. One broker without fsync: it survives a kill -9, not a power cut. */
public final class BrokerPart implements Part {
    private static final int NODE = 1;
    private static final Duration START_TIMEOUT = Duration.ofSeconds(30);

    private final DataFolder data;
    private final int port;
    private final int controllerPort;
    private @Nullable KafkaRaftServer server;

    BrokerPart(DataFolder data, int port, int controllerPort) {
        this.data = data;
        this.port = port;
        this.controllerPort = controllerPort;
    }

    @Override
    public String name() {
        return "kafka";
    }

    String bootstrapServers() {
        return "127.0.0.1:" + port;
    }

    @Override
    public synchronized void start() {
        String folder = data.folder("kafka").toString();
        try {
            new Formatter()
                    .setClusterId(clusterId())
                    .setNodeId(NODE)
                    .setDirectories(List.of(folder))
                    .setMetadataLogDirectory(folder)
                    .setControllerListenerName("CONTROLLER")
                    .setReleaseVersion(MetadataVersion.latestProduction())
                    .setIgnoreFormatted(true)
                    .setPrintStream(new PrintStream(OutputStream.nullOutputStream(), false, StandardCharsets.UTF_8))
                    .run();
        } catch (Exception e) {
            throw new UserException("Kafka's data folder cannot be formatted: " + e.getMessage(), e);
        }
        KafkaRaftServer starting = new KafkaRaftServer(new KafkaConfig(settings(folder), false), Time.SYSTEM);
        server = starting;
        try {
            starting.startup();
            awaitRegistration();
        } catch (RuntimeException e) {
            starting.shutdown();
            server = null;
            throw new UserException("Kafka cannot be started: " + e.getMessage(), e);
        }
    }

    /** The log remembers the cluster it belongs to, whatever the formatter is told later. */
    private String clusterId() throws IOException {
        Path file = data.root().resolve("cluster-id");
        if (!Files.exists(file)) {
            data.write("cluster-id", Uuid.randomUuid().toString());
        }
        return Files.readString(file).strip();
    }

    private Map<String, Object> settings(String folder) {
        Map<String, Object> s = new HashMap<>();
        s.put("process.roles", "broker,controller");
        s.put("node.id", NODE);
        s.put("controller.quorum.voters", NODE + "@127.0.0.1:" + controllerPort);
        s.put("controller.listener.names", "CONTROLLER");
        s.put("listeners", "PLAINTEXT://127.0.0.1:" + port + ",CONTROLLER://127.0.0.1:" + controllerPort);
        s.put("advertised.listeners", "PLAINTEXT://127.0.0.1:" + port);
        s.put("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT");
        s.put("log.dirs", folder);
        s.put("auto.create.topics.enable", false);
        s.put("message.max.bytes", 32 * 1024 * 1024);
        s.put("replica.fetch.max.bytes", 32 * 1024 * 1024);

        // After a kill the old registration has to time out before the new broker may serve: 4 s instead of 12. Less
        // would fence a
        // live broker when a busy laptop starves it.
        s.put("broker.session.timeout.ms", 2_500);
        s.put("broker.heartbeat.interval.ms", 300);

        // One user on a laptop: few threads, and little heap and disk for what is allocated up front. More threads than
        // cores only wake each other.
        int cores = Runtime.getRuntime().availableProcessors();
        s.put("num.network.threads", Math.clamp(cores / 4, 1, 3));
        s.put("num.io.threads", Math.clamp(cores, 2, 8));
        s.put("background.threads", 2);
        s.put("num.recovery.threads.per.data.dir", 2);
        s.put("log.cleaner.dedupe.buffer.size", 2 * 1024 * 1024);
        s.put("log.cleaner.io.buffer.size", 256 * 1024);
        s.put("log.index.size.max.bytes", 1024 * 1024);
        s.put("log.segment.bytes", 256 * 1024 * 1024);

        // Internal topics: one replica, and partitions for a handful of groups instead of fifty each.
        s.put("offsets.topic.replication.factor", (short) 1);
        s.put("offsets.topic.num.partitions", 4);
        s.put("transaction.state.log.replication.factor", (short) 1);
        s.put("transaction.state.log.min.isr", 1);
        s.put("transaction.state.log.num.partitions", 4);
        s.put("share.coordinator.state.topic.replication.factor", (short) 1);
        s.put("share.coordinator.state.topic.min.isr", (short) 1);
        s.put("share.coordinator.state.topic.num.partitions", 4);

        // A killed member must not hold its work past a deadline, and a new one must not wait to be noticed: with the
        // defaults a
        // share group's first record comes after 5.5 s, with these after 2.3 s.
        s.put("group.initial.rebalance.delay.ms", 0);
        s.put("group.min.session.timeout.ms", 1_000);
        for (String kind : List.of("share", "consumer", "streams")) {
            s.put("group." + kind + ".min.heartbeat.interval.ms", 200);
            s.put("group." + kind + ".heartbeat.interval.ms", 500);
            s.put("group." + kind + ".min.session.timeout.ms", 3_000);
            s.put("group." + kind + ".session.timeout.ms", 6_000);
        }
        s.put("group.share.min.record.lock.duration.ms", 1_000);
        // A killed transaction is looked for every 10 s by default; read_committed readers wait for it.
        s.put("transaction.abort.timed.out.transaction.cleanup.interval.ms", 1_000);
        return s;
    }

    /** Startup returns when the broker is unfenced; a client sees it a moment later. */
    private void awaitRegistration() {
        try (Admin admin = Admin.create(Map.of(AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrapServers()))) {
            admin.describeCluster().nodes().get(START_TIMEOUT.toSeconds(), TimeUnit.SECONDS);
        } catch (ExecutionException | TimeoutException e) {
            throw new IllegalStateException("it does not answer: " + e.getMessage(), e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while starting", e);
        }
    }

    /** It lives as long as this JVM. */
    @Override
    public synchronized boolean isAlive() {
        return server != null;
    }

    @Override
    public synchronized void stop() {
        if (server != null) {
            server.shutdown();
            server.awaitShutdown();
            server = null;
        }
    }
}
