package io.millrace.bench.path;

import io.millrace.bench.load.Result;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.IntStream;
import org.HdrHistogram.ConcurrentHistogram;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * The least that a path of so many Kafka hops can take: records of the same size go through a chain of plain consumers and producers, one
 * thread and one topic a hop, acks=all, linger 0, nothing decoded, nothing decided, nothing committed. On the broker, with the partition count, of the
 * instance under test.
 */
final class Floor implements AutoCloseable {
    private static final byte[] VALUE = new byte[1_024];

    private final String bootstrapServers;
    private final List<String> topics;
    private final KafkaProducer<String, byte[]> producer;
    private final List<KafkaConsumer<String, byte[]>> consumers = new ArrayList<>();
    private final List<Thread> threads = new ArrayList<>();
    private final Map<String, Runnable> waiting = new ConcurrentHashMap<>();
    private final AtomicLong ids = new AtomicLong();

    Floor(String bootstrapServers, int hops, int partitions) throws InterruptedException, ExecutionException {
        this.bootstrapServers = bootstrapServers;
        this.topics = IntStream.range(0, hops)
                .mapToObj(i -> "bench-floor-" + System.nanoTime() + "-" + i)
                .toList();
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrapServers))) {
            admin.createTopics(topics.stream()
                            .map(topic -> new NewTopic(topic, partitions, (short) 1))
                            .toList())
                    .all()
                    .get();
        }
        this.producer = producer();
        for (int i = 0; i < hops; i++) {
            String next = i + 1 < hops ? topics.get(i + 1) : "";
            hop(topics.get(i), next, partitions, next.isEmpty() ? producer : producer());
        }
    }

    private KafkaProducer<String, byte[]> producer() {
        return new KafkaProducer<>(
                Map.of("bootstrap.servers", bootstrapServers, "acks", "all", "linger.ms", 0),
                new StringSerializer(),
                new ByteArraySerializer());
    }

    private void hop(String topic, String next, int partitions, KafkaProducer<String, byte[]> out) {
        Map<String, Object> config = new HashMap<>(Map.of("bootstrap.servers", bootstrapServers));
        config.put("fetch.min.bytes", 1);
        config.put("enable.auto.commit", false);
        KafkaConsumer<String, byte[]> consumer =
                new KafkaConsumer<>(config, new StringDeserializer(), new ByteArrayDeserializer());
        List<TopicPartition> assigned = IntStream.range(0, partitions)
                .mapToObj(i -> new TopicPartition(topic, i))
                .toList();
        consumer.assign(assigned);
        consumer.seekToBeginning(assigned);
        consumers.add(consumer);
        threads.add(Thread.ofPlatform().name("floor-" + topic).start(() -> {
            try (consumer) {
                while (!Thread.currentThread().isInterrupted()) {
                    for (ConsumerRecord<String, byte[]> each : consumer.poll(Duration.ofMillis(500))) {
                        if (next.isEmpty()) {
                            Runnable end = waiting.remove(each.key());
                            if (end != null) {
                                end.run();
                            }
                        } else {
                            out.send(new ProducerRecord<>(next, each.key(), each.value()));
                        }
                    }
                }
            } catch (WakeupException e) {
                // closed
            } finally {
                out.close(Duration.ofSeconds(1));
            }
        }));
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
            String id = Long.toString(ids.incrementAndGet());
            waiting.put(id, () -> {
                long now = System.nanoTime();
                if (begun >= from && begun < until) {
                    latencies.recordValue(Math.max(1, (now - begun) / 1_000));
                }
                slots.release();
            });
            producer.send(new ProducerRecord<>(topics.getFirst(), id, VALUE));
        }
        slots.acquire(clients);
        return new Result(
                topics.size() + " bare Kafka hops", latencies.getTotalCount(), 0, (until - from) / 1e9, latencies);
    }

    @Override
    public void close() throws InterruptedException {
        consumers.forEach(KafkaConsumer::wakeup);
        for (Thread thread : threads) {
            thread.join();
        }
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrapServers))) {
            admin.deleteTopics(topics);
        }
    }
}
