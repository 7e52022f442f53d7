package io.millrace.standalone.parts;

import io.millrace.log.ClientConfig;
import io.millrace.standalone.error.UserException;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.io.UncheckedIOException;
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
import java.util.function.Predicate;
import kafka.server.KafkaConfig;
import kafka.server.KafkaRaftServer;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.errors.BrokerIdNotRegisteredException;
import org.apache.kafka.common.errors.NotControllerException;
import org.apache.kafka.common.errors.UnsupportedVersionException;
import org.apache.kafka.common.metrics.JmxReporter;
import org.apache.kafka.common.utils.Exit;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.metadata.storage.Formatter;
import org.apache.kafka.server.common.MetadataVersion;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** A Kafka broker and controller in this JVM, KRaft, on loopback. One broker without fsync: it survives a kill -9, not a power cut. */
public final class BrokerPart implements Part {
    private static final Logger LOG = LoggerFactory.getLogger(BrokerPart.class);
    private static final String META = "kafka/meta.properties";
    private static final String META_COPY = "kafka-meta.properties";
    private static final String BOOTSTRAP = "bootstrap.checkpoint";
    private static final int NODE = 1;

    /** What Kafka notes of its partitions' logs, and reads again from these when it is not there. */
    private static final List<String> CHECKPOINTS = List.of(
            "recovery-point-offset-checkpoint",
            "log-start-offset-checkpoint",
            "replication-offset-checkpoint",
            "cleaner-offset-checkpoint");

    /** Kafka leaves it in its folder when it stops, and deletes it when it starts. */
    private static final String CLEAN_SHUTDOWN = ".kafka_cleanshutdown";

    private static final Duration START_TIMEOUT = Duration.ofSeconds(30);

    /** How long a record may be in memory only. */
    private static final Duration FLUSH = Duration.ofMinutes(1);

    private static final Duration FLUSH_CHECK = Duration.ofSeconds(10);

