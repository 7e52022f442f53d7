package io.millrace.standalone;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import io.millrace.bench.stub.StubUpstream;
import io.millrace.config.ConfigLoader;
import io.millrace.config.ConfigLoader.Loaded;
import io.millrace.gateway.Gateway;
import io.millrace.log.ClientConfig;
import io.millrace.log.Codecs;
import io.millrace.log.HttpSchemaRegistry;
import io.millrace.log.Log;
import io.millrace.log.LogProducer;
import io.millrace.log.LogSettings;
import io.millrace.log.LogTail;
import io.millrace.log.Topic;
import io.millrace.log.Topics;
import io.millrace.schema.DeadLetter;
import io.millrace.schema.Decision;
import io.millrace.schema.Interaction;
import io.millrace.standalone.parts.LooseParts;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.awaitility.Awaitility;
import org.jspecify.annotations.Nullable;

/**
 * The running system in pieces: real parts that can be taken away one by one, services in groups that can be stopped alone, a client,
 * and a witness that reads what is committed on the log.
 */
final class Stack implements AutoCloseable {
    static final ObjectMapper JSON = new ObjectMapper();

    private final HttpClient http =
            HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private final LooseParts parts;
    private final Path folder;
    private final Deque<AutoCloseable> witnesses = new ArrayDeque<>();
    private final Map<String, Services> groups = new ConcurrentHashMap<>();
    private final ConcurrentMap<String, List<Interaction>> ends = new ConcurrentHashMap<>();
    private final ConcurrentMap<String, List<Decision>> decided = new ConcurrentHashMap<>();
    private final List<DeadLetter> letters = new CopyOnWriteArrayList<>();
    private final Log witness;
    private Loaded loaded;

    /** An interaction as the log and the store agree on it. */
    record Trace(Interaction interaction, List<Decision> decisions) {
        List<String> reasons() {
            return decisions.stream().map(Decision::getReason).toList();
        }

        List<String> routes() {
            return decisions.stream().map(Decision::getRoute).toList();
        }

        String failure() {
            return interaction.getFailure() == null
                    ? ""
                    : interaction.getFailure().getReason();
        }
    }

    /** Starts the parts; services are started with {@link #run}. */
    Stack(Path folder, String yaml, Map<String, String> environment) throws IOException {
        this.folder = folder;
        loaded = load(yaml, environment);
        parts = new LooseParts(folder.resolve("parts"));
        LogSettings settings = loaded.config().log(parts.endpoints().bootstrapServers());
        Codecs codecs = new Codecs(new HttpSchemaRegistry(parts.endpoints().registryUrl()), settings.prefix());
        LogProducer producer = new LogProducer(settings, codecs);
        witnesses.push(producer);
        witness = new Log(settings, codecs, producer, new SimpleMeterRegistry());
        Services.createTopics(loaded.config(), parts.endpoints());
        watch();
    }

    private void watch() {
        LogTail<Interaction> first =
                new LogTail<>("witness", Topics.INTERACTIONS, LogTail.From.BEGINNING, witness, record -> {
                    Interaction end = record.required();
                    ends.computeIfAbsent(record.key(), id -> new CopyOnWriteArrayList<>())
                            .add(end);
                });
        LogTail<Decision> second =
                new LogTail<>("witness", Topics.DECISIONS, LogTail.From.BEGINNING, witness, record -> {
                    Decision decision = record.required();
                    decided.computeIfAbsent(record.key(), id -> new CopyOnWriteArrayList<>())
                            .add(decision);
                });
        LogTail<DeadLetter> third = new LogTail<>(
                "witness",
                Topics.DEAD_LETTERS,
                LogTail.From.BEGINNING,
                witness,
                record -> letters.add(record.required()));
        witnesses.push(third.start());
        witnesses.push(first.start());
        witnesses.push(second.start());
    }

    private Loaded load(String yaml, Map<String, String> environment) throws IOException {
        Path config = Files.writeString(folder.resolve("millrace.yaml"), yaml);
        return ConfigLoader.load(Optional.of(config), environment, Map.of("listen.port", "0"));
    }

    /** Other settings for the groups that are started from now on. */
    void configure(String yaml, Map<String, String> environment) throws IOException {
        loaded = load(yaml, environment);
        Services.createTopics(loaded.config(), parts.endpoints());
    }

    /** As the start of an instance does that is the only one. */
    void dismissMembers() {
        Services.dismissMembers(loaded.config(), parts.endpoints());
    }

    Path configFile() {
        return folder.resolve("millrace.yaml");
    }

    LooseParts parts() {
        return parts;
    }

    Log log() {
        return witness;
    }

    /** All roles but these. */
    static Set<String> allBut(String... roles) {
        Set<String> rest = new TreeSet<>(Roles.ALL);
        rest.removeAll(Set.of(roles));
        return rest;
    }

    /** Starts services under a name, and waits until they are ready. */
    Services run(String name, Set<String> roles) {
        Services services = new Services(
                loaded.config(),
                parts.endpoints(),
                folder.resolve("processes").resolve(name),
                folder,
                roles,
                loaded::view,
                () -> parts.connect().running());
        groups.put(name, services);
        services.registerSchemas(loaded.config());
        services.start(line -> {});
        return services;
    }

