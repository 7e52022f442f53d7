package io.millrace.sinks.postgres;

import io.millrace.log.ClientConfig;
import io.millrace.log.Log;
import io.millrace.log.UndecodableException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A projection held against its topic.
 *
 * @param table the projection
 * @param expected rows there should be: distinct keys of committed, decodable, undeleted records on the log
 * @param rows rows there are; more than expected when the log has expired what the table still holds
 * @param behind offsets between where the database is and the committed end of the log, over all partitions
 */
public record Reconciliation(String table, long expected, long rows, long behind) {
    private static final Logger LOG = LoggerFactory.getLogger(Reconciliation.class);

    /** Whether everything on the log is in the table, and nothing else. */
    public boolean isExact() {
        return behind == 0 && rows == expected;
    }

    /**
     * Compares all projections. Reads the topics from beginning to end and holds their keys, some 200 bytes each, in memory.
     *
     * @throws SQLException when PostgreSQL cannot be asked
     */
    public static List<Reconciliation> of(Log log, String jdbcUrl, String user, String password) throws SQLException {
        List<Reconciliation> all = new ArrayList<>();
        try (Connection connection = DriverManager.getConnection(jdbcUrl, user, password);
                KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(ClientConfig.consumer(log.settings()))) {
            for (Projection<?> projection : Projections.ALL) {
                LogEnds ends = LogEnds.of(log, List.of(projection.topic()));
                long expected = keys(log, consumer, projection, ends.offsets()).size();
                long rows = number(connection, "SELECT count(*) FROM " + projection.table());
                all.add(new Reconciliation(projection.table(), expected, rows, ends.behind(connection)));
            }
        }
        return List.copyOf(all);
    }

    /** The keys of the rows there should be of what is on the log up to these offsets. */
    static <V extends SpecificRecord> Set<List<@Nullable Object>> keys(
            Log log, KafkaConsumer<byte[], byte[]> consumer, Projection<V> projection, Map<TopicPartition, Long> ends) {
        Set<List<@Nullable Object>> keys = new HashSet<>();
        consumer.assign(ends.keySet());
        consumer.seekToBeginning(ends.keySet());
        while (ends.entrySet().stream().anyMatch(end -> consumer.position(end.getKey()) < end.getValue())) {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                try {
                    Row row = Row.of(log.codecs(), projection, record);
                    if (row.cells() == null) {
                        keys.remove(row.key());
                    } else {
                        keys.add(row.key());
                    }
                } catch (UndecodableException e) {
                    LOG.debug("a dead letter, not a row", e);
                }
            }
        }
        return keys;
    }

    private static long number(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet result = statement.executeQuery(sql)) {
            result.next();
            return result.getLong(1);
        }
    }
}
