package io.millrace.bench.path;

import io.millrace.bench.load.Result;
import io.millrace.log.ClientConfig;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import org.HdrHistogram.ConcurrentHistogram;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.AcknowledgeType;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.Utils;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;

/**
 * The least that a path of so many Kafka hops can take: records of the same size go through a chain of topics, one reader each, acks=all,
 * linger 0, nothing decoded, nothing decided, no state. On the broker, with the partition count, of the instance under test.
 */
final class Floor implements AutoCloseable {
    private static final byte[] VALUE = new byte[1_024];
    private static final Duration POLL = Duration.ofMillis(500);
    private static final Duration START = Duration.ofSeconds(60);

    /** What reads a topic and writes the next. */
    enum Hop {
        /** A plain consumer with its partitions assigned, and a producer: the cheapest there is. */
        CONSUMER,
        /** A topology of a source and a sink, at-least-once. */
        STREAMS,
        /** A member of a share group, which accepts each record. */
        SHARE
    }

    private final String name;
    private final String bootstrapServers;
    private final int partitions;
    private final List<String> topics;
    private final Path folder;
    private final KafkaProducer<String, byte[]> producer;
    private final List<AutoCloseable> hops = new ArrayList<>();
    private final Map<String, Runnable> waiting = new ConcurrentHashMap<>();
    private final AtomicLong ids = new AtomicLong();

    /** @param kinds of the hops; the last is a {@link Hop#CONSUMER}, which ends the path */
    Floor(String name, String bootstrapServers, List<Hop> kinds, int partitions)
            throws InterruptedException, ExecutionException, IOException {
        this.name = name;
        this.bootstrapServers = bootstrapServers;
        this.partitions = partitions;
        this.topics = IntStream.range(0, kinds.size())
                .mapToObj(i -> "bench-floor-" + System.nanoTime() + "-" + i)
                .toList();
        this.folder = Files.createTempDirectory("millrace-floor");
        try (Admin admin = admin()) {
            admin.createTopics(topics.stream()
                            .map(topic -> new NewTopic(topic, partitions, (short) 1))
                            .toList())
                    .all()
                    .get();
        }
        this.producer = producer();
        for (int i = 0; i < kinds.size(); i++) {
            String topic = topics.get(i);
            boolean last = i + 1 == kinds.size();
            hops.add(
                    switch (kinds.get(i)) {
                        case CONSUMER -> last ? consumer(topic, this::arrived) : relay(topic, topics.get(i + 1));
                        case STREAMS -> streams(topic, topics.get(i + 1));
                        case SHARE -> share(topic, topics.get(i + 1));
                    });
        }
        awaitFirst();
    }

    private Admin admin() {
        return Admin.create(Map.of("bootstrap.servers", bootstrapServers));
    }

    private KafkaProducer<String, byte[]> producer() {
        return new KafkaProducer<>(
                Map.of("bootstrap.servers", bootstrapServers, "acks", "all", "linger.ms", 0),
                new StringSerializer(),
                new ByteArraySerializer());
    }

    private AutoCloseable relay(String topic, String next) {
        KafkaProducer<String, byte[]> out = producer();
        AutoCloseable reader =
                consumer(topic, record -> out.send(new ProducerRecord<>(next, record.key(), record.value())));
        return () -> {
            reader.close();
            out.close();
        };
    }

    private AutoCloseable consumer(String topic, Consumer<ConsumerRecord<String, byte[]>> each) {
        KafkaConsumer<String, byte[]> consumer = new KafkaConsumer<>(
                Map.of("bootstrap.servers", bootstrapServers, "enable.auto.commit", false),
                new StringDeserializer(),
                new ByteArrayDeserializer());
        List<TopicPartition> assigned = IntStream.range(0, partitions)
                .mapToObj(i -> new TopicPartition(topic, i))
                .toList();
        consumer.assign(assigned);
        consumer.seekToBeginning(assigned);
        return thread(
                topic, consumer, consumer::wakeup, () -> consumer.poll(POLL).forEach(each));
    }

