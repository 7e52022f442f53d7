package io.millrace.bench.sink;

import io.millrace.bench.process.Program;
import io.vertx.core.json.JsonArray;
import io.vertx.core.json.JsonObject;
import java.io.IOException;
import java.net.ConnectException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;
import org.jspecify.annotations.Nullable;

/**
 * Debezium's JDBC sink in a worker of Kafka Connect, a process of its own that stays for all rounds. Its topic holds the rows as they are
 * in the table, in JSON, whose schema the converter is given once (KIP-1054): nothing has to be taken from a larger record, as our sink
 * does from an interaction.
 */
final class DebeziumSink implements AutoCloseable {
    private static final String TOPIC = "bench.rows";
    private static final String TABLE = "interactions";
    private static final Duration START = Duration.ofSeconds(60);
    private static final Duration LONGEST = Duration.ofMinutes(10);

    private final Program worker;
    private final URI url;
    private final HttpClient client = HttpClient.newHttpClient();
    private final JsonObject schema;
    private int started;

    /**
     * Starts the worker and writes the rows of a table to its topic.
     *
     * @param home folder with the jars of a Connect worker
     * @param plugins folder in which the archive of the connector was unpacked
     * @param folder for its files
     * @param partitions of its topic
     */
    DebeziumSink(
            Path home,
            Path plugins,
            Path folder,
            String bootstrapServers,
            int partitions,
            Connection connection,
            String table)
            throws Exception {
        this.schema = schema(connection, table);
        fill(bootstrapServers, partitions, connection, table);
        int port;
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            port = socket.getLocalPort();
        }
        this.url = URI.create("http://127.0.0.1:" + port + "/connectors");
        Path settings = Files.writeString(folder.resolve("worker.properties"), """
                bootstrap.servers=%s
                listeners=http://127.0.0.1:%d
                plugin.path=%s
                plugin.discovery=service_load
                key.converter=org.apache.kafka.connect.storage.StringConverter
                value.converter=org.apache.kafka.connect.json.JsonConverter
                offset.storage.file.filename=%s
                connector.client.config.override.policy=All
                """.formatted(
                        bootstrapServers, port, plugins.toAbsolutePath(), folder.resolve("offsets")));
        this.worker = Program.start(
                "kafka connect",
                folder.resolve("connect.log"),
                Map.of(),
                List.of(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-XX:+UseSerialGC",
                        "-Xmx1g",
                        "-cp",
                        home + "/*",
                        "org.apache.kafka.connect.cli.ConnectStandalone",
                        settings.toString()));
        await(START, () -> {
            try {
                return ask("GET", "", null).startsWith("[");
            } catch (ConnectException e) {
                return false;
            }
        });
    }

    /**
     * Lets it write all rows into the table {@code interactions}, from the beginning of the topic.
     *
     * @param batch rows of a statement, and of a poll
     * @param unnest whether a statement takes an array per column, which Debezium recommends for speed, and not a list of values
     * @return rows a second, from the first that is seen in the table to the last
     */
    double write(Connection connection, String jdbcUrl, String user, int rows, int batch, boolean unnest)
            throws Exception {
        // another name is another group, which begins at the beginning
        String name = "debezium-" + ++started;
        ask(
                "POST",
                "",
                new JsonObject()
                        .put("name", name)
                        .put(
                                "config",
                                new JsonObject()
                                        .put("connector.class", "io.debezium.connector.jdbc.JdbcSinkConnector")
                                        .put("tasks.max", "1")
                                        .put("topics", TOPIC)
                                        .put("connection.url", jdbcUrl + "&reWriteBatchedInserts=true")
                                        .put("connection.username", user)
                                        .put("connection.password", user)
                                        .put("insert.mode", "upsert")
                                        .put("primary.key.mode", "record_value")
                                        .put("primary.key.fields", "interaction_id,accepted_at")
                                        .put("schema.evolution", "none")
                                        .put("collection.name.format", TABLE)
                                        .put("batch.size", String.valueOf(batch))
                                        .put("consumer.override.max.poll.records", String.valueOf(batch))
                                        .put("dialect.postgres.unnest.insert.enabled", String.valueOf(unnest))
                                        .put("value.converter", "org.apache.kafka.connect.json.JsonConverter")
                                        .put("value.converter.schemas.enable", "true")
                                        .put("value.converter.schema.content", schema.encode())));
        try {
            await(LONGEST, () -> isRunning(name) && count(connection) > 0);
            long since = System.nanoTime();
            long first = count(connection);
            // counting takes the server from the one that is measured: seldom, then, until it must be about done
            long pause = 500;
            long seen = first;
            while (seen < rows) {
                Thread.sleep(pause);
                long now = count(connection);
                long left = (rows - now) * pause / Math.max(1, now - seen);
                seen = now;
                pause = Math.clamp(left / 2, 10, 500);
                if (!isRunning(name) || System.nanoTime() - since > LONGEST.toNanos()) {
                    throw new IllegalStateException("it does not get on; it said:\n" + worker.output());
                }
            }
            return (rows - first) * 1e9 / (System.nanoTime() - since);
        } finally {
            ask("DELETE", "/" + name, null);
        }
    }

    /** Of the table, with Debezium's names of types. */
    private static JsonObject schema(Connection connection, String table) throws SQLException {
        JsonArray fields = new JsonArray();
        try (Statement statement = connection.createStatement();
                ResultSet columns = statement.executeQuery(
                        "SELECT attname, atttypid::regtype::text FROM pg_attribute WHERE attrelid = '" + table
                                + "'::regclass AND attnum > 0 ORDER BY attnum")) {
            while (columns.next()) {
                JsonObject field =
                        new JsonObject().put("field", columns.getString(1)).put("optional", true);
                switch (columns.getString(2)) {
                    case "uuid" -> field.put("type", "string").put("name", "io.debezium.data.Uuid");
                    case "timestamp with time zone" ->
                        field.put("type", "string").put("name", "io.debezium.time.ZonedTimestamp");
                    case "jsonb" -> field.put("type", "string").put("name", "io.debezium.data.Json");
                    case "double precision" -> field.put("type", "double");
                    case "integer" -> field.put("type", "int32");
                    case "boolean" -> field.put("type", "boolean");
                    default -> field.put("type", "string");
                }
                fields.add(field);
            }
        }
        return new JsonObject()
                .put("type", "struct")
                .put("name", "interaction")
                .put("optional", false)
                .put("fields", fields);
    }

    private static void fill(String bootstrapServers, int partitions, Connection connection, String table)
            throws Exception {
        Map<String, Object> config = new HashMap<>(Map.of(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrapServers));
        try (Admin admin = Admin.create(config)) {
            admin.createTopics(List.of(new NewTopic(TOPIC, partitions, (short) 1)))
                    .all()
                    .get();
        }
        connection.setAutoCommit(false);
        try (KafkaProducer<String, String> producer =
                        new KafkaProducer<>(config, new StringSerializer(), new StringSerializer());
                Statement statement = connection.createStatement()) {
            statement.setFetchSize(1_000);
            List<String> columns = new ArrayList<>();
            try (ResultSet names = statement.executeQuery(
                    "SELECT CASE WHEN atttypid = 'jsonb'::regtype THEN attname || '::text AS ' || attname ELSE attname END"
                            + " FROM pg_attribute WHERE attrelid = '" + table
                            + "'::regclass AND attnum > 0 ORDER BY attnum")) {
                while (names.next()) {
                    columns.add(names.getString(1));
                }
            }
            try (ResultSet rows = statement.executeQuery("SELECT interaction_id, row_to_json(each) FROM (SELECT "
                    + String.join(", ", columns) + " FROM " + table + ") AS each")) {
                while (rows.next()) {
                    producer.send(new ProducerRecord<>(TOPIC, rows.getString(1), rows.getString(2)));
                }
            }
            producer.flush();
        } finally {
            connection.rollback();
            connection.setAutoCommit(true);
        }
    }

    private boolean isRunning(String name) throws IOException, InterruptedException {
        JsonObject status = new JsonObject(ask("GET", "/" + name + "/status", null));
        for (Object task : status.getJsonArray("tasks")) {
            if (((JsonObject) task).getString("state").equals("FAILED")) {
                throw new IllegalStateException(((JsonObject) task).getString("trace"));
            }
        }
        return !status.getJsonArray("tasks").isEmpty();
    }

    private static long count(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet count = statement.executeQuery("SELECT count(*) FROM " + TABLE)) {
            count.next();
            return count.getLong(1);
        }
    }

    private String ask(String method, String path, @Nullable JsonObject body) throws IOException, InterruptedException {
        HttpResponse<String> answer = client.send(
                HttpRequest.newBuilder(URI.create(url + path))
                        .header("Content-Type", "application/json")
                        .method(
                                method,
                                body == null
                                        ? HttpRequest.BodyPublishers.noBody()
                                        : HttpRequest.BodyPublishers.ofString(body.encode()))
                        .build(),
                HttpResponse.BodyHandlers.ofString(StandardCharsets.UTF_8));
        if (answer.statusCode() >= 300 && answer.statusCode() != 404) {
            throw new IOException(method + " " + path + ": " + answer.statusCode() + " " + answer.body());
        }
        return answer.statusCode() == 404 ? "{\"tasks\":[]}" : answer.body();
    }

    private interface Condition {
        boolean holds() throws Exception;
    }

    private void await(Duration atMost, Condition condition) throws Exception {
        long end = System.nanoTime() + atMost.toNanos();
        while (!condition.holds()) {
            if (!worker.isAlive() || System.nanoTime() > end) {
                throw new IllegalStateException("Kafka Connect does not get ready; it said:\n" + worker.output());
            }
            Thread.sleep(20);
        }
    }

    @Override
    public void close() {
        client.close();
        worker.close();
    }
}
