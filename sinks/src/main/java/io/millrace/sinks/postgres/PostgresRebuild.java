package io.millrace.sinks.postgres;

import io.millrace.log.ClientConfig;
import io.millrace.log.Codecs;
import io.millrace.log.Log;
import io.millrace.log.Topic;
import io.millrace.log.UndecodableException;
import io.millrace.sinks.archive.ArchiveReader;
import io.millrace.sinks.archive.ArchivedFile;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Drops the projections and makes them anew: what has expired on the log from the archive, the rest from the log. */
public final class PostgresRebuild {
    private static final Logger LOG = LoggerFactory.getLogger(PostgresRebuild.class);
    private static final int BATCH = 1_000;
    private static final Duration LONGEST = Duration.ofHours(6);
    private static final long ASK_AGAIN_MS = 1_000;

    /** What archive and log hold whole. The rows of a topic that just expires stay, since nothing else has the old ones. */
    private static final Set<String> REMADE = Projections.ALL.stream()
            .filter(projection -> projection.topic().keep() == Topic.Keep.LONG
                    || projection.topic().keep() == Topic.Keep.COMPACT)
            .map(Projection::table)
            .collect(Collectors.toUnmodifiableSet());

    private static final List<Projection<?>> ARCHIVED = Projections.ALL.stream()
            .filter(projection -> projection.topic().keep() == Topic.Keep.LONG)
            .toList();

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
     * @param unread archived records that are no row: they cannot be decoded, or PostgreSQL refused them
     * @param gaps what neither archive nor log holds, a line for each partition
     * @param tables each projection against its topic
     */
    public record Result(long archived, long unread, List<String> gaps, List<Reconciliation> tables) {
        public Result {
            gaps = List.copyOf(gaps);
            tables = List.copyOf(tables);
        }

        /** Whether every table holds all of its topic, from its first record on, and nothing that is in neither archive nor log. */
        public boolean isExact() {
            long surplus = tables.stream()
                    .filter(table -> REMADE.contains(table.table()))
                    .mapToLong(table -> table.rows() - table.expected())
                    .sum();
            return unread == 0
                    && gaps.isEmpty()
                    && tables.stream().allMatch(table -> table.behind() == 0 && table.rows() >= table.expected())
                    && surplus <= archived;
        }
    }

    /**
     * Rebuilds; nothing else may write to the database meanwhile.
     *
     * @param folder of the archive
     * @param say receives progress
     * @throws IllegalStateException when something would be lost: a file of the archive is damaged, or a table holds rows that are in
     *     neither archive nor log. Nothing is changed then
     * @throws SQLException when Postgres does not do its part
     */
    public Result run(Path folder, Consumer<String> say) throws SQLException, InterruptedException {
        ArchiveReader archive = new ArchiveReader(folder);
        // the same topics by the schemas that are in the files: the registry may be another one since
        Codecs codecs = new Codecs(archive.registry(), log.settings().prefix());
        try (Database database = new Database(url, user, password)) {
            database.migrate();
        }
        refuseDamage(archive, folder);
        List<String> gaps = new ArrayList<>();
        for (Projection<?> projection : ARCHIVED) {
            Map<TopicPartition, Long> begins = begins(projection.topic());
            refuseLoss(projection, begins, archive, codecs, folder);
            gaps.addAll(gaps(begins, archive));
        }
        gaps.forEach(say);
        clear();
        long archived = 0;
        long unread = 0;
        for (Projection<?> projection : ARCHIVED) {
            Written written = fromArchive(projection, archive, codecs);
            archived += written.rows();
            unread += written.unread();
        }
        say.accept("%d records from the archive".formatted(archived));
        if (unread > 0) {
            say.accept(
                    "%d records of the archive cannot be read, or PostgreSQL refused them; the log of this run names them"
                            .formatted(unread));
        }
        try (PostgresSink sink = new PostgresSink(log, url, user, password)) {
            sink.start();
            awaitLog(say);
        }
        List<Reconciliation> tables = Reconciliation.of(log, url, user, password);
        say.accept(
                tables.stream().map(table -> table.table() + " " + table.rows()).collect(Collectors.joining(", ")));
        return new Result(archived, unread, gaps, tables);
    }

