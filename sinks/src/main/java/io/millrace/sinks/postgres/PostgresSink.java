package io.millrace.sinks.postgres;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import io.micrometer.core.instrument.Counter;
import io.micrometer.core.instrument.Gauge;
import io.millrace.log.AvroCodec;
import io.millrace.log.ClientConfig;
import io.millrace.log.DeadLetters;
import io.millrace.log.Log;
import io.millrace.log.SchemaRegistry.RegistryUnavailableException;
import io.millrace.log.Topic;
import io.millrace.log.Topics;
import io.millrace.log.UndecodableException;
import io.millrace.service.Service;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.time.Duration;
import java.time.YearMonth;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Function;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;
import org.flywaydb.core.Flyway;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The log in Postgres.
 *
 * <p>Rows and offsets are one transaction: on assignment it seeks to what the database says, and {@code UPDATE … WHERE next_offset =
 * expected} lets a zombie, which no longer owns the partition, abort instead of writing. So each record is in the database once,
 * whatever is killed. Rows go in as arrays, one statement a table, the fastest that SQL offers short of COPY (Debezium's JDBC sink
 * measures 5–10 times over row by row).
 */
public final class PostgresSink implements Service {
    private static final Logger LOG = LoggerFactory.getLogger(PostgresSink.class);
    private static final Duration POLL = Duration.ofMillis(100);
    private static final Duration RETRY = Duration.ofMillis(500);
    private static final int BATCH = 2_000;

    private record Projection<V extends SpecificRecord>(
            Topic<V> topic, AvroCodec<V> codec, Rows.Table table, Function<V, @Nullable Object[]> row, boolean deletes) {}

    /** A row on its way, with the record it came from. */
    @SuppressWarnings("ArrayRecordComponent") // never compared
    private record Pending(ConsumerRecord<byte[], byte[]> record, String key, @Nullable Object @Nullable [] row) {}

    private final Log log;
    private final HikariDataSource database;
    private final DeadLetters deadLetters;
    private final Map<String, Projection<?>> projections = new HashMap<>();
    private final Map<TopicPartition, Long> expected = new HashMap<>();
    private final Set<String> knownPartitions = ConcurrentHashMap.newKeySet();
    private final Counter rows;
    private final Thread thread;
    private volatile boolean running = true;
    private volatile boolean assigned;
    private volatile String trouble = "";
    private volatile long lagMs;

    public PostgresSink(Log log, String jdbcUrl, String user, String password) {
        this.log = log;
        HikariConfig pool = new HikariConfig();
        pool.setJdbcUrl(jdbcUrl);
        pool.setUsername(user);
        pool.setPassword(password);
        pool.setMaximumPoolSize(2);
        pool.setAutoCommit(false);
        pool.setConnectionTimeout(3_000);
        // the database may come later than the sink
        pool.setInitializationFailTimeout(-1);
        pool.setPoolName("postgres-sink");
        this.database = new HikariDataSource(pool);
        this.deadLetters = new DeadLetters(log.producer(), log.metrics());
        add(Topics.INTERACTIONS, Rows.INTERACTIONS, Rows::row, false);
        add(Topics.DECISIONS, Rows.DECISIONS, Rows::row, false);
        add(Topics.FEEDBACK, Rows.FEEDBACK, Rows::row, false);
        add(Topics.TELEMETRY, Rows.TELEMETRY, Rows::row, false);
        add(Topics.DOCUMENTS, Rows.DOCUMENTS, Rows::row, true);
        this.rows = log.metrics().counter("millrace.sink.rows", "sink", "postgres");
        Gauge.builder("millrace.projection.lag.seconds", () -> lagMs / 1e3)
                .tag("projection", "postgres")
                .register(log.metrics());
        this.thread = Thread.ofPlatform().name("postgres-sink").daemon(true).unstarted(this::run);
    }

    private <V extends SpecificRecord> void add(
            Topic<V> topic, Rows.Table table, Function<V, @Nullable Object[]> row, boolean deletes) {
        projections.put(
                log.settings().name(topic), new Projection<>(topic, log.codecs().of(topic), table, row, deletes));
    }

