package io.millrace.standalone.parts;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.awaitility.Awaitility.await;

import io.lettuce.core.RedisClient;
import io.millrace.config.MillraceConfig;
import io.millrace.log.HttpSchemaRegistry;
import io.millrace.log.LogSettings;
import io.millrace.log.Topic;
import io.millrace.log.TopicAdmin;
import io.millrace.log.Topics;
import io.millrace.standalone.Millrace;
import io.millrace.standalone.error.UserException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.apache.avro.Schema;
import org.apache.avro.SchemaBuilder;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.config.TopicConfig;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The life of the embedded parts: first start, restart, murder of the parent, of a child and of the watchdogs. */
class PartsIT {
    private static final MillraceConfig CONFIG = MillraceConfig.defaults();

    @TempDir
    private Path temporary;

    @Test
    void shouldKeepDataAndPortsWhenRestartedAndWhenTheParentIsKilled() throws Exception {
        Path folder = temporary.resolve("a folder with spaces");
        Endpoints first;
        int id;
        Process parent = parent(folder);
        try {
            first = awaitEndpoints(folder, parent);
            execute(first, "CREATE TABLE kept AS SELECT 42 AS answer");
            id = new HttpSchemaRegistry(first.registryUrl())
                    .register("kept-value", SchemaBuilder.builder().stringType());
            assertThat(topics(first)).contains("millrace.queries", "millrace.dispatch.builtin");
            Map<String, ProcessHandle> children = children(folder);
            assertThat(children).containsOnlyKeys("postgres", "redis", "registry");

            // kill -9: the kernel closes the pipes, the watchdogs end the children
            parent.destroyForcibly().waitFor();
            children.forEach(
                    (name, child) -> await(name).atMost(Duration.ofSeconds(30)).until(() -> !child.isAlive()));
        } finally {
            parent.destroyForcibly();
        }

        try (DataFolder data = DataFolder.open(folder, 1L << 20);
                Parts parts = started(data)) {
            assertThat(parts.endpoints()).isEqualTo(first);
            assertThat(answer(first)).isEqualTo(42);
            assertThat(new HttpSchemaRegistry(first.registryUrl())
                            .byId(id)
                            .getType()
                            .getName())
                    .isEqualTo("string");
            assertThat(topics(first)).contains("millrace.queries");
            assertThat(Files.getPosixFilePermissions(folder)).hasSize(3);
            assertThat(Files.getPosixFilePermissions(folder.resolve("secrets/postgres")))
                    .hasSize(2);
            shouldRefuseASecondInstance(folder);
            shouldStartADeadChildAgain(folder, first);
        }
        assertThat(children(folder)).isEmpty();
    }