    private AutoCloseable share(String topic, String next) throws InterruptedException, ExecutionException {
        try (Admin admin = admin()) {
            admin.incrementalAlterConfigs(Map.of(
                            new ConfigResource(ConfigResource.Type.GROUP, topic),
                            List.of(new AlterConfigOp(
                                    new ConfigEntry("share.auto.offset.reset", "earliest"), AlterConfigOp.OpType.SET))))
                    .all()
                    .get();
        }
        KafkaShareConsumer<String, byte[]> consumer = new KafkaShareConsumer<>(
                Map.of(
                        "bootstrap.servers", bootstrapServers,
                        "group.id", topic,
                        "share.acknowledgement.mode", "explicit"),
                new StringDeserializer(),
                new ByteArrayDeserializer());
        consumer.subscribe(List.of(topic));
        KafkaProducer<String, byte[]> out = producer();
        AutoCloseable reader = thread(
                topic,
                consumer,
                consumer::wakeup,
                () -> consumer.poll(POLL).forEach(record -> {
                    out.send(new ProducerRecord<>(next, record.key(), record.value()));
                    consumer.acknowledge(record, AcknowledgeType.ACCEPT);
                }));
        return () -> {
            reader.close();
            out.close();
        };
    }

    private AutoCloseable streams(String topic, String next) {
        Properties config = new Properties();
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, topic);
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrapServers);
        config.put(StreamsConfig.STATE_DIR_CONFIG, folder.toString());
        config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1_000);
        config.put(StreamsConfig.POLL_MS_CONFIG, 10);
        config.put(StreamsConfig.producerPrefix("linger.ms"), 0);
        config.put(StreamsConfig.producerPrefix("acks"), "all");
        config.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        config.put(StreamsConfig.consumerPrefix("session.timeout.ms"), ClientConfig.SESSION_TIMEOUT_MS);
        Topology topology = new Topology();
        topology.addSource(
                "in", Serdes.String().deserializer(), Serdes.ByteArray().deserializer(), topic);
        topology.addSink(
                "out", next, Serdes.String().serializer(), Serdes.ByteArray().serializer(), "in");
        KafkaStreams streams = new KafkaStreams(topology, config);
        streams.start();
        return streams;
    }

    private static AutoCloseable thread(String topic, AutoCloseable consumer, Runnable wakeup, Runnable poll) {
        Thread thread = Thread.ofPlatform().name("floor-" + topic).start(() -> {
            try (consumer) {
                while (!Thread.currentThread().isInterrupted()) {
                    poll.run();
                }
            } catch (WakeupException e) {
                // closed
            } catch (Exception e) {
                throw new IllegalStateException("the floor's reader of " + topic + " failed", e);
            }
        });
        return () -> {
            wakeup.run();
            thread.join();
        };
    }

    private void arrived(ConsumerRecord<String, byte[]> record) {
        Runnable end = waiting.remove(record.key());
        if (end != null) {
            end.run();
        }
    }

    private void send(Runnable end) {
        String id = Long.toString(ids.incrementAndGet());
        waiting.put(id, end);
        producer.send(new ProducerRecord<>(topics.getFirst(), id, VALUE));
    }

    /** Groups take seconds to be assigned their partitions. */
    private void awaitFirst() throws InterruptedException {
        Semaphore arrived = new Semaphore(0);
        send(arrived::release);
        if (!arrived.tryAcquire(START.toMillis(), TimeUnit.MILLISECONDS)) {
            throw new IllegalStateException(name + ": no record came through within " + START.toSeconds() + " s");
        }
    }

    /** So many records under way at once. */
    Result closed(int clients, Duration warmup, Duration measured) throws InterruptedException {
        long from = System.nanoTime() + warmup.toNanos();
        long until = from + measured.toNanos();
        ConcurrentHistogram latencies = new ConcurrentHistogram(3_600_000_000L, 3);
        Semaphore slots = new Semaphore(clients);
        while (System.nanoTime() < until) {
            slots.acquire();
            long begun = System.nanoTime();
            send(() -> {
                long now = System.nanoTime();
                if (begun >= from && begun < until) {
                    latencies.recordValue(Math.max(1, (now - begun) / 1_000));
                }
                slots.release();
            });
        }
        slots.acquire(clients);
        return new Result(name, latencies.getTotalCount(), 0, (until - from) / 1e9, latencies);
    }

    @Override
    public void close() throws Exception {
        for (AutoCloseable hop : hops) {
            hop.close();
        }
        producer.close();
        try (Admin admin = admin()) {
            admin.deleteTopics(topics);
        }
        Utils.delete(folder.toFile());
    }
}
