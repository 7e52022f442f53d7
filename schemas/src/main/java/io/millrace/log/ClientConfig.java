package io.millrace.log;

import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.clients.CommonClientConfigs;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The settings of our Kafka clients, each with its reason. Returned maps are the caller's. */
public final class ClientConfig {
    /** A killed member must not hold its partitions past a deadline; the broker's default of 45 s would. */
    public static final int SESSION_TIMEOUT_MS = 6_000;

    /** A third of the session, as Kafka advises. */
    public static final int HEARTBEAT_MS = 2_000;

    /** A killed transaction must not hold back read_committed readers past a deadline; the default is 60 s. */
    public static final int TRANSACTION_TIMEOUT_MS = 10_000;

    /** How long a reader off the query path lets records gather, milliseconds. */
    public static final int BATCH_WAIT_MS = 100;

    /** The same for a reader for whom nobody waits. */
    public static final int PATIENT_WAIT_MS = 1_000;

    /**
     * How long a fetch waits for its first record. What is there is fetched at once all the same; some twenty readers that ask for
     * nothing twice a second, as by default, are what an idle machine would be busy with. A reader that closes waits for its fetch, too.
     */
    public static final int IDLE_WAIT_MS = 1_000;

    /** Largest record. Bodies of 16 MiB are accepted over HTTP, a query holds its text beside its body, and evidence comes on top. */
    public static final int MAX_RECORD_BYTES = 32 * 1024 * 1024;

    /**
     * Requests of a producer under way to a broker. With one, what comes meanwhile gathers for the next and nobody waits on an idle
     * connection: a linger that adapts. Five, the default, sends a request for nearly every record.
     */
    private static final int IN_FLIGHT = 1;

    private static final int BATCH_BYTES = 512 * 1024;

    /** Begins the system properties that open a JVM to JMX. */
    private static final String JMX = "com.sun.management.jmxremote";

    private ClientConfig() {}

    /** An admin client. */
    public static Map<String, Object> admin(String bootstrapServers) {
        Map<String, Object> config = new HashMap<>(metrics());
        config.put(CommonClientConfigs.BOOTSTRAP_SERVERS_CONFIG, bootstrapServers);
        return config;
    }

    /**
     * Who sees the metrics of Kafka itself, for any client and the embedded broker: MBeans where this JVM was opened to JMX, else nobody. Some
     * thousands of MBeans, which nobody else can reach, are a good part of what a start computes.
     */
    public static Map<String, Object> metrics() {
        return hasJmx()
                ? Map.of()
                : Map.of(
                        CommonClientConfigs.METRIC_REPORTER_CLASSES_CONFIG,
                        "",
                        CommonClientConfigs.ENABLE_METRICS_PUSH_CONFIG,
                        false);
    }

    /** Whether this JVM was started with JMX. */
    public static boolean hasJmx() {
        return System.getProperties().stringPropertyNames().stream().anyMatch(name -> name.startsWith(JMX));
    }

    /** A producer that loses nothing and waits for nobody: acks=all, idempotent, no linger. */
    public static Map<String, Object> producer(LogSettings log) {
        Map<String, Object> config = admin(log.bootstrapServers());
        config.put(ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, ByteArraySerializer.class);
        config.put(ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, ByteArraySerializer.class);
        config.put(ProducerConfig.ACKS_CONFIG, "all");
        config.put(ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, true);
        // Latency: a hop costs 0.3 ms; the default linger of 5 ms would be most of it. Batches still form while a
        // request is in flight.
        config.put(ProducerConfig.LINGER_MS_CONFIG, 0);
        config.put(ProducerConfig.BATCH_SIZE_CONFIG, 64 * 1024);
        config.put(ProducerConfig.MAX_IN_FLIGHT_REQUESTS_PER_CONNECTION, IN_FLIGHT);
        config.put(ProducerConfig.MAX_REQUEST_SIZE_CONFIG, MAX_RECORD_BYTES);
        config.put(ProducerConfig.REQUEST_TIMEOUT_MS_CONFIG, 5_000);
        config.put(ProducerConfig.DELIVERY_TIMEOUT_MS_CONFIG, 15_000);
        // A gateway must answer 503 rather than hold its caller while there is no broker.
        config.put(ProducerConfig.MAX_BLOCK_MS_CONFIG, 5_000);
        reconnect(config);
        return config;
    }

    /** A consumer that commits by hand and sees committed records only. */
    public static Map<String, Object> consumer(LogSettings log) {
        Map<String, Object> config = admin(log.bootstrapServers());
        config.put(ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, ByteArrayDeserializer.class);
        config.put(ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, ByteArrayDeserializer.class);
        config.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false);
        config.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed");
        config.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        config.put(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG, 4 * 1024 * 1024);
        config.put(ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG, IDLE_WAIT_MS);
        reconnect(config);
        return config;
    }

    /** {@link #consumer} as a member of a group. */
    public static Map<String, Object> member(LogSettings log, String group) {
        Map<String, Object> config = consumer(log);
        config.put(ConsumerConfig.GROUP_ID_CONFIG, log.group(group));
        config.put(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG, SESSION_TIMEOUT_MS);
        config.put(ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG, HEARTBEAT_MS);
        return config;
    }

    /**
     * On top, for readers off the query path: with the defaults every record is a fetch of its own while there is little traffic, and
     * these readers together then cost more than the path.
     *
     * @param waitMs how long records gather, milliseconds
     */
    public static Map<String, Object> batching(int waitMs) {
        return Map.of(
                ConsumerConfig.FETCH_MIN_BYTES_CONFIG, BATCH_BYTES, ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG, waitMs);
    }

    private static void reconnect(Map<String, Object> config) {
        // Brokers come back within seconds; the default maximum of 1 s is kept, the first try is quicker.
        config.put(CommonClientConfigs.RECONNECT_BACKOFF_MS_CONFIG, 50);
        config.put(CommonClientConfigs.RECONNECT_BACKOFF_MAX_MS_CONFIG, 1_000);
        config.put(CommonClientConfigs.RETRY_BACKOFF_MS_CONFIG, 50);
    }
}