    private static final Duration CONTROLLER_PAUSE = Duration.ofMillis(50);

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
            data.write(META_COPY, Files.readString(data.root().resolve(META)));
        } catch (Exception e) {
            throw new UserException("Kafka's data folder cannot be formatted: " + e.getMessage(), e);
        }
        Exit.setHaltProcedure((code, why) -> giveUp(code));
        Exit.setExitProcedure((code, why) -> giveUp(code));
        try {
            dropDamaged(Path.of(folder));
            if (wasKilled(Path.of(folder))) {
                forgetKilledBroker(folder);
            }
            KafkaRaftServer starting = new KafkaRaftServer(new KafkaConfig(settings(folder), false), Time.SYSTEM);
            server = starting;
            starting.startup();
            awaitRegistration();
        } catch (RuntimeException e) {
            stop();
            throw new UserException("Kafka cannot be started: " + e.getMessage() + advice(e), e);
        }
    }

    /**
     * Deletes what Kafka makes anew from its logs, where it is damaged: else Kafka ends the process, at each start. The only voter
     * of its quorum may forget for whom it voted.
     */
    private static void dropDamaged(Path folder) {
        for (String offsets : CHECKPOINTS) {
            drop(folder.resolve(offsets), text -> isCheckpoint(text, "\\S+ \\d+ \\d+"));
        }
        Path metadata = folder.resolve("__cluster_metadata-0");
        drop(metadata.resolve("leader-epoch-checkpoint"), text -> isCheckpoint(text, "\\d+ \\d+"));
        drop(metadata.resolve("quorum-state"), text -> text.startsWith("{") && text.endsWith("}"));
    }

    /** The version, the number of lines, and so many lines; or nothing. */
    private static boolean isCheckpoint(String text, String form) {
        List<String> lines = text.lines().toList();
        return text.isEmpty()
                || (lines.size() >= 2
                        && lines.getFirst().matches("\\d+")
                        && lines.get(1).equals(String.valueOf(lines.size() - 2))
                        && lines.stream().skip(2).allMatch(line -> line.matches(form)));
    }

    private static void drop(Path file, Predicate<String> whole) {
        try {
            if (Files.exists(file)
                    && !whole.test(
                            Files.readString(file, StandardCharsets.ISO_8859_1).strip())) {
                LOG.warn("{} is damaged and is made anew", file);
                Files.delete(file);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** What helps against damage of a file that is not missed: the first start reads it, and later ones go by the log beside it. */
    private String advice(RuntimeException e) {
        return String.valueOf(e.getMessage()).contains(BOOTSTRAP)
                ? " Delete " + data.root().resolve("kafka").resolve(BOOTSTRAP)
                        + ": it is of use to the first start only, and nothing is lost"
                : "";
    }

    /** Kafka ends the process of a broker whose log it cannot read or write, and would say so to its log only. */
    private void giveUp(int code) {
        System.err.println(
                "millrace: Kafka cannot read or write its log in " + data.root().resolve("kafka")
                        + " and has to stop; " + data.root().resolve("logs/millrace.log")
                        + " says why. The next start checks and mends that log");
        Runtime.getRuntime().halt(code);
    }

    /** Makes the next start check the whole log, as after a kill: what a start failed of may be damage that a clean stop hides. */
    void distrust() {
        data.delete("kafka/" + CLEAN_SHUTDOWN);
    }

    private static boolean wasKilled(Path folder) {
        return Files.exists(folder.resolve("__cluster_metadata-0")) && !Files.exists(folder.resolve(CLEAN_SHUTDOWN));
    }

    /**
     * Takes the registration of a broker that was killed out of the metadata, with a controller alone, before the broker starts.
     *
     * <p>Else that broker leads its partitions by what the metadata says, loses them when its old registration times out, and gets them
     * back at once. Its coordinators begin to load, stop and begin again meanwhile, and the end of a load that was given up is taken for
     * the end of the one that followed (Kafka 4.3.1, {@code CoordinatorRuntime}): a part of the groups is then empty, or has no coordinator
     * for as long as the broker lives. It also saves the wait for the time-out.
     */
    private void forgetKilledBroker(String folder) {
        Map<String, Object> settings = settings(folder);
        settings.put("process.roles", "controller");
        settings.put("listeners", "CONTROLLER://127.0.0.1:" + controllerPort);
        settings.remove("advertised.listeners");
        KafkaRaftServer controller = new KafkaRaftServer(new KafkaConfig(settings, false), Time.SYSTEM);
        try {
            controller.startup();
            unregister();
        } catch (ExecutionException | TimeoutException | RuntimeException e) {
            LOG.warn("the killed broker's registration stays until it times out", e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new UserException("interrupted while Kafka started", e);
        } finally {
            controller.shutdown();
            controller.awaitShutdown();
        }
    }

    private void unregister() throws InterruptedException, ExecutionException, TimeoutException {
        long until = System.nanoTime() + START_TIMEOUT.toNanos();
        Map<String, Object> client = new HashMap<>(ClientConfig.metrics());
        client.put(AdminClientConfig.BOOTSTRAP_CONTROLLERS_CONFIG, "127.0.0.1:" + controllerPort);
        while (true) {
            // a client that was told once that a controller talks to brokers only asks no more: each try has its own
            try (Admin admin = Admin.create(client)) {
                admin.unregisterBroker(NODE).all().get(START_TIMEOUT.toSeconds(), TimeUnit.SECONDS);
                return;
            } catch (ExecutionException e) {
                if (e.getCause() instanceof BrokerIdNotRegisteredException) {
                    // killed before it had registered
                    return;
                }
                if (!isEarly(e.getCause()) || System.nanoTime() > until) {
                    throw e;
                }
            }
            Thread.sleep(CONTROLLER_PAUSE);
        }
    }

    /** Elected and not yet active; or it has not yet read its log, without which it takes itself for one of the oldest version. */
    private static boolean isEarly(@Nullable Throwable cause) {
        return cause instanceof NotControllerException || cause instanceof UnsupportedVersionException;
    }

    /**
     * The cluster that the log belongs to. Kafka's file that says so also names the folder, by an id that the metadata know it by: it cannot
     * be made up again, so a copy is kept beside.
     */
    private String clusterId() throws IOException {
        if (data.load(META).getProperty("cluster.id", "").isEmpty()) {
            Files.deleteIfExists(data.root().resolve(META));
            if (Files.exists(data.root().resolve(META_COPY))) {
                data.write(META, Files.readString(data.root().resolve(META_COPY)));
            }
        }
        String known = data.load(META).getProperty("cluster.id", "");
        return known.isEmpty() ? Uuid.randomUuid().toString() : known;
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
        s.putAll(ClientConfig.metrics());
        if (!ClientConfig.hasJmx()) {
            // the broker's older metrics, which know no reporter
            s.put(JmxReporter.EXCLUDE_CONFIG, ".*");
        }
        s.put("auto.create.topics.enable", false);
        s.put("message.max.bytes", 32 * 1024 * 1024);
        s.put("replica.fetch.max.bytes", 32 * 1024 * 1024);

        // Nothing takes over from the only broker. To be fenced by a controller that was starved or stopped with it
        // would
        // only cost its groups their coordinators for a while.
        s.put("broker.session.timeout.ms", 30_000);
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

        // After a kill everything is read again that was not flushed since, which by default is every active segment.
        s.put("log.flush.interval.ms", FLUSH.toMillis());
        s.put("log.flush.scheduler.interval.ms", FLUSH_CHECK.toMillis());
        s.put("log.flush.offset.checkpoint.interval.ms", (int) FLUSH_CHECK.toMillis());

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
        s.put("group.share.assignors", EverywhereAssignor.class.getName());
        // A killed transaction is looked for every 10 s by default; read_committed readers wait for it.
        s.put("transaction.abort.timed.out.transaction.cleanup.interval.ms", 1_000);
        return s;
    }

    /** Startup returns when the broker is unfenced; a client sees it a moment later. */
    private void awaitRegistration() {
        try (Admin admin = Admin.create(ClientConfig.admin(bootstrapServers()))) {
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