    /** By offsets alone: to compare the keys means to read all of the log. */
    private void awaitLog(Consumer<String> say) throws SQLException, InterruptedException {
        List<Topic<?>> topics = new ArrayList<>();
        Projections.ALL.forEach(projection -> topics.add(projection.topic()));
        long end = System.nanoTime() + LONGEST.toNanos();
        long told = 0;
        long behind;
        do {
            Thread.sleep(ASK_AGAIN_MS);
            try (Connection connection = DriverManager.getConnection(url, user, password)) {
                behind = LogEnds.of(log, topics).behind(connection);
            }
            if (behind > 0 && behind != told) {
                say.accept("%d records of the log to go".formatted(behind));
                told = behind;
            }
        } while (behind > 0 && System.nanoTime() < end);
    }

    private void refuseDamage(ArchiveReader archive, Path folder) {
        Set<String> topics = ARCHIVED.stream()
                .map(projection -> log.settings().name(projection.topic()))
                .collect(Collectors.toSet());
        List<ArchivedFile> damaged = archive.damaged().stream()
                .filter(file -> topics.contains(file.topic()))
                .toList();
        if (!damaged.isEmpty()) {
            ArchivedFile first = damaged.getFirst();
            throw new IllegalStateException(
                    "nothing was changed: %s of the archive is missing or damaged%s. Put it back from a copy; without one, take its line out of %s, which gives up its %d records"
                            .formatted(
                                    folder.resolve(first.file()),
                                    damaged.size() == 1 ? "" : " (and %d more files)".formatted(damaged.size() - 1),
                                    folder.resolve(ArchiveReader.MANIFEST),
                                    first.count()));
        }
    }