    /** Brings the schema of a database up to date. */
    public static void migrate(String jdbcUrl, String user, String password) {
        Flyway.configure()
                .dataSource(jdbcUrl, user, password)
                .locations("classpath:db/migration")
                .connectRetries(30)
                .load()
                .migrate();
    }

    private void run() {
        Map<String, Object> settings = ClientConfig.member(log.settings(), "postgres-sink");
        settings.put(ConsumerConfig.MAX_POLL_RECORDS_CONFIG, BATCH);
        // the database may be away for long; being away is not being dead
        settings.put(ConsumerConfig.MAX_POLL_INTERVAL_MS_CONFIG, (int) Duration.ofHours(1).toMillis());
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings)) {
            migrateWhenThere();
            consumer.subscribe(projections.keySet(), new Seeking(consumer));
            while (running) {
                ConsumerRecords<byte[], byte[]> records = consumer.poll(POLL);
                if (records.isEmpty()) {
                    lagMs = 0;
                } else {
                    write(consumer, records);
                }
            }
            consumer.close(CloseOptions.timeout(Duration.ofSeconds(2)));
        } catch (WakeupException e) {
            LOG.debug("postgres-sink: woken to stop");
        } catch (RuntimeException e) {
            LOG.error("postgres-sink: died", e);
            trouble = e.toString();
        } finally {
            assigned = false;
        }
    }

    private void migrateWhenThere() {
        while (running) {
            try {
                migrate(database.getJdbcUrl(), database.getUsername(), database.getPassword());
                return;
            } catch (RuntimeException e) {
                troubled(e);
                pause();
            }
        }
    }

    private void write(KafkaConsumer<byte[], byte[]> consumer, ConsumerRecords<byte[], byte[]> records) {
        Map<Projection<?>, List<Pending>> batch = new LinkedHashMap<>();
        Map<TopicPartition, Long> next = new HashMap<>();
        long newest = 0;
        for (ConsumerRecord<byte[], byte[]> record : records) {
            Projection<?> projection = java.util.Objects.requireNonNull(projections.get(record.topic()));
            Pending pending = pending(projection, record);
            if (pending != null) {
                batch.computeIfAbsent(projection, p -> new ArrayList<>()).add(pending);
            }
            next.put(new TopicPartition(record.topic(), record.partition()), record.offset() + 1);
            newest = Math.max(newest, record.timestamp());
        }
        while (running) {
            try {
                transact(batch, next);
                lagMs = Math.max(0, System.currentTimeMillis() - newest);
                trouble = "";
                return;
            } catch (ZombieException e) {
                LOG.warn("postgres-sink: {}; seeking to what the database says", e.getMessage());
                seek(consumer, consumer.assignment());
                return;
            } catch (SQLException e) {
                String state = e.getSQLState();
                // 22: data, 23: constraint: waiting does not help, so find the row
                if (state != null && (state.startsWith("22") || state.startsWith("23"))) {
                    isolate(batch);
                } else {
                    troubled(e);
                    pause();
                }
            }
        }
    }

    private @Nullable Pending pending(Projection<?> projection, ConsumerRecord<byte[], byte[]> record) {
        String key = record.key() == null ? "" : new String(record.key(), StandardCharsets.UTF_8);
        while (running) {
            try {
                return pendingOf(projection, record, key);
            } catch (RegistryUnavailableException e) {
                troubled(e);
                pause();
            } catch (UndecodableException | IllegalArgumentException e) {
                // an id that is no UUID is an IllegalArgumentException
                deadLetters.bury(record, "postgres-sink", e, 1);
                return null;
            }
        }
        return null;
    }

    private static <V extends SpecificRecord> @Nullable Pending pendingOf(
            Projection<V> projection, ConsumerRecord<byte[], byte[]> record, String key) {
        if (record.value() == null) {
            return projection.deletes() ? new Pending(record, key, null) : null;
        }
        return new Pending(record, key, projection.row().apply(projection.codec().decode(record.value())));
    }

    /** Another member owns the partition now and has moved its offset. */
    private static final class ZombieException extends Exception {
        private static final long serialVersionUID = 1L;

        ZombieException(String message) {
            super(message);
        }
    }

    private void transact(Map<Projection<?>, List<Pending>> batch, Map<TopicPartition, Long> next)
            throws SQLException, ZombieException {
        try (Connection connection = database.getConnection()) {
            try {
                for (var entry : batch.entrySet()) {
                    upsert(connection, entry.getKey(), entry.getValue());
                }
                for (var entry : next.entrySet()) {
                    advance(connection, entry.getKey(), entry.getValue());
                }
                connection.commit();
                expected.putAll(next);
                batch.values().forEach(list -> rows.increment(list.size()));
            } catch (SQLException | ZombieException | RuntimeException e) {
                connection.rollback();
                throw e;
            }
        }
    }

    private void upsert(Connection connection, Projection<?> projection, List<Pending> pending) throws SQLException {
        // one statement may not touch a row twice: the last of a key counts
        Map<String, Pending> last = new LinkedHashMap<>();
        for (Pending each : pending) {
            String key = keyOf(projection.table(), each);
            last.remove(key);
            last.put(key, each);
        }
        List<@Nullable Object[]> puts = new ArrayList<>();
        List<String> deletes = new ArrayList<>();
        last.values().forEach(each -> {
            if (each.row() == null) {
                deletes.add(each.key());
            } else {
                puts.add(each.row());
            }
        });
        Rows.Table table = projection.table();
        if (!puts.isEmpty()) {
            partitions(connection, table, puts);
            try (PreparedStatement statement = connection.prepareStatement(table.upsert())) {
                for (int column = 0; column < table.columns().size(); column++) {
                    @Nullable Object[] values = new @Nullable Object[puts.size()];
                    for (int row = 0; row < values.length; row++) {
                        values[row] = puts.get(row)[column];
                    }
                    statement.setArray(
                            column + 1, connection.createArrayOf(table.columns().get(column).type(), values));
                }
                statement.executeUpdate();
            }
        }
        if (!deletes.isEmpty()) {
            String key = table.columns().get(0).name();
            try (PreparedStatement statement =
                    connection.prepareStatement("DELETE FROM " + table.name() + " WHERE " + key + " = ANY (?)")) {
                statement.setArray(1, connection.createArrayOf("text", deletes.toArray()));
                statement.executeUpdate();
            }
        }
    }

    private static String keyOf(Rows.Table table, Pending pending) {
        @Nullable Object[] row = pending.row();
        if (row == null) {
            return pending.key();
        }
        StringBuilder key = new StringBuilder();
        for (int i = 0; i < table.columns().size(); i++) {
            if (table.columns().get(i).key()) {
                key.append(key.isEmpty() ? "" : "|").append(row[i]);
            }
        }
        return key.toString();
    }

    /** Makes the month partitions that a batch needs. */
    private void partitions(Connection connection, Rows.Table table, List<@Nullable Object[]> puts) throws SQLException {
        if (table.partitionedBy().isEmpty()) {
            return;
        }
        int column = table.columns().stream().map(Rows.Column::name).toList().indexOf(table.partitionedBy());
        Set<YearMonth> months = new TreeSet<>();
        for (@Nullable Object[] row : puts) {
            if (row[column] instanceof Timestamp time) {
                months.add(YearMonth.from(time.toInstant().atOffset(ZoneOffset.UTC)));
            }
        }
        for (YearMonth month : months) {
            String partition = "%s_%d_%02d".formatted(table.name(), month.getYear(), month.getMonthValue());
            if (knownPartitions.contains(partition)) {
                continue;
            }
            try (Statement statement = connection.createStatement()) {
                // two sinks may want the same month at once
                statement.execute("SELECT pg_advisory_xact_lock(hashtext('" + partition + "'))");
                statement.execute("CREATE TABLE IF NOT EXISTS %s PARTITION OF %s FOR VALUES FROM ('%s-01 00:00:00+00') TO ('%s-01 00:00:00+00')"
                        .formatted(partition, table.name(), month, month.plusMonths(1)));
                connection.commit();
            }
            knownPartitions.add(partition);
        }
    }

    private void advance(Connection connection, TopicPartition partition, long next) throws SQLException, ZombieException {
        Long from = expected.get(partition);
        try (PreparedStatement update = connection.prepareStatement(
                "UPDATE sink_offsets SET next_offset = ? WHERE topic = ? AND partition = ? AND next_offset = ?")) {
            update.setLong(1, next);
            update.setString(2, partition.topic());
            update.setInt(3, partition.partition());
            update.setLong(4, from == null ? -1 : from);
            if (update.executeUpdate() != 1) {
                throw new ZombieException(partition + " has moved on without this member");
            }
        }
    }

    /** Writes row by row what was refused as a batch, into dead letters where a row is to blame; the batch then holds the good ones. */
    private void isolate(Map<Projection<?>, List<Pending>> batch) {
        for (var entry : batch.entrySet()) {
            List<Pending> good = new ArrayList<>();
            for (Pending pending : entry.getValue()) {
                try (Connection connection = database.getConnection()) {
                    try {
                        upsert(connection, entry.getKey(), List.of(pending));
                        good.add(pending);
                    } catch (SQLException e) {
                        deadLetters.bury(pending.record(), "postgres-sink", e, 1);
                    } finally {
                        connection.rollback();
                    }
                } catch (SQLException e) {
                    // the database went away in between: everything is tried again
                    troubled(e);
                    return;
                }
            }
            entry.setValue(good);
        }
    }

    private void seek(KafkaConsumer<byte[], byte[]> consumer, Collection<TopicPartition> partitions) {
        while (running) {
            try (Connection connection = database.getConnection()) {
                for (TopicPartition partition : partitions) {
                    long next = offset(connection, partition);
                    expected.put(partition, next);
                    consumer.seek(partition, next);
                }
                connection.commit();
                return;
            } catch (SQLException e) {
                troubled(e);
                pause();
            }
        }
    }

    private static long offset(Connection connection, TopicPartition partition) throws SQLException {
        try (PreparedStatement insert = connection.prepareStatement(
                "INSERT INTO sink_offsets VALUES (?, ?, 0) ON CONFLICT DO NOTHING")) {
            insert.setString(1, partition.topic());
            insert.setInt(2, partition.partition());
            insert.executeUpdate();
        }
        try (PreparedStatement select =
                connection.prepareStatement("SELECT next_offset FROM sink_offsets WHERE topic = ? AND partition = ?")) {
            select.setString(1, partition.topic());
            select.setInt(2, partition.partition());
            try (ResultSet result = select.executeQuery()) {
                result.next();
                return result.getLong(1);
            }
        }
    }

    private final class Seeking implements ConsumerRebalanceListener {
        private final KafkaConsumer<byte[], byte[]> consumer;

        Seeking(KafkaConsumer<byte[], byte[]> consumer) {
            this.consumer = consumer;
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            seek(consumer, partitions);
            assigned = true;
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            partitions.forEach(expected::remove);
        }
    }

    private void troubled(Exception e) {
        if (trouble.isEmpty()) {
            LOG.warn("postgres-sink: waiting for the database: {}", e.toString());
        }
        trouble = "waiting for the database: " + e.getMessage();
    }

    private static void pause() {
        try {
            Thread.sleep(RETRY);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    @Override
    public String name() {
        return "postgres-sink";
    }

    @Override
    public void start() {
        thread.start();
    }

    @Override
    public boolean isReady() {
        return assigned && trouble.isEmpty();
    }

    @Override
    public Map<String, String> details() {
        return trouble.isEmpty() ? Map.of() : Map.of("postgres", trouble);
    }

    @Override
    public void close() {
        running = false;
        try {
            thread.join(Duration.ofSeconds(5));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        database.close();
    }
}