    private static void shouldRefuseASecondInstance(Path folder) throws Exception {
        String holder = String.valueOf(ProcessHandle.current().pid());
        assertThatThrownBy(() -> DataFolder.open(folder, 1L << 20))
                .isInstanceOf(UserException.class)
                .hasMessageContaining("pid " + holder)
                .hasMessageContaining("since 20");

        Process second = parent(folder);
        assertThat(second.waitFor(60, TimeUnit.SECONDS)).isTrue();
        assertThat(second.exitValue()).isEqualTo(1);
        String said = new String(second.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(said.strip().lines()).singleElement().asString().contains("pid " + holder);
    }

    private static void shouldStartADeadChildAgain(Path folder, Endpoints endpoints) throws Exception {
        ProcessHandle redis = requireNonNull(children(folder).get("redis"));
        try (RedisClient client = RedisClient.create(endpoints.redisUrl());
                var connection = client.connect()) {
            connection.sync().set("k", "v");
            redis.destroyForcibly();
            await().atMost(Duration.ofSeconds(30))
                    .ignoreExceptions()
                    .until(() -> "PONG".equals(connection.sync().ping())
                            && !redis.equals(children(folder).get("redis")));
        }
    }

    @Test
    void shouldReapWhatSurvivedItsWatchdogWhenStartedAgain() throws Exception {
        Path folder = temporary.resolve("data");
        Process parent = parent(folder);
        Map<String, ProcessHandle> orphans;
        Endpoints first;
        try {
            first = awaitEndpoints(folder, parent);
            execute(first, "CREATE TABLE kept AS SELECT 42 AS answer");
            orphans = children(folder);
            List<ProcessHandle> shells = parent.children().toList();
            assertThat(shells).hasSize(3);
            List<ProcessHandle> watchers = shells.stream()
                    .flatMap(ProcessHandle::children)
                    .filter(h -> !orphans.containsValue(h))
                    .toList();
            assertThat(watchers).hasSize(3);
            watchers.forEach(ProcessHandle::destroyForcibly);
            shells.forEach(ProcessHandle::destroyForcibly);
            parent.destroyForcibly().waitFor();
        } finally {
            parent.destroyForcibly();
        }
        assertThat(orphans.values()).isNotEmpty().allMatch(ProcessHandle::isAlive);

        try (DataFolder data = DataFolder.open(folder, 1L << 20);
                Parts parts = started(data)) {
            assertThat(orphans.values()).noneMatch(ProcessHandle::isAlive);
            assertThat(answer(parts.endpoints())).isEqualTo(42);
        }
    }

    /** What a full disk or a power cut leaves of small files. */
    @Test
    void shouldStartWithItsDataWhenSmallFilesAreDamaged() throws Exception {
        Path folder = temporary.resolve("data");
        try (DataFolder data = DataFolder.open(folder, 1L << 20);
                Parts parts = started(data)) {
            execute(parts.endpoints(), "CREATE TABLE kept AS SELECT 42 AS answer");
            new TopicAdmin(CONFIG.log(parts.endpoints().bootstrapServers())).createAndVerify(List.of(Topics.QUERIES));
            shouldSayWhichTopicIsLaidOutOtherwise(parts.endpoints());
        }
        byte[] garbage = {'p', 'i', 'd', '=', 'z', '\n', '\\', 'u', 0, (byte) 0xff};
        Files.write(folder.resolve("ports.properties"), garbage);
        Files.write(folder.resolve("children/redis"), garbage);
        Files.write(folder.resolve("run.json"), garbage);
        Files.write(folder.resolve("redis/dump.rdb"), garbage);
        Files.write(folder.resolve("postgres/data/postmaster.pid"), garbage);
        Files.write(folder.resolve("kafka/meta.properties"), garbage);
        List<String> remarks = new ArrayList<>();

        try (DataFolder data = DataFolder.open(folder, 1L << 20);
                Parts parts = new Parts(data, CONFIG, remarks::add)) {
            parts.start(() -> {});
            assertThat(answer(parts.endpoints())).isEqualTo(42);
            assertThat(topics(parts.endpoints())).contains("millrace.queries");
            assertThat(remarks).singleElement().asString().contains("Redis", "dump.rdb", "starts empty");
        }

        Files.write(folder.resolve("secrets/postgres"), new byte[0]);
        try (DataFolder data = DataFolder.open(folder, 1L << 20)) {
            Parts parts = new Parts(data, CONFIG, remark -> {});
            assertThatThrownBy(() -> parts.start(() -> {}))
                    .isInstanceOf(UserException.class)
                    .hasMessageContaining("secrets/postgres")
                    .hasMessageContaining("put that file back");
        }
    }

    /** As the owner of a cluster may have laid out what Millrace finds there. */
    private static void shouldSayWhichTopicIsLaidOutOtherwise(Endpoints endpoints) throws Exception {
        LogSettings log = CONFIG.log(endpoints.bootstrapServers());
        // somebody else's, as far as this knows
        TopicAdmin topics = new TopicAdmin(
                new LogSettings(log.bootstrapServers(), log.prefix(), log.partitions(), log.replication()));
        List<Topic<?>> both = List.of(Topics.DECISIONS, Topics.PASSAGES);
        assertThat(topics.createAndVerify(both)).isEmpty();
        assertThat(topics.createAndVerify(both)).isEmpty();

        alter(log, Topics.DECISIONS, TopicConfig.RETENTION_MS_CONFIG, "3600000");
        alter(log, Topics.DECISIONS, TopicConfig.RETENTION_BYTES_CONFIG, "7000000");
        alter(log, Topics.PASSAGES, TopicConfig.MAX_MESSAGE_BYTES_CONFIG, "1048588");
        assertThat(topics.createAndVerify(both))
                .hasSize(3)
                .anyMatch(line -> line.contains("millrace.decisions")
                        && line.contains("keeps records for 1h (retention.ms), and retention.long is 400d"))
                .anyMatch(line -> line.contains("millrace.decisions") && line.contains("7000000 bytes"))
                .anyMatch(line -> line.contains("millrace.passages") && line.contains("1048588 bytes"));

        shouldGiveTopicsThatAreThereTheRetentionThatIsSet(log);

        alter(log, Topics.PASSAGES, TopicConfig.CLEANUP_POLICY_CONFIG, "compact,delete");
        assertThatThrownBy(() -> topics.createAndVerify(both))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("millrace.passages has cleanup.policy")
                .hasMessageContaining("needs compact");
        assertThatThrownBy(() -> new TopicAdmin(new LogSettings(log.bootstrapServers(), log.prefix(), 7, (short) 1))
                        .createAndVerify(both))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("needs 7", "kafka.partitions");
    }

    private static void shouldGiveTopicsThatAreThereTheRetentionThatIsSet(LogSettings ours) throws Exception {
        List<Topic<?>> three = List.of(Topics.DECISIONS, Topics.QUERIES, Topics.PASSAGES);
        LogSettings.Retention chosen = new LogSettings.Retention(
                Duration.ofHours(1), Duration.ofDays(3), LogSettings.Retention.DEFAULT.lasting(), false);
        LogSettings theirs =
                new LogSettings(ours.bootstrapServers(), ours.prefix(), ours.partitions(), ours.replication(), chosen);

        // queries are 7 d, and 3 d were chosen; decisions have 1 h, and nobody chose
        assertThat(new TopicAdmin(theirs).createAndVerify(three))
                .anyMatch(line -> line.contains("millrace.queries kept records for 7d and keeps them for 3d from now on"
                        + " (retention.days): older ones are deleted"))
                .anyMatch(line -> line.contains("millrace.decisions keeps records for 1h"));
        assertThat(retention(ours, Topics.QUERIES)).isEqualTo("259200000");
        assertThat(retention(ours, Topics.DECISIONS)).isEqualTo("3600000");

        // on a broker of our own all is as it is set
        assertThat(new TopicAdmin(ours).createAndVerify(three))
                .anyMatch(line -> line.endsWith(
                        "millrace.queries kept records for 3d and keeps them for 7d from now on" + " (retention.days)"))
                .anyMatch(line -> line.endsWith(
                        "millrace.decisions kept records for 1h and keeps them for 400d from now on (retention.long)"));
        assertThat(retention(ours, Topics.QUERIES)).isEqualTo("604800000");
        assertThat(retention(ours, Topics.DECISIONS)).isEqualTo("34560000000");
        assertThat(new TopicAdmin(ours).createAndVerify(three)).noneMatch(line -> line.contains("kept"));
    }

    private static String retention(LogSettings log, Topic<?> topic) throws Exception {
        try (Admin admin = Admin.create(
                Map.<String, Object>of(AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, log.bootstrapServers()))) {
            ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, log.name(topic));
            return Objects.requireNonNull(
                            admin.describeConfigs(List.of(resource)).all().get().get(resource))
                    .get(TopicConfig.RETENTION_MS_CONFIG)
                    .value();
        }
    }

