package io.millrace.topology;

import io.micrometer.core.instrument.Gauge;
import io.millrace.config.MillraceConfig;
import io.millrace.log.ClientConfig;
import io.millrace.log.Log;
import io.millrace.service.Service;
import io.millrace.topology.learning.LearningTopology;
import io.millrace.topology.ledger.LedgerTopology;
import io.millrace.topology.routing.RoutingTopology;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** A Streams application as a service. */
public final class StreamsService implements Service {
    private static final Logger LOG = LoggerFactory.getLogger(StreamsService.class);

    private final String name;
    private final KafkaStreams streams;

    private StreamsService(String name, Topology topology, Properties config, Log log) {
        this.name = name;
        this.streams = new KafkaStreams(topology, config);
        streams.setUncaughtExceptionHandler(error -> {
            // a broker or registry that is away comes back; the stream thread starts anew from its last commit
            LOG.error("{}: a stream thread died and is replaced", name, error);
            return StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        Gauge.builder("millrace.streams.running", streams, s -> s.state() == KafkaStreams.State.RUNNING ? 1 : 0)
                .tag("application", name)
                .register(log.metrics());
    }

    /** The routing application: at-least-once, lowest latency. */
    public static StreamsService routing(Log log, MillraceConfig config, Path stateDir) {
        Properties properties = common(log, "routing", RoutingTopology.APPLICATION, stateDir);
        properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.AT_LEAST_ONCE);
        // Commits bound what is read again after a crash; repeated records re-emit stored bytes, so a second of them is
        // cheap.
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1_000);
        // One as elsewhere would do, but that a decision's state may leave a moment before its work, which must not
        // wait
        // for the acknowledgement of the first.
        properties.put(StreamsConfig.producerPrefix(ProducerConfig.MAX_IN_FLIGHT_REQUESTS_PER_CONNECTION), 2);
        return new StreamsService(
                "routing", new RoutingTopology(log.settings(), log.codecs(), config).get(), properties, log);
    }

    /** The ledger application: exactly-once. */
    public static StreamsService ledger(Log log, Path stateDir) {
        Properties properties = common(log, "ledger", LedgerTopology.APPLICATION, stateDir);
        properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        // This is the ledger's latency: readers of interactions see a record when its transaction commits.
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        batch(properties, ClientConfig.BATCH_WAIT_MS);
        properties.put(
                StreamsConfig.producerPrefix(ProducerConfig.TRANSACTION_TIMEOUT_CONFIG),
                ClientConfig.TRANSACTION_TIMEOUT_MS);
        return new StreamsService("ledger", new LedgerTopology(log.settings(), log.codecs()).get(), properties, log);
    }

    /** The learning application: exactly-once, since it counts. */
    public static StreamsService learning(Log log, Path stateDir) {
        Properties properties = common(log, "learning", LearningTopology.APPLICATION, stateDir);
        properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        // nobody waits for what is learned; a commit costs a transaction whether or not there was traffic
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1_000);
        batch(properties, ClientConfig.PATIENT_WAIT_MS);
        properties.put(
                StreamsConfig.producerPrefix(ProducerConfig.TRANSACTION_TIMEOUT_CONFIG),
                ClientConfig.TRANSACTION_TIMEOUT_MS);
        return new StreamsService(
                "learning", new LearningTopology(log.settings(), log.codecs()).get(), properties, log);
    }

    /**
     * For what is off the query path: it reads and writes by the batch. Record by record it would take more of a small machine than the query
     * path does. A commit sends what lingers; the cache of its stores folds the steps of an interaction into one changelog record.
     *
     * @param waitMs how long what it reads gathers, milliseconds
     */
    private static void batch(Properties properties, int waitMs) {
        ClientConfig.batching(waitMs).forEach((key, value) -> properties.put(StreamsConfig.consumerPrefix(key), value));
        properties.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), ClientConfig.BATCH_WAIT_MS);
    }

    private static Properties common(Log log, String step, String application, Path stateDir) {
        Properties properties = new Properties();
        properties.putAll(ClientConfig.metrics());
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, log.settings().group(application));
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, log.settings().bootstrapServers());
        properties.put(StreamsConfig.STATE_DIR_CONFIG, stateDir.toString());
        properties.put(
                StreamsConfig.REPLICATION_FACTOR_CONFIG, (int) log.settings().replication());
        properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        // For the stores that ask for a cache. It holds back their changelog records until the commit, and nothing
        // else.
        properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 4L * 1024 * 1024);
        // What is on the log already is fetched before something newer of another topic is processed: a tick would
        // else overtake the end of an attempt. Nothing waits for what is not written yet.
        properties.put(StreamsConfig.MAX_TASK_IDLE_MS_CONFIG, 0L);
        // All that was fetched is taken at once: the lag by which Streams waits is renewed by taking only.
        properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 100_000);
        properties.put(StreamsConfig.ENSURE_EXPLICIT_INTERNAL_RESOURCE_NAMING_CONFIG, true);
        properties.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 0);
        properties.put(StreamsConfig.producerPrefix(ProducerConfig.ACKS_CONFIG), "all");
        properties.put(
                StreamsConfig.producerPrefix(ProducerConfig.MAX_REQUEST_SIZE_CONFIG), ClientConfig.MAX_RECORD_BYTES);
        properties.put(StreamsConfig.PRODUCTION_EXCEPTION_HANDLER_CLASS_CONFIG, PassOverTooLarge.class);
        BuryUnprocessable.in(properties, log.settings(), log.codecs(), step);
        properties.put(
                StreamsConfig.consumerPrefix(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG),
                ClientConfig.SESSION_TIMEOUT_MS);
        properties.put(
                StreamsConfig.consumerPrefix(ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG), ClientConfig.HEARTBEAT_MS);
        properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        properties.put(
                StreamsConfig.consumerPrefix(ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG), ClientConfig.IDLE_WAIT_MS);
        return properties;
    }

    @Override
    public String name() {
        return name;
    }

    @Override
    public void start() {
        streams.start();
    }

    @Override
    public boolean isReady() {
        return streams.state() == KafkaStreams.State.RUNNING;
    }

    @Override
    public Map<String, String> details() {
        return isReady() ? Map.of() : Map.of("state", streams.state().name());
    }

    @Override
    public void close() {
        streams.close(Duration.ofSeconds(5));
    }
}
