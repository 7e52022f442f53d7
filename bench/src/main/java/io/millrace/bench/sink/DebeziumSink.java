package io.millrace.bench.sink;

import java.io.IOException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.metrics.PluginMetrics;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.SchemaBuilder;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.sink.SinkRecord;
import org.apache.kafka.connect.sink.SinkTask;
import org.apache.kafka.connect.sink.SinkTaskContext;

/**
 * Debezium's JDBC sink task with its own class path, driven as a worker of Kafka Connect drives it, but with records that are ready: it
 * reads no log, decodes nothing and makes no JSON. Its speed is that of {@code put} and {@code preCommit} alone.
 */
final class DebeziumSink {
    private static final String TASK = "io.debezium.connector.jdbc.JdbcSinkConnectorTask";
    private static final TopicPartition PARTITION = new TopicPartition("interactions", 0);

    private final Path plugin;
    private final Map<String, String> settings;

    /**
     * @param plugin folder with the jars of the connector
     * @param batch records of a batch, and of a {@code put}
     * @param unnest whether a batch is one statement over arrays, which Debezium recommends for speed
     */
    DebeziumSink(Path plugin, String url, String user, int batch, boolean unnest) {
        this.plugin = plugin;
        this.settings = Map.ofEntries(
                Map.entry("topics", PARTITION.topic()),
                Map.entry("connection.url", url + (url.contains("?") ? "&" : "?") + "reWriteBatchedInserts=true"),
                Map.entry("connection.username", user),
                Map.entry("connection.password", user),
                Map.entry("insert.mode", "upsert"),
                Map.entry("primary.key.mode", "record_value"),
                Map.entry("primary.key.fields", "interaction_id,accepted_at"),
                Map.entry("schema.evolution", "none"),
                Map.entry("collection.name.format", PARTITION.topic()),
                Map.entry("batch.size", String.valueOf(batch)),
                Map.entry("dialect.postgres.unnest.insert.enabled", String.valueOf(unnest)));
    }

    /**
     * Writes the rows of a table into {@code interactions}.
     *
     * @return seconds in the task, without those of reading the rows
     */
    double write(Connection connection, String table, int batch) throws Exception {
        URL[] jars;
        try (Stream<Path> files = Files.list(plugin)) {
            List<URL> urls = new ArrayList<>();
            for (Path file :
                    files.filter(each -> each.toString().endsWith(".jar")).toList()) {
                urls.add(file.toUri().toURL());
            }
            jars = urls.toArray(URL[]::new);
        }
        Thread thread = Thread.currentThread();
        ClassLoader before = thread.getContextClassLoader();
        try (URLClassLoader loader = new URLClassLoader(jars, DebeziumSink.class.getClassLoader())) {
            thread.setContextClassLoader(loader);
            SinkTask task =
                    (SinkTask) loader.loadClass(TASK).getDeclaredConstructor().newInstance();
            task.initialize(new Context(settings));
            task.start(settings);
            task.open(Set.of(PARTITION));
            try {
                return write(task, connection, table, batch);
            } finally {
                task.close(Set.of(PARTITION));
                task.stop();
            }
        } catch (ClassNotFoundException e) {
            throw new IOException("there is no " + TASK + " in the jars of " + plugin, e);
        } finally {
            thread.setContextClassLoader(before);
        }
    }

    private static double write(SinkTask task, Connection connection, String table, int batch) throws SQLException {
        long nanos = 0;
        long offset = 0;
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.setFetchSize(batch);
            try (ResultSet rows = statement.executeQuery("SELECT * FROM " + table)) {
                Schema schema = schema(rows.getMetaData());
                List<SinkRecord> records = new ArrayList<>(batch);
                boolean more = rows.next();
                while (more) {
                    records.add(new SinkRecord(
                            PARTITION.topic(), PARTITION.partition(), null, null, schema, row(schema, rows), offset++));
                    more = rows.next();
                    if (records.size() == batch || !more) {
                        long began = System.nanoTime();
                        task.put(records);
                        task.preCommit(new HashMap<>(Map.of(PARTITION, new OffsetAndMetadata(offset))));
                        nanos += System.nanoTime() - began;
                        records = new ArrayList<>(batch);
                    }
                }
            }
        } finally {
            connection.rollback();
            connection.setAutoCommit(true);
        }
        return nanos / 1e9;
    }

    /** Of the table, with Debezium's names of types. */
    private static Schema schema(ResultSetMetaData columns) throws SQLException {
        SchemaBuilder schema = SchemaBuilder.struct().name("interaction");
        for (int i = 1; i <= columns.getColumnCount(); i++) {
            SchemaBuilder field = switch (columns.getColumnTypeName(i)) {
                case "uuid" -> SchemaBuilder.string().name("io.debezium.data.Uuid");
                case "timestamptz" -> SchemaBuilder.string().name("io.debezium.time.ZonedTimestamp");
                case "jsonb" -> SchemaBuilder.string().name("io.debezium.data.Json");
                case "float8" -> SchemaBuilder.float64();
                case "int4" -> SchemaBuilder.int32();
                case "bool" -> SchemaBuilder.bool();
                default -> SchemaBuilder.string();
            };
            schema.field(columns.getColumnName(i), field.optional().build());
        }
        return schema.build();
    }

    private static Struct row(Schema schema, ResultSet rows) throws SQLException {
        Struct row = new Struct(schema);
        for (int i = 0; i < schema.fields().size(); i++) {
            Object value = rows.getObject(i + 1);
            Schema type = schema.fields().get(i).schema();
            if (value != null && type.type() == Schema.Type.STRING) {
                value = "io.debezium.time.ZonedTimestamp".equals(type.name())
                        ? rows.getObject(i + 1, OffsetDateTime.class).toString()
                        : rows.getString(i + 1);
            }
            row.put(schema.fields().get(i), value);
        }
        return row;
    }

    /** As much of a worker as this task asks for. */
    private record Context(Map<String, String> configs) implements SinkTaskContext {
        @Override
        public Set<TopicPartition> assignment() {
            return Set.of(PARTITION);
        }

        @Override
        public void offset(Map<TopicPartition, Long> offsets) {
            throw new IllegalStateException("the task asks for records again");
        }

        @Override
        public void offset(TopicPartition partition, long offset) {
            throw new IllegalStateException("the task asks for records again");
        }

        @Override
        public void timeout(long millis) {}

        @Override
        public void pause(TopicPartition... partitions) {}

        @Override
        public void resume(TopicPartition... partitions) {}

        @Override
        public void requestCommit() {}

        @Override
        public PluginMetrics pluginMetrics() {
            throw new UnsupportedOperationException("no metrics are kept");
        }
    }
}