    /** Of a log that still has its beginning nothing can be lost; else the keys of the table are held in memory, some 200 bytes each. */
    private void refuseLoss(
            Projection<?> projection,
            Map<TopicPartition, Long> begins,
            ArchiveReader archive,
            Codecs codecs,
            Path folder)
            throws SQLException {
        if (begins.values().stream().allMatch(begin -> begin == 0)) {
            return;
        }
        Set<List<@Nullable Object>> only = stored(projection);
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(ClientConfig.consumer(log.settings()));
                Stream<ConsumerRecord<byte[], byte[]>> records =
                        archive.records(log.settings().name(projection.topic()))) {
            only.removeAll(Reconciliation.keys(log, consumer, projection, consumer.endOffsets(begins.keySet())));
            for (Iterator<ConsumerRecord<byte[], byte[]>> each = records.iterator();
                    !only.isEmpty() && each.hasNext(); ) {
                try {
                    only.remove(Row.of(codecs, projection, each.next()).key());
                } catch (UndecodableException e) {
                    LOG.debug("no row can be made of it, so it keeps none", e);
                }
            }
        }
        if (!only.isEmpty()) {
            throw new IllegalStateException(
                    "nothing was changed: %d rows of the table %s are neither on the log, which begins later, nor in the archive in %s, and would be lost. Put the archive back where it was; to give these rows up, TRUNCATE %s yourself, and run it again"
                            .formatted(only.size(), projection.table(), folder, projection.table()));
        }
    }

    /** The keys of all rows of a table, as a record's row has them. */
    private Set<List<@Nullable Object>> stored(Projection<?> projection) throws SQLException {
        List<? extends Projection.Column<?>> columns = projection.columns().stream()
                .filter(column -> column.role() == Projection.Role.KEY)
                .toList();
        String select = columns.stream().map(Projection.Column::name).collect(Collectors.joining(", "));
        Set<List<@Nullable Object>> keys = new HashSet<>();
        try (Connection connection = DriverManager.getConnection(url, user, password);
                Statement statement = connection.createStatement()) {
            // outside of a transaction the driver would take all rows at once
            connection.setAutoCommit(false);
            statement.setFetchSize(10 * BATCH);
            try (ResultSet rows = statement.executeQuery("SELECT " + select + " FROM " + projection.table())) {
                while (rows.next()) {
                    List<@Nullable Object> key = new ArrayList<>(columns.size());
                    for (int c = 0; c < columns.size(); c++) {
                        key.add(
                                columns.get(c).type() == Projection.Type.INT
                                        ? Integer.valueOf(rows.getInt(c + 1))
                                        : rows.getString(c + 1));
                    }
                    keys.add(key);
                }
            }
        }
        return keys;
    }

    /** Where the archive ends before the log begins. After a record there may be the marker of its transaction, which is in no archive. */
    private static List<String> gaps(Map<TopicPartition, Long> begins, ArchiveReader archive) {
        List<String> gaps = new ArrayList<>();
        begins.forEach((partition, begin) -> {
            long end = archive.files(partition.topic()).stream()
                    .filter(file -> file.partition() == partition.partition())
                    .mapToLong(file -> file.lastOffset() + 1)
                    .max()
                    .orElse(0);
            if (begin > (end == 0 ? 0 : end + 1)) {
                gaps.add("%s: the log begins at %d, and the archive ends at %d".formatted(partition, begin, end));
            }
        });
        return gaps;
    }

    /**
     * Empties what is remade; all of it comes back, so use counts since when it did. When this is broken off, the offsets say so: a sink
     * starts at 0, finds that the log begins later, and counts use from then on.
     */
    private void clear() throws SQLException {
        try (Connection connection = DriverManager.getConnection(url, user, password);
                Statement statement = connection.createStatement();
                PreparedStatement keep = connection.prepareStatement(
                        "UPDATE sink_offsets SET next_offset = ? WHERE topic = ? AND partition = ? AND next_offset > ?");
                PreparedStatement forget =
                        connection.prepareStatement("DELETE FROM sink_offsets WHERE topic = ANY (?)")) {
            connection.setAutoCommit(false);
            statement.execute("CREATE TEMPORARY TABLE counted ON COMMIT DROP AS SELECT since FROM usage_since");
            statement.execute("TRUNCATE " + String.join(", ", REMADE));
            statement.execute("UPDATE usage_since SET since = counted.since FROM counted");
            List<String> emptied = new ArrayList<>();
            for (Projection<?> projection : Projections.ALL) {
                if (REMADE.contains(projection.table())) {
                    emptied.add(log.settings().name(projection.topic()));
                    continue;
                }
                // read again, too, as far as the log has it: what is before that is in the table
                for (Map.Entry<TopicPartition, Long> begin :
                        begins(projection.topic()).entrySet()) {
                    keep.setLong(1, begin.getValue());
                    keep.setString(2, begin.getKey().topic());
                    keep.setInt(3, begin.getKey().partition());
                    keep.setLong(4, begin.getValue());
                    keep.executeUpdate();
                }
            }
            forget.setArray(1, connection.createArrayOf("text", emptied.toArray(String[]::new)));
            forget.executeUpdate();
            connection.commit();
        }
    }

    /** What came of a topic's archive. */
    private record Written(long rows, long unread) {}

    /** Writes what the log no longer has; what it has comes from there, and would be written twice. */
    private Written fromArchive(Projection<?> projection, ArchiveReader archive, Codecs codecs) throws SQLException {
        String topic = log.settings().name(projection.topic());
        Map<TopicPartition, Long> begins = begins(projection.topic());
        long rows = 0;
        long unread = 0;
        try (Database database = new Database(url, user, password);
                Stream<ConsumerRecord<byte[], byte[]>> records = archive.records(topic)) {
            List<Row> batch = new ArrayList<>();
            for (Iterator<ConsumerRecord<byte[], byte[]>> each = records.iterator(); each.hasNext(); ) {
                ConsumerRecord<byte[], byte[]> record = each.next();
                long begin = begins.getOrDefault(new TopicPartition(topic, record.partition()), Long.MAX_VALUE);
                if (record.offset() < begin) {
                    try {
                        batch.add(Row.of(codecs, projection, record));
                    } catch (UndecodableException e) {
                        unread++;
                        LOG.warn(
                                "{}-{}@{} of the archive is left out: {}",
                                topic,
                                record.partition(),
                                record.offset(),
                                e.getMessage());
                    }
                }
                if (batch.size() == BATCH || !each.hasNext()) {
                    long refused = write(database, batch);
                    rows += batch.size() - refused;
                    unread += refused;
                    batch.clear();
                }
            }
            goOnAt(begins, database);
        }
        return new Written(rows, unread);
    }

    /** What the log no longer has is written: for the sink nothing is missing before these offsets. */
    private static void goOnAt(Map<TopicPartition, Long> begins, Database database) throws SQLException {
        Map<TopicPartition, Database.Advance> advances = new HashMap<>();
        database.offsets(begins.keySet())
                .forEach((partition, next) ->
                        advances.put(partition, new Database.Advance(next, begins.getOrDefault(partition, next))));
        try {
            database.pass(advances, false);
        } catch (StaleOffsetsException e) {
            throw new IllegalStateException("something else writes to the database", e);
        }
    }

    /** How many rows PostgreSQL refused. */
    private static long write(Database database, List<Row> rows) throws SQLException {
        AtomicLong refused = new AtomicLong();
        try {
            database.write(rows, Map.of(), (row, why) -> {
                refused.incrementAndGet();
                LOG.warn(
                        "{}@{} of the archive is refused: {}",
                        row.partition(),
                        row.source().offset(),
                        why.getMessage());
            });
        } catch (StaleOffsetsException e) {
            throw new IllegalStateException("no offset was given", e);
        }
        return refused.get();
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
