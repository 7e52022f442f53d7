package io.millrace.learners.sources;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.TopicPartition;

/**
 * Counts the raw records that are on their way to documents. The reports of a scan are not, and a folder that never changes has two of
 * them every two seconds: with them its source was indexing every now and then.
 *
 * <p>For one thread.
 */
final class Backlog implements AutoCloseable {
    /** More than that is a flood, in which a few reports do not matter; and it is not read a second time to count it. */
    private static final int FEW = 100;

    private static final Duration POLL = Duration.ofMillis(100);
    private static final long PATIENCE_NANOS = Duration.ofMillis(500).toNanos();
    private static final byte[] REPORT = "$report".getBytes(StandardCharsets.UTF_8);

    private final Consumer<byte[], byte[]> consumer;

    /** @param consumer without a group; closed with this */
    Backlog(Consumer<byte[], byte[]> consumer) {
        this.consumer = consumer;
    }

    /**
     * Counts.
     *
     * @param next the next offset that the normalizer has to read; 0 without one
     * @param ends the offset after the last record
     */
    Map<TopicPartition, Long> count(Map<TopicPartition, Long> next, Map<TopicPartition, Long> ends) {
        Map<TopicPartition, Long> counts = new HashMap<>();
        Set<TopicPartition> few = new HashSet<>();
        ends.forEach((partition, end) -> {
            long count = Math.max(0, end - next.getOrDefault(partition, 0L));
            counts.put(partition, count);
            if (count > 0 && count <= FEW) {
                few.add(partition);
            }
        });
        consumer.assign(few);
        few.forEach(partition -> consumer.seek(partition, next.getOrDefault(partition, 0L)));
        long until = System.nanoTime() + PATIENCE_NANOS;
        while (!few.isEmpty() && System.nanoTime() < until) {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(POLL)) {
                TopicPartition partition = new TopicPartition(record.topic(), record.partition());
                if (record.offset() < end(ends, partition) && Arrays.equals(record.key(), REPORT)) {
                    counts.merge(partition, -1L, Long::sum);
                }
            }
            few.removeIf(partition -> consumer.position(partition) >= end(ends, partition));
        }
        return counts;
    }

    private static long end(Map<TopicPartition, Long> ends, TopicPartition partition) {
        return Objects.requireNonNull(ends.get(partition));
    }

    @Override
    public void close() {
        consumer.close();
    }
}
