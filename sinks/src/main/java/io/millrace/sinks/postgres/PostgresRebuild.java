package io.millrace.sinks.postgres;

import io.millrace.log.ClientConfig;
import io.millrace.log.Log;
import io.millrace.log.Topic;
import io.millrace.log.UndecodableException;
import io.millrace.sinks.archive.ArchiveReader;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Drops the projections and makes them anew: what has expired on the log from the archive, the rest from the log. */
public final class PostgresRebuild {
    private static final Logger LOG = LoggerFactory.getLogger(PostgresRebuild.class);
    private static final int BATCH = 1_000;
    private static final Duration LONGEST = Duration.ofHours(6);

    /** What archive and log hold whole. The rows of a topic that just expires stay, since nothing else has the old ones. */
    private static final Set<String> REMADE = Projections.ALL.stream()
            .filter(projection -> projection.topic().keep() == Topic.Keep.LONG
                    || projection.topic().keep() == Topic.Keep.COMPACT)
            .map(Projection::table)
            .collect(Collectors.toUnmodifiableSet());

    private final Log log;
    private final String url;
    private final String user;
    private final String password;

    public PostgresRebuild(Log log, String url, String user, String password) {
        this.log = log;
        this.url = url;
        this.user = user;
        this.password = password;
    }

    /**
     * What came of it.
     *
     * @param archived rows of records that are in the archive and no longer on the log
     * @param tables each projection against its topic
     */
    public record Result(long archived, List<Reconciliation> tables) {
        public Result {
            tables = List.copyOf(tables);
        }

        /** Whether every table holds all of its topic, and nothing that is in neither archive nor log. */
        public boolean isExact() {
            long surplus = tables.stream()
                    .filter(table -> REMADE.contains(table.table()))
                    .mapToLong(table -> table.rows() - table.expected())
                    .sum();
            return tables.stream().allMatch(table -> table.behind() == 0 && table.rows() >= table.expected())
                    && surplus <= archived;
        }
    }

    /**
     * Rebuilds; nothing else may write to the database meanwhile.
     *
     * @param archive folder of the archive
     * @param say receives progress
     * @throws SQLException when Postgres does not do its part
     */
    public Result run(Path archive, Consumer<String> say) throws SQLException, InterruptedException {
        try (Database database = new Database(url, user, password)) {
            database.migrate();
        }
        clear();
        long archived = 0;
        for (Projection<?> projection : Projections.ALL) {
            if (projection.topic().keep() == Topic.Keep.LONG) {
                archived += fromArchive(projection, archive);
            }
        }
        say.accept("%d records from the archive".formatted(archived));
        try (PostgresSink sink = new PostgresSink(log, url, user, password)) {
            sink.start();
            long end = System.nanoTime() + LONGEST.toNanos();
            String told = "";
            while (true) {
                Thread.sleep(1_000);
                List<Reconciliation> tables = Reconciliation.of(log, url, user, password);
                long behind = tables.stream().mapToLong(Reconciliation::behind).sum();
                String progress = tables.stream()
                        .map(table -> table.table() + " " + table.rows())
                        .collect(Collectors.joining(", "));
                if (!progress.equals(told)) {
                    say.accept(progress);
                    told = progress;
                }
                if (behind == 0 || System.nanoTime() > end) {
                    return new Result(archived, tables);
                }
            }
        }
    }

    private void clear() throws SQLException {
        try (Connection connection = DriverManager.getConnection(url, user, password);
                Statement statement = connection.createStatement()) {
            statement.execute("TRUNCATE " + String.join(", ", REMADE) + ", sink_offsets");
        }
    }

    /** Writes what the log no longer has; what it has comes from there, and would be written twice. */
    private long fromArchive(Projection<?> projection, Path archive) throws SQLException {
        String topic = log.settings().name(projection.topic());
        Map<TopicPartition, Long> begins = begins(projection.topic());
        long written = 0;
        try (Database database = new Database(url, user, password);
                Stream<ConsumerRecord<byte[], byte[]>> records = new ArchiveReader(archive).records(topic)) {
            List<Row> rows = new ArrayList<>();
            for (Iterator<ConsumerRecord<byte[], byte[]>> each = records.iterator(); each.hasNext(); ) {
                ConsumerRecord<byte[], byte[]> record = each.next();
                long begin = begins.getOrDefault(new TopicPartition(topic, record.partition()), Long.MAX_VALUE);
                if (record.offset() < begin) {
                    try {
                        rows.add(Row.of(log, projection, record));
                    } catch (UndecodableException e) {
                        LOG.debug("it was a dead letter when it came, too", e);
                    }
                }
                if (rows.size() == BATCH) {
                    written += write(database, rows);
                }
            }
            return written + write(database, rows);
        }
    }

    private static long write(Database database, List<Row> rows) throws SQLException {
        try {
            database.write(rows, Map.of(), (row, why) -> LOG.warn("a row is refused: {}", why.getMessage()));
        } catch (StaleOffsetsException e) {
            throw new IllegalStateException("no offset was given", e);
        }
        int count = rows.size();
        rows.clear();
        return count;
    }

    private Map<TopicPartition, Long> begins(Topic<?> topic) {
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(ClientConfig.consumer(log.settings()))) {
            List<TopicPartition> partitions = IntStream.range(0, log.settings().partitions(topic))
                    .mapToObj(partition -> new TopicPartition(log.settings().name(topic), partition))
                    .toList();
            return new HashMap<>(consumer.beginningOffsets(partitions));
        }
    }
}
