package io.millrace.sinks.postgres;

import java.sql.Array;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.time.YearMonth;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import org.apache.kafka.common.TopicPartition;
import org.flywaydb.core.Flyway;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The sink's side of PostgreSQL: one connection, used by one thread, opened when it is needed and thrown away after any error that
 * is not the data's.
 */
final class Database implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(Database.class);

    /** Any constant of our own: serializes the makers of partitions. */
    private static final long PARTITION_LOCK = 0x6d696c6c72616365L;

    /** Data exception, integrity violation, a row over one of PostgreSQL's limits: the record's fault, trying again is useless. */
    private static final Set<String> DATA_ERRORS = Set.of("22", "23", "54");

    /** From {@code expected} to {@code next}: how far a transaction takes a partition. */
    record Advance(long expected, long next) {}

    /** Is told of a row that PostgreSQL will not take. */
    @FunctionalInterface
    interface Refusal {
        void refused(Row row, SQLException why);
    }

    private final String url;
    private final Properties properties = new Properties();
    private final Set<String> partitions = new HashSet<>();
    private volatile @Nullable Connection connection;
    private boolean migrated;

    Database(String url, String user, String password) {
        this.url = url;
        properties.setProperty("user", user);
        properties.setProperty("password", password);
        properties.setProperty("ApplicationName", "millrace-sink-postgres");
        // A server that is gone without a word must not hold the sink for ever; no batch takes half a minute.
        properties.setProperty("connectTimeout", "5");
        properties.setProperty("socketTimeout", "30");
        properties.setProperty("tcpKeepAlive", "true");
        // There are a dozen statements, all of them run for ever: prepare each at its first use.
        properties.setProperty("prepareThreshold", "1");
        // Rows and offsets are lost together if the server crashes within the 0.6 s this allows, and are then read
        // again
        // from the log: waiting for the disk buys nothing.
        properties.setProperty("options", "-c synchronous_commit=off");
    }

    /** Brings the schema up to date; once. Safe when several processes do it at the same time. */
    void migrate() {
        if (migrated) {
            return;
        }
        Flyway.configure()
                .dataSource(url, properties.getProperty("user"), properties.getProperty("password"))
                .locations("classpath:db/migration")
                .table("millrace_migrations")
                // the database may hold tables of others
                .baselineOnMigrate(true)
                .baselineVersion("0")
                .load()
                .migrate();
        migrated = true;
    }

    /** Where to go on in each of these partitions; 0 where nothing was ever written. */
    Map<TopicPartition, Long> offsets(Collection<TopicPartition> wanted) throws SQLException {
        Connection open = open();
        Map<TopicPartition, Long> offsets = new HashMap<>();
        try (PreparedStatement insert = open.prepareStatement(
                        "INSERT INTO sink_offsets SELECT * FROM unnest(?::text[], ?::int4[], ?::int8[]) ON CONFLICT DO NOTHING");
                PreparedStatement select = open.prepareStatement(
                        "SELECT topic, partition, next_offset FROM sink_offsets JOIN unnest(?::text[], ?::int4[])"
                                + " AS wanted (topic, partition) USING (topic, partition)")) {
            List<TopicPartition> list = List.copyOf(wanted);
            Array topics = open.createArrayOf(
                    "text", list.stream().map(TopicPartition::topic).toArray(String[]::new));
            Array numbers = open.createArrayOf(
                    "int4", list.stream().map(TopicPartition::partition).toArray(Integer[]::new));
            insert.setArray(1, topics);
            insert.setArray(2, numbers);
            insert.setArray(
                    3, open.createArrayOf("int8", list.stream().map(p -> 0L).toArray(Long[]::new)));
            insert.executeUpdate();
            select.setArray(1, topics);
            select.setArray(2, numbers);
            try (ResultSet rows = select.executeQuery()) {
                while (rows.next()) {
                    offsets.put(new TopicPartition(rows.getString(1), rows.getInt(2)), rows.getLong(3));
                }
            }
            open.commit();
        }
        return offsets;
    }

    /**
     * Writes rows and offsets in one transaction. Of several changes to a row the last one wins. A row that PostgreSQL refuses is
     * reported and left out; the others are written.
     *
     * @throws StaleOffsetsException when a partition is not at its expected offset; nothing was written
     * @throws SQLException when the server, not the data, is the trouble; whether it was written is not known
     */
    void write(List<Row> rows, Map<TopicPartition, Advance> advances, Refusal refusal)
            throws SQLException, StaleOffsetsException {
        Connection open = open();
        makePartitions(open, rows);
        try {
            advance(open, advances);
            apply(open, rows);
            open.commit();
        } catch (StaleOffsetsException e) {
            open.rollback();
            throw e;
        } catch (SQLException e) {
            if (!isData(e)) {
                throw e;
            }
            open.rollback();
            LOG.info("a batch of {} rows was refused, looking for the bad ones: {}", rows.size(), e.getMessage());
            writeOneByHalves(open, rows, advances, refusal);
        }
    }

    /**
     * Goes on in these partitions where they are taken to, past records that are gone.
     *
     * @param missed whether uses of documents may have been among them
     * @throws StaleOffsetsException when a partition is not at its expected offset; nothing was changed
     */
    void pass(Map<TopicPartition, Advance> advances, boolean missed) throws SQLException, StaleOffsetsException {
        Connection open = open();
        try (Statement statement = open.createStatement()) {
            advance(open, advances);
            if (missed) {
                statement.executeUpdate("UPDATE usage_since SET since = now()");
            }
            open.commit();
        } catch (StaleOffsetsException e) {
            open.rollback();
            throw e;
        }
    }

    private void writeOneByHalves(
            Connection open, List<Row> rows, Map<TopicPartition, Advance> advances, Refusal refusal)
            throws SQLException, StaleOffsetsException {
        // somebody may have dropped a month that this process made: no fault of the rows in it
        partitions.clear();
        makePartitions(open, rows);
        try {
            advance(open, advances);
            applyHalves(open, rows, refusal);
            open.commit();
        } catch (StaleOffsetsException e) {
            open.rollback();
            throw e;
        }
    }

    private static void applyHalves(Connection open, List<Row> rows, Refusal refusal) throws SQLException {
        Savepoint before = open.setSavepoint();
        try {
            apply(open, rows);
            open.releaseSavepoint(before);
        } catch (SQLException e) {
            if (!isData(e)) {
                throw e;
            }
            open.rollback(before);
            if (rows.size() == 1) {
                refusal.refused(rows.getFirst(), e);
                return;
            }
            applyHalves(open, rows.subList(0, rows.size() / 2), refusal);
            applyHalves(open, rows.subList(rows.size() / 2, rows.size()), refusal);
        }
    }

    /**
     * First in the transaction, so that of two writers of a partition the second waits here, and then finds that it is late. In one
     * order, so that two of them cannot wait for each other.
     */
    private static void advance(Connection open, Map<TopicPartition, Advance> advances)
            throws SQLException, StaleOffsetsException {
        String sql = "UPDATE sink_offsets SET next_offset = ? WHERE topic = ? AND partition = ? AND next_offset = ?";
        Map<String, Map.Entry<TopicPartition, Advance>> ordered = new TreeMap<>();
        advances.entrySet().forEach(entry -> ordered.put(entry.getKey().toString(), entry));
        try (PreparedStatement update = open.prepareStatement(sql)) {
            for (Map.Entry<TopicPartition, Advance> entry : ordered.values()) {
                update.setLong(1, entry.getValue().next());
                update.setString(2, entry.getKey().topic());
                update.setInt(3, entry.getKey().partition());
                update.setLong(4, entry.getValue().expected());
                update.addBatch();
            }
            int[] updated = update.executeBatch();
            int i = 0;
            for (Map.Entry<TopicPartition, Advance> entry : ordered.values()) {
                if (updated[i++] != 1) {
                    throw new StaleOffsetsException(entry.getKey() + " is no longer at "
                            + entry.getValue().expected());
                }
            }
        }
    }

    private static void apply(Connection open, List<Row> rows) throws SQLException {
        Map<String, Map<List<@Nullable Object>, Row>> lastByTable = new LinkedHashMap<>();
        for (Row row : rows) {
            lastByTable
                    .computeIfAbsent(row.projection().table(), table -> new LinkedHashMap<>())
                    .put(row.key(), row);
        }
        for (Map<List<@Nullable Object>, Row> last : lastByTable.values()) {
            Projection<?> projection = last.values().iterator().next().projection();
            List<List<@Nullable Object>> upserts = new ArrayList<>();
            List<String> deletes = new ArrayList<>();
            for (Row row : last.values()) {
                List<@Nullable Object> cells = row.cells();
                if (cells == null) {
                    deletes.add(String.valueOf(row.key().getFirst()));
                } else {
                    upserts.add(cells);
                }
            }
            if (!upserts.isEmpty()) {
                upsert(open, projection, upserts);
            }
            if (!deletes.isEmpty()) {
                delete(open, projection, deletes);
            }
        }
    }

    private static void upsert(Connection open, Projection<?> projection, List<List<@Nullable Object>> rows)
            throws SQLException {
        try (PreparedStatement upsert = open.prepareStatement(projection.upsert())) {
            for (int c = 0; c < projection.columns().size(); c++) {
                Projection.Type type = projection.columns().get(c).type();
                @Nullable Object[] array = type.array(rows.size());
                for (int r = 0; r < array.length; r++) {
                    array[r] = rows.get(r).get(c);
                }
                upsert.setArray(c + 1, open.createArrayOf(type.element(), array));
            }
            upsert.executeUpdate();
        }
    }

    private static void delete(Connection open, Projection<?> projection, List<String> keys) throws SQLException {
        try (PreparedStatement delete = open.prepareStatement(projection.delete())) {
            delete.setArray(1, open.createArrayOf("text", keys.toArray(String[]::new)));
            delete.executeUpdate();
        }
    }

    /** Makes the months that these rows need, in a transaction of its own: a new table locks its parent, so not for a batch long. */
    private void makePartitions(Connection open, List<Row> rows) throws SQLException {
        Map<String, String> missing = new TreeMap<>();
        for (Row row : rows) {
            List<@Nullable Object> cells = row.cells();
            if (cells != null) {
                row.projection().monthOf(cells).ifPresent(month -> {
                    String table = row.projection().table();
                    String name =
                            String.format(Locale.ROOT, "%s_%04d_%02d", table, month.getYear(), month.getMonthValue());
                    if (!partitions.contains(name)) {
                        missing.computeIfAbsent(name, n -> createPartition(n, table, month));
                    }
                });
            }
        }
        if (missing.isEmpty()) {
            return;
        }
        try (Statement statement = open.createStatement()) {
            // IF NOT EXISTS alone does not help two that create at the same time: one of them fails on a unique index
            statement.execute("SELECT pg_advisory_xact_lock(" + PARTITION_LOCK + ")");
            for (String sql : missing.values()) {
                statement.execute(sql);
            }
            open.commit();
        }
        partitions.addAll(missing.keySet());
    }

    private static String createPartition(String name, String table, YearMonth month) {
        return "CREATE TABLE IF NOT EXISTS " + name + " PARTITION OF " + table + " FOR VALUES FROM ('" + month
                + "-01 00:00:00+00') TO ('" + month.plusMonths(1) + "-01 00:00:00+00')";
    }

    private static boolean isData(SQLException error) {
        String state = error.getSQLState();
        return state != null && state.length() == 5 && DATA_ERRORS.contains(state.substring(0, 2));
    }

    private Connection open() throws SQLException {
        Connection open = connection;
        if (open == null) {
            open = DriverManager.getConnection(url, properties);
            open.setAutoCommit(false);
            connection = open;
        }
        return open;
    }

    /** Throws the connection away, from any thread; the next use opens another. */
    @Override
    public void close() {
        Connection open = connection;
        connection = null;
        if (open != null) {
            try {
                open.abort(Runnable::run);
            } catch (SQLException e) {
                LOG.debug("closing a connection failed", e);
            }
        }
    }
}