    void stop(String name) {
        Optional.ofNullable(groups.remove(name)).ifPresent(Services::close);
    }

    boolean isRunning(String name) {
        return groups.containsKey(name);
    }

    Services group(String name) {
        return Objects.requireNonNull(groups.get(name), name);
    }

    String url() {
        return groups.values().stream()
                .flatMap(group -> group.gateway().stream())
                .map(Gateway::port)
                .map(port -> "http://127.0.0.1:" + port)
                .findFirst()
                .orElseThrow();
    }

    // ---- the client

    HttpResponse<String> chat(String model, String question, String extra) throws Exception {
        return post("/v1/chat/completions", chatBody(model, question, extra));
    }

    /** As {@link #chat}, and may be answered from the cache. */
    HttpResponse<String> cacheable(String body) throws Exception {
        return chat(body, Map.entry("x-millrace-cache", "true"));
    }

    HttpResponse<String> chat(String body, Map.Entry<String, String> header) throws Exception {
        return http.send(
                HttpRequest.newBuilder(request("/v1/chat/completions", body), (name, value) -> true)
                        .header(header.getKey(), header.getValue())
                        .build(),
                HttpResponse.BodyHandlers.ofString());
    }

    HttpResponse<String> cacheable(String model, String question, String extra) throws Exception {
        return cacheable(chatBody(model, question, extra));
    }

    /** What the caches keep is of no use from here on; Redis may take too long to say so at once. */
    void endCaches() {
        await(
                "the caches to be cleared",
                () -> http.send(
                                        HttpRequest.newBuilder(URI.create(url() + "/cache"))
                                                .DELETE()
                                                .build(),
                                        HttpResponse.BodyHandlers.ofString())
                                .statusCode()
                        == 200);
    }

    /** Says something of an answer. */
    void rate(HttpResponse<String> rated, String fields) throws Exception {
        HttpResponse<String> response = post("/feedback", "{\"interaction_id\":\"" + id(rated) + "\"," + fields + "}");
        if (response.statusCode() != 200) {
            throw new AssertionError(response.statusCode() + " " + response.body());
        }
    }

    /** As {@link #ofCaches(Path, StubUpstream, String)}; a machine that is busy with other things makes no miss of a hit. */
    static Stack ofCaches(Path folder, StubUpstream remote) throws Exception {
        return ofCaches(folder, remote, "5s");
    }

    /**
     * Two models at one remote backend, without retrieval: all that caches need.
     *
     * @param patience with Redis
     */
    static Stack ofCaches(Path folder, StubUpstream remote, String patience) throws Exception {
        return new Stack(folder, """
                routing: {deadline: 40s}
                cache: {timeout: %s}
                backends:
                  remote:
                    kind: openai
                    deployments: [{name: remote, url: "%s", model: big, timeout: 15s, input-price: 1, output-price: 2}]
                models:
                  plain: {retrieval: "off", add-context: false}
                  other: {retrieval: "off", add-context: false}
                """.formatted(patience, remote.url()), Map.of());
    }

    static String chatBody(String model, String question, String extra) {
        return "{\"model\":\"" + model + "\",\"messages\":[{\"role\":\"user\",\"content\":\"" + question + "\"}]"
                + extra + "}";
    }

    /** {@code /query} with an answer; {@code extra} begins with a comma. */
    HttpResponse<String> query(String question, String extra) throws Exception {
        return post("/query", "{\"query\":\"" + question + "\",\"generate_response\":true" + extra + "}");
    }

    HttpResponse<String> post(String path, String body) throws Exception {
        return http.send(request(path, body), HttpResponse.BodyHandlers.ofString());
    }

    HttpResponse<String> post(String path, byte[] body) throws Exception {
        return http.send(
                HttpRequest.newBuilder(request(path, ""), (name, value) -> true)
                        .POST(HttpRequest.BodyPublishers.ofByteArray(body))
                        .build(),
                HttpResponse.BodyHandlers.ofString());
    }

    CompletableFuture<HttpResponse<String>> later(String path, String body) {
        return http.sendAsync(request(path, body), HttpResponse.BodyHandlers.ofString());
    }

    /** A stream, line by line, as soon as its head is there. */
    HttpResponse<Stream<String>> stream(String model, String question) throws Exception {
        return http.send(
                request("/v1/chat/completions", chatBody(model, question, ",\"stream\":true")),
                HttpResponse.BodyHandlers.ofLines());
    }

    private HttpRequest request(String path, String body) {
        return HttpRequest.newBuilder(URI.create(url() + path))
                .timeout(Duration.ofSeconds(60))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build();
    }

    HttpResponse<String> get(String path) throws Exception {
        return http.send(
                HttpRequest.newBuilder(URI.create(url() + path))
                        .timeout(Duration.ofSeconds(30))
                        .build(),
                HttpResponse.BodyHandlers.ofString());
    }

    JsonNode json(String path) throws Exception {
        return JSON.readTree(get(path).body());
    }

