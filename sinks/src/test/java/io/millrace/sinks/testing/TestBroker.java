package io.millrace.sinks.testing;

import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import io.millrace.log.Codecs;
import io.millrace.log.InMemorySchemaRegistry;
import io.millrace.log.Log;
import io.millrace.log.LogProducer;
import io.millrace.log.LogSettings;
import io.millrace.log.SchemaRegistry;
import io.millrace.log.Topic;
import io.millrace.log.TopicAdmin;
import io.millrace.log.Topics;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.IntConsumer;
import kafka.server.KafkaConfig;
import kafka.server.KafkaRaftServer;
import org.apache.avro.Schema;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.common.utils.Utils;
import org.apache.kafka.metadata.storage.Formatter;
import org.apache.kafka.server.common.MetadataVersion;

/** One KRaft broker for all tests of the module. Each test takes a {@link #log} with a prefix of its own, and so topics of its own. */
public final class TestBroker {
    private static final TestBroker INSTANCE = new TestBroker();

    private final String bootstrapServers;

    private TestBroker() {
        try {
            Path directory = Files.createTempDirectory("millrace-test-kafka");
            int port = freePort();
            int controller = freePort();
            Map<String, Object> config = new HashMap<>();
            config.put("process.roles", "broker,controller");
            config.put("node.id", 1);
            config.put("controller.quorum.voters", "1@127.0.0.1:" + controller);
            config.put("listeners", "PLAINTEXT://127.0.0.1:" + port + ",CONTROLLER://127.0.0.1:" + controller);
            config.put("advertised.listeners", "PLAINTEXT://127.0.0.1:" + port);
            config.put("controller.listener.names", "CONTROLLER");
            config.put("inter.broker.listener.name", "PLAINTEXT");
            config.put("log.dirs", directory.toString());
            config.put("offsets.topic.replication.factor", (short) 1);
            config.put("offsets.topic.num.partitions", 1);
            config.put("transaction.state.log.replication.factor", (short) 1);
            config.put("transaction.state.log.min.isr", 1);
            config.put("transaction.state.log.num.partitions", 1);
            // the default waits 3 s for more members before the first assignment
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
                    .setPrintStream(new PrintStream(
                            OutputStream.nullOutputStream(), false, java.nio.charset.StandardCharsets.UTF_8));
            formatter.run();
            KafkaRaftServer server = new KafkaRaftServer(new KafkaConfig(config, false), Time.SYSTEM);
            server.startup();
            Runtime.getRuntime().addShutdownHook(new Thread(() -> {
                server.shutdown();
                server.awaitShutdown();
                try {
                    Utils.delete(directory.toFile());
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
            }));
            bootstrapServers = "127.0.0.1:" + port;
        } catch (Exception e) {
            throw new IllegalStateException("no broker", e);
        }
    }

    /** A fresh deployment: the topics that sinks read, four partitions, a registry in memory. The caller closes its producer. */
    public static Log log() {
        LogSettings settings = new LogSettings(
                INSTANCE.bootstrapServers, "t" + UUID.randomUUID().toString().substring(0, 8) + ".", 4, (short) 1);
        new TopicAdmin(settings)
                .createAndVerify(Topics.fixed().stream()
                        .filter(topic -> topic.keep() == Topic.Keep.LONG
                                || topic.equals(Topics.TELEMETRY)
                                || topic.equals(Topics.DOCUMENTS))
                        .toList());
        Codecs codecs = new Codecs(new InMemorySchemaRegistry(), settings.prefix());
        return new Log(settings, codecs, new LogProducer(settings, codecs), new SimpleMeterRegistry());
    }

    /**
     * This log with a registry that fails, as no registry should, when it is asked for a schema.
     *
     * @param times how often, before it does what it should
     * @param failures counts them
     */
    public static Log flaky(Log log, int times, AtomicInteger failures) {
        return registry(log, id -> {
            if (failures.get() < times) {
                failures.incrementAndGet();
                throw new IllegalStateException("not foreseen");
            }
        });
    }

    /** This log; before a schema is asked for, {@code first} is done, which may throw. */
    public static Log registry(Log log, IntConsumer first) {
        SchemaRegistry registry = log.codecs().registry();
        SchemaRegistry asking = new SchemaRegistry() {
            @Override
            public int register(String subject, Schema schema) {
                return registry.register(subject, schema);
            }

            @Override
            public Schema byId(int id) {
                first.accept(id);
                return registry.byId(id);
            }
        };
        return new Log(log.settings(), new Codecs(asking, log.settings().prefix()), log.producer(), log.metrics());
    }

    /** A port that nobody listens on. */
    public static int freePort() throws IOException {
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            return socket.getLocalPort();
        }
    }
}
