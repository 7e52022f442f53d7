package io.millrace.sinks.postgres;

import io.millrace.log.ClientConfig;
import io.millrace.log.Log;
import io.millrace.log.Topic;
import io.millrace.log.Topics;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

/**
 * Where topics ended, as readers of committed records see it, when it was asked.
 *
 * @param offsets next offset by partition
 */
public record LogEnds(Map<TopicPartition, Long> offsets) {
    private static final Duration PATIENCE = Duration.ofSeconds(5);

    public LogEnds {
        offsets = Map.copyOf(offsets);
    }

    /**
     * Of the topics that say what documents there are and how they are used.
     *
     * @throws org.apache.kafka.common.KafkaException when the log does not say it within 5 s
     */
    public static LogEnds ofUsage(Log log) {
        return of(log, List.of(Topics.DOCUMENTS, Topics.INTERACTIONS, Topics.TELEMETRY));
    }

    /** Of these topics. */
    static LogEnds of(Log log, List<Topic<?>> topics) {
        List<TopicPartition> partitions = topics.stream()
                .flatMap(topic -> IntStream.range(0, log.settings().partitions(topic))
                        .mapToObj(partition -> new TopicPartition(log.settings().name(topic), partition)))
                .toList();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(ClientConfig.consumer(log.settings()))) {
            return new LogEnds(consumer.endOffsets(partitions, PATIENCE));
        }
    }

    /**
     * How many offsets the projections are before these ends, over all partitions; 0 when everything before them is projected.
     *
     * @throws SQLException when PostgreSQL cannot be asked
     */
    public long behind(Connection connection) throws SQLException {
        Map<TopicPartition, Long> next = new HashMap<>();
        try (Statement select = connection.createStatement();
                ResultSet rows = select.executeQuery("SELECT topic, partition, next_offset FROM sink_offsets")) {
            while (rows.next()) {
                next.put(new TopicPartition(rows.getString(1), rows.getInt(2)), rows.getLong(3));
            }
        }
        return offsets.entrySet().stream()
                .mapToLong(end -> Math.max(0, end.getValue() - next.getOrDefault(end.getKey(), 0L)))
                .sum();
    }
}