    static String content(HttpResponse<String> response) throws IOException {
        return JSON.readTree(response.body()).at("/choices/0/message/content").asText();
    }

    /** The id that every accepted query's response names. */
    static String id(HttpResponse<String> response) {
        return response.headers()
                .firstValue("x-millrace-interaction-id")
                .orElseThrow(() -> new AssertionError("no id in " + response.statusCode() + " " + response.body()));
    }

    String status(String deployment) throws Exception {
        for (JsonNode backend : json("/status").path("backends")) {
            if (backend.path("deployment").asText().equals(deployment)) {
                return backend.path("status").asText();
            }
        }
        return "unknown";
    }

    // ---- the witness

    /** Records that were ever written to a topic, of all its partitions. */
    long end(Topic<?> topic) {
        LogSettings settings = witness.settings();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(ClientConfig.consumer(settings))) {
            return consumer
                    .endOffsets(IntStream.range(0, settings.partitions(topic))
                            .mapToObj(partition -> new TopicPartition(settings.name(topic), partition))
                            .toList())
                    .values()
                    .stream()
                    .mapToLong(Long::longValue)
                    .sum();
        }
    }

    Trace trace(HttpResponse<String> response) throws SQLException {
        return trace(id(response));
    }

    /**
     * What the log says of an interaction, once its end is committed there and its rows are in Postgres; fails when there is not
     * exactly one end in each, or when the two disagree.
     */
    Trace trace(String id) throws SQLException {
        await("the end of " + id + " on the log", () -> ends.containsKey(id));
        await(
                "the row of " + id,
                () -> sql("SELECT count(*) FROM interactions WHERE interaction_id = '" + id + "'")
                        .equals("1"));
        List<Interaction> ended = Objects.requireNonNull(ends.get(id));
        assertThat(ended).as("ends of %s", id).hasSize(1);
        Interaction interaction = ended.getFirst();
        assertThat(sql("SELECT outcome || '/' || reason || '/' || coalesce(failure_reason, '') FROM interactions"
                        + " WHERE interaction_id = '" + id + "'"))
                .isEqualTo(interaction.getOutcome() + "/" + interaction.getReason() + "/"
                        + (interaction.getFailure() == null
                                ? ""
                                : interaction.getFailure().getReason()));
        await(
                "decisions of " + id,
                () -> decisions(id).size() >= interaction.getAttempts().size());
        List<Decision> decisions = decisions(id);
        String reasons = decisions.stream()
                .map(Decision::getReason)
                .reduce((a, b) -> a + "," + b)
                .orElse("");
        await(
                "decision rows of " + id,
                () -> sql("SELECT coalesce(string_agg(reason, ',' ORDER BY attempt), '') FROM decisions"
                                + " WHERE interaction_id = '" + id + "'")
                        .equals(reasons));
        return new Trace(interaction, decisions);
    }

    /** In the order of attempts; a redelivery that repeats a decision counts once, one that changes it fails. */
    private List<Decision> decisions(String id) {
        Map<Integer, Decision> byAttempt = new java.util.TreeMap<>();
        for (Decision decision : decided.getOrDefault(id, List.of())) {
            Decision before = byAttempt.put(decision.getAttempt(), decision);
            assertThat(before == null || before.equals(decision))
                    .as("two decisions for attempt %d of %s", decision.getAttempt(), id)
                    .isTrue();
        }
        return List.copyOf(byAttempt.values());
    }

    /** Ends on the log so far, by interaction. */
    Map<String, List<Interaction>> ends() {
        return Map.copyOf(ends);
    }

    /** Dead letters so far. */
    List<DeadLetter> letters() {
        return List.copyOf(letters);
    }

    /** Waits until Postgres holds a row for each end on the log, and no other. */
    void awaitReconciled() {
        await("rows = terminal events", () -> {
            List<String> twice = new ArrayList<>();
            ends.forEach((id, list) -> {
                if (list.size() > 1) {
                    twice.add(id);
                }
            });
            assertThat(twice).isEmpty();
            return sql("SELECT count(*) FROM interactions").equals(String.valueOf(ends.size()));
        });
    }

    String sql(String select) throws SQLException {
        var at = parts.endpoints();
        try (var connection = DriverManager.getConnection(at.jdbcUrl(), at.user(), at.password());
                var rows = connection.createStatement().executeQuery(select)) {
            return rows.next() ? String.valueOf(rows.getString(1)) : "";
        }
    }

    static void await(String what, Callable<Boolean> condition) {
        Awaitility.await(what)
                .atMost(Duration.ofSeconds(25))
                .pollInterval(Duration.ofMillis(50))
                .ignoreExceptions()
                .until(condition);
    }

    @Override
    public void close() {
        groups.keySet().stream().sorted().toList().forEach(this::stop);
        while (!witnesses.isEmpty()) {
            close(witnesses.pop());
        }
        http.close();
        parts.close();
    }

    private static void close(@Nullable AutoCloseable closeable) {
        try {
            if (closeable != null) {
                closeable.close();
            }
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }
}