    private static void alter(LogSettings log, Topic<?> topic, String name, String value) throws Exception {
        try (Admin admin = Admin.create(
                Map.<String, Object>of(AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, log.bootstrapServers()))) {
            admin.incrementalAlterConfigs(Map.of(
                            new ConfigResource(ConfigResource.Type.TOPIC, log.name(topic)),
                            List.of(new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.SET))))
                    .all()
                    .get();
        }
    }

    /** Records name their schema by the id, which the registry keeps in the database. */
    @Test
    void shouldGiveSchemasTheirIdsAgainWhenTheDatabaseWasLost() throws Exception {
        Path folder = temporary.resolve("data");
        List<Topic<?>> topics = List.of(Topics.QUERIES, Topics.INTERACTIONS, Topics.COMMANDS);
        Map<Integer, Schema> ids = new java.util.TreeMap<>();
        try (DataFolder data = DataFolder.open(folder, 1L << 20);
                Parts parts = started(data)) {
            HttpSchemaRegistry registry =
                    new HttpSchemaRegistry(parts.endpoints().registryUrl());
            // not in the order that the catalog has
            for (Topic<?> topic : topics.reversed()) {
                ids.put(registry.register(topic.subject("millrace."), topic.schema()), topic.schema());
            }
            SchemaBook.note(data, registry, "millrace.", topics);
        }
        assertThat(ids).hasSize(3);
        try (DataFolder data = DataFolder.open(folder, 1L << 20)) {
            data.delete("postgres");
        }

        try (DataFolder data = DataFolder.open(folder, 1L << 20);
                Parts parts = started(data)) {
            HttpSchemaRegistry registry =
                    new HttpSchemaRegistry(parts.endpoints().registryUrl());
            ids.forEach((id, schema) -> assertThat(registry.byId(id)).isEqualTo(schema));
            for (Topic<?> topic : topics) {
                assertThat(ids.get(registry.register(topic.subject("millrace."), topic.schema())))
                        .isEqualTo(topic.schema());
            }
        }
    }

    @Test
    void shouldNotTouchAProcessWhenOnlyThePidIsAsRecorded() throws Exception {
        Process bystander = new ProcessBuilder("sleep", "60").start();
        try (DataFolder data = DataFolder.open(temporary.resolve("data"), 1L << 20)) {
            Properties record = new Properties();
            record.setProperty("pid", String.valueOf(bystander.pid()));
            record.setProperty("started", String.valueOf(System.currentTimeMillis() - 60_000));
            data.folder("children");
            data.store("children/postgres", record);

            assertThat(Child.reap(data)).isEmpty();
            assertThat(bystander.isAlive()).isTrue();
            assertThat(temporary.resolve("data/children/postgres")).doesNotExist();
        } finally {
            bystander.destroyForcibly();
        }
    }

    @Test
    void shouldSayWhatIsWrongInOneLineWhenTheFolderCannotBeUsed() throws IOException {
        Path file = Files.writeString(temporary.resolve("file"), "x");
        assertThatThrownBy(() -> DataFolder.open(file, 1L << 20))
                .isInstanceOf(UserException.class)
                .hasMessageContaining(file + " cannot be used")
                .hasMessageContaining("not a folder");
    }

    private static Parts started(DataFolder data) {
        Parts parts = new Parts(data, CONFIG, remark -> {});
        parts.start(() -> {});
        return parts;
    }

    /** {@code millrace parts} in a JVM of its own. */
    private static Process parent(Path folder) throws IOException {
        List<String> command = new ArrayList<>(Millrace.command());
        command.addAll(List.of("parts", "--data", folder.toString()));
        return new ProcessBuilder(command).redirectErrorStream(true).start();
    }

    private static Endpoints awaitEndpoints(Path folder, Process parent) {
        await("endpoints.json").atMost(Duration.ofMinutes(2)).until(() -> {
            assertThat(parent.isAlive()).isTrue();
            return Files.exists(folder.resolve(Endpoints.FILE));
        });
        return Endpoints.of(CONFIG, folder);
    }

    /** The recorded children that live. */
    private static Map<String, ProcessHandle> children(Path folder) throws IOException {
        Map<String, ProcessHandle> children = new java.util.TreeMap<>();
        try (Stream<Path> files = Files.list(folder.resolve("children"))) {
            for (Path file : files.filter(f -> f.toString().endsWith(".pid")).toList()) {
                String name = String.valueOf(file.getFileName());
                ProcessHandle.of(Long.parseLong(Files.readString(file).strip()))
                        .filter(ProcessHandle::isAlive)
                        .ifPresent(handle -> children.put(name.substring(0, name.length() - 4), handle));
            }
        }
        return children;
    }

    private static Connection connect(Endpoints endpoints) throws SQLException {
        return DriverManager.getConnection(endpoints.jdbcUrl(), endpoints.user(), endpoints.password());
    }

    private static void execute(Endpoints endpoints, String sql) throws SQLException {
        try (Connection connection = connect(endpoints);
                Statement statement = connection.createStatement()) {
            statement.execute(sql);
        }
    }

    private static int answer(Endpoints endpoints) throws SQLException {
        try (Connection connection = connect(endpoints);
                Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery("SELECT answer FROM kept")) {
            assertThat(rows.next()).isTrue();
            return rows.getInt(1);
        }
    }

    private static Set<String> topics(Endpoints endpoints) throws Exception {

        try (Admin admin = Admin.create(Map.of("bootstrap.servers", endpoints.bootstrapServers()))) {
            return admin.listTopics().names().get(10, TimeUnit.SECONDS);
        }
    }
}
