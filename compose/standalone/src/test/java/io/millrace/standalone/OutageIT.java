package io.millrace.standalone;

import static io.millrace.standalone.Stack.await;
import static io.millrace.standalone.Stack.content;
import static io.millrace.standalone.Stack.id;
import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import io.millrace.bench.stub.StubUpstream;
import io.millrace.bench.stub.StubUpstream.Mode;
import io.millrace.config.ConfigLoader;
import io.millrace.id.Ids;
import io.millrace.log.ClientConfig;
import io.millrace.log.LogSettings;
import io.millrace.log.Topics;
import io.millrace.standalone.Stack.Trace;
import io.millrace.standalone.parts.Endpoints;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.config.TopicConfig;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.MethodOrderer;
import org.junit.jupiter.api.Order;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestMethodOrder;
import org.junit.jupiter.api.io.TempDir;

/**
 * What happens while a part is away, and that everything catches up when it is back: at the client, on the log and in Postgres. The
 * parts are real and really stopped.
 */
@TestMethodOrder(MethodOrderer.OrderAnnotation.class)
class OutageIT {
    private static final int ROOM = 2 + 10;

    @TempDir
    static Path folder;

    private static StubUpstream local;
    private static StubUpstream remote;
    private static Stack stack;

    @BeforeAll
    static void start() throws Exception {
        local = new StubUpstream("local", 8, 5).start(0);
        remote = new StubUpstream("remote", 8, 5).start(0);
        stack = new Stack(folder, """
                routing: {deadline: 50s, lease-timeout: 5s}
                retrieval: {timeout: 20s}
                dispatch: {probe: 100ms, breaker-failures: 100, queue: 10}
                backends:
                  local:
                    kind: llama.cpp
                    deployments: [{name: local, url: "%s", timeout: 60s, concurrency: 2}]
                  remote:
                    kind: openai
                    deployments: [{name: remote, url: "%s", model: big, timeout: 60s, input-price: 1, output-price: 2}]
                models:
                  plain: {retrieval: "off", add-context: false}
                  plain-local: {backend: local, retrieval: "off", add-context: false}
                  plain-remote: {backend: remote, retrieval: "off", add-context: false}
                  private: {retrieval: "off", add-context: false, local-only: true}
                """.formatted(local.url(), remote.url()), Map.of());
        stack.run("main", Stack.allBut("dispatch"));
        stack.run("dispatch", Set.of("dispatch"));
        HttpResponse<String> added = stack.post("/documents?wait=true", """
                {"content":"# The gate keeper\\n\\nThe keeper of the blue gate is called Ottokar Wendelin.",
                 "relative_path":"gate.md"}""");
        assertThat(added.statusCode()).as(added.body()).isEqualTo(200);
    }

    @AfterAll
    static void stop() {
        stack.close();
        local.close();
        remote.close();
    }

    @BeforeEach
    void wellAgain() {
        local.reset();
        remote.reset();
        await(
                "healthy backends",
                () -> stack.status("local").equals("healthy")
                        && stack.status("remote").equals("healthy"));
    }

    @Test
    @Order(1)
    void shouldAnswerUnclaimedAndUncachedWhenRedisIsDown() throws Exception {
        stack.parts().redis().stop();
        try {
            assertThat(stack.chat(
                                    Stack.chatBody("plain-local", "Once, please", ""),
                                    Map.entry("Idempotency-Key", "while-redis-is-away"))
                            .statusCode())
                    .isEqualTo(200);
            // who keeps keys there has noticed, and nobody asks with a key again
            await(
                    "the gateway says so",
                    () -> !stack.json("/health/detailed")
                            .at("/services/gateway/details/redis")
                            .isMissingNode());
            HttpResponse<String> response = stack.query("Who keeps the blue gate?", ",\"force_remote\":true");

            assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
            assertThat(response.body()).contains("remote: ").contains("gate.md");
            Trace trace = stack.trace(response);
            assertThat(trace.interaction().getOutcome()).isEqualTo("answered");
            assertThat(trace.interaction().getDegraded()).containsExactly("redis");
            assertThat(trace.decisions().getFirst().getInputs().getDegraded()).containsExactly("redis");
            // the evidence is all there: Redis holds nothing that retrieval needs
            assertThat(trace.interaction().getContextScore()).isGreaterThan(0.3);
            assertThat(stack.sql("SELECT record -> 'degraded' ->> 0 FROM interactions WHERE interaction_id = '"
                            + id(response) + "'"))
                    .isEqualTo("redis");
            assertThat(stack.group("dispatch")
                            .log()
                            .metrics()
                            .get("millrace.dispatch.unclaimed")
                            .counter()
                            .count())
                    .isEqualTo(1);
            JsonNode health = stack.json("/health/detailed");
            assertThat(health.path("status").asText()).isEqualTo("degraded");
            assertThat(health.at("/services/retrieval/details/redis").asText()).startsWith("down");
            assertThat(health.at("/reachable/redis").asBoolean(true)).isFalse();
        } finally {
            stack.parts().redis().start();
        }

        await(
                "healthy, though nobody asks for anything",
                () -> stack.json("/health/detailed").path("status").asText().equals("healthy"));
        await("claims and the cache are used again", () -> {
            HttpResponse<String> response = stack.query("Who keeps the blue gate?", ",\"force_remote\":true");
            return stack.trace(response).interaction().getDegraded().isEmpty();
        });
        await("claimed again: claims rest a second after they failed", () -> {
            double unclaimed = unclaimed();
            stack.trace(stack.chat("plain-remote", "Claimed again?", ""));
            return unclaimed() == unclaimed;
        });
    }

    private static double unclaimed() {
        return stack.group("dispatch")
                .log()
                .metrics()
                .get("millrace.dispatch.unclaimed")
                .counter()
                .count();
    }

    /** A process that starts while the database is away ended after a minute, and its gateway with it. */
    @Test
    @Order(2)
    void shouldStartAndAnswerWhenPostgresIsNotThere() throws Exception {
        Endpoints at = stack.parts().endpoints();
        Endpoints without = new Endpoints(
                at.bootstrapServers(),
                at.registryUrl(),
                "jdbc:postgresql://127.0.0.1:1/none",
                at.user(),
                at.password(),
                at.redisUrl());
        List<String> said = new ArrayList<>();
        try (Services late = new Services(
                ConfigLoader.load(Optional.of(stack.configFile()), Map.of(), Map.of("listen.port", "0"))
                        .config(),
                without,
                folder.resolve("processes/late"),
                folder,
                Set.of("gateway", "postgres-sink"),
                Map::of,
                () -> URI.create("http://127.0.0.1:1"))) {
            late.start(said::add);

            assertThat(said)
                    .singleElement()
                    .asString()
                    .startsWith("not ready yet, going on without: sink-postgres")
                    .contains("waiting for PostgreSQL");
            assertThat(late.gateway().orElseThrow().probe().get(30, TimeUnit.SECONDS))
                    .isNotEmpty();
        }
    }

    @Test
    @Order(2)
    void shouldAnswerAndLoseNoRowWhenPostgresIsDown() throws Exception {
        List<String> ids = new ArrayList<>();
        stack.parts().postgres().stop();
        try {
            for (int i = 0; i < 20; i++) {
                HttpResponse<String> response = stack.chat("plain-local", "Without a database " + i, "");
                assertThat(response.statusCode()).isEqualTo(200);
                ids.add(id(response));
            }
            HttpResponse<String> rated = stack.post("/feedback/" + ids.getFirst(), "{\"rating\":-1}");
            assertThat(rated.statusCode()).isEqualTo(200);

            HttpResponse<String> asked = stack.get("/interactions/" + ids.getFirst());
            assertThat(asked.statusCode()).isEqualTo(503);
            assertThat(asked.headers().firstValue("Retry-After")).isPresent();
            await(
                    "the ends are on the log meanwhile",
                    () -> stack.ends().keySet().containsAll(ids));
            JsonNode health = stack.json("/health/detailed");
            assertThat(health.path("status").asText()).isEqualTo("degraded");
            assertThat(health.at("/services/gateway/details/postgres").asText()).startsWith("down");
            assertThat(health.at("/services/sink-postgres/details/postgres").asText())
                    .isNotEmpty();
            assertThat(health.at("/reachable/postgres").asBoolean(true)).isFalse();
            // it catches up from the log: no reason to send queries elsewhere
            assertThat(stack.get("/health/ready").statusCode()).isEqualTo(200);
            assertThat(stack.get("/metrics").body().lines())
                    .filteredOn(line -> line.startsWith("millrace_projection_lag_seconds{"))
                    .anyMatch(line -> line.contains("\"index\""))
                    .anyMatch(line -> line.contains("\"archive\""))
                    .anyMatch(line -> line.contains("\"postgres\"") && !line.endsWith(" 0.0"));
        } finally {
            stack.parts().postgres().start();
        }

        for (String id : ids) {
            assertThat(stack.trace(id).interaction().getOutcome()).isEqualTo("answered");
        }
        await(
                "the rating",
                () -> stack.sql("SELECT rating FROM feedback WHERE interaction_id = '" + ids.getFirst() + "'")
                        .equals("-1"));
        await(
                "it can be asked for again",
                () -> stack.get("/interactions/" + ids.getFirst()).statusCode() == 200);
        stack.awaitReconciled();
        await(
                "healthy",
                () -> stack.json("/health/detailed").path("status").asText().equals("healthy"));
    }

    /** The sink waits for a lock as it would for a slow disk, and everybody can read: what is answered meanwhile is on the log and not in Postgres. */
    @Test
    @Order(2)
    void shouldAskForARatingAgainWhileTheProjectionIsBehindAndThenSayWhatIsUnknown() throws Exception {
        // of before two deadlines; those of now are taken in any case
        Duration open = Duration.ofSeconds(100);
        var at = stack.parts().endpoints();
        try (Connection lock = DriverManager.getConnection(at.jdbcUrl(), at.user(), at.password());
                Statement statement = lock.createStatement()) {
            lock.setAutoCommit(false);
            statement.execute("LOCK TABLE sink_offsets IN EXCLUSIVE MODE");
            String unprojected = id(stack.chat("plain-local", "Behind a lock", ""));
            await("its end is on the log", () -> stack.ends().containsKey(unprojected));
            String unknown = Ids.first(System.currentTimeMillis() - open.toMillis());

            HttpResponse<String> behind = stack.post("/feedback/" + unknown, "{\"rating\":1}");

            assertThat(behind.statusCode()).as(behind.body()).isEqualTo(503);
            assertThat(behind.headers().firstValue("Retry-After")).hasValue("1");
            lock.rollback();
            await(
                    "the projection",
                    () -> stack.get("/interactions/" + unprojected).statusCode() == 200);
            await(
                    "nobody knows it",
                    () -> stack.post("/feedback/" + unknown, "{\"rating\":1}").statusCode() == 404);
        }
    }

    @Test
    @Order(3)
    void shouldGoOnWithKnownIdsWhenTheRegistryIsDown() throws Exception {
        stack.parts().registry().stop();
        try {
            HttpResponse<String> response = stack.query("Who keeps the blue gate?", ",\"force_local\":true");

            assertThat(response.statusCode()).isEqualTo(200);
            Trace trace = stack.trace(response);
            assertThat(trace.interaction().getOutcome()).isEqualTo("answered");
            assertThat(trace.reasons()).containsExactly("forced_local");
            assertThat(stack.post(
                                    "/documents?wait=true",
                                    "{\"content\":\"The oak door is green.\",\"relative_path\":\"door.md\"}")
                            .statusCode())
                    .isEqualTo(200);
            assertThat(stack.json("/health/detailed").at("/reachable/registry").asBoolean(true))
                    .isFalse();
        } finally {
            stack.parts().registry().start();
        }
    }

    @Test
    @Order(4)
    void shouldRefuseOrGoRemoteWhenLocalIsDown() throws Exception {
        int port = java.net.URI.create(local.url()).getPort();
        local.close();
        try {
            await("local is seen to be down", () -> stack.status("local").equals("unhealthy"));

            HttpResponse<String> forced = stack.chat("plain-local", "Local or nothing", "");
            assertThat(forced.statusCode()).isEqualTo(503);
            assertThat(forced.headers().firstValue("Retry-After")).isPresent();
            assertThat(Stack.JSON.readTree(forced.body()).at("/error/code").asText())
                    .isEqualTo("local_unhealthy");
            Trace refused = stack.trace(forced);
            assertThat(refused.routes()).containsExactly("reject");
            assertThat(refused.interaction().getOutcome()).isEqualTo("failed");
            assertThat(refused.failure()).isEqualTo("local_unhealthy");

            // may not leave: refused rather than sent away
            HttpResponse<String> secret = stack.chat("private", "This stays here", "");
            assertThat(secret.statusCode()).isEqualTo(503);
            assertThat(stack.trace(secret).reasons()).containsExactly("local_unhealthy");
            HttpResponse<String> denied = stack.query("This stays here", ",\"local_only\":true,\"force_remote\":true");
            assertThat(denied.statusCode()).isEqualTo(403);
            Trace kept = stack.trace(denied);
            assertThat(kept.reasons()).containsExactly("egress_denied");
            assertThat(kept.failure()).isEqualTo("egress_denied");
            assertThat(remote.asked()).isZero();

            HttpResponse<String> free = stack.chat("plain", "Anybody", "");
            assertThat(content(free)).startsWith("remote: ");
            assertThat(stack.trace(free).reasons()).containsExactly("local_unhealthy");
        } finally {
            local = new StubUpstream("local", 8, 5).start(port);
        }
        await("local is back", () -> stack.status("local").equals("healthy"));
        assertThat(content(stack.chat("plain-local", "Back again", ""))).startsWith("local: ");
    }

    @Test
    @Order(5)
    void shouldStayLocalOrSayUnreachableWhenRemoteIsDown() throws Exception {
        int port = java.net.URI.create(remote.url()).getPort();
        remote.close();
        try {
            await("remote is seen to be down", () -> stack.status("remote").equals("unhealthy"));

            // remote would be the choice: it is preferred
            HttpResponse<String> free = stack.query("Anybody", ",\"model\":\"plain\",\"prefer_local\":false");
            assertThat(free.body()).contains("local: ");
            assertThat(stack.trace(free).routes()).containsExactly("local");

            HttpResponse<String> forced = stack.chat("plain-remote", "Remote or nothing", "");
            assertThat(forced.statusCode()).isEqualTo(502);
            Trace trace = stack.trace(forced);
            assertThat(trace.reasons()).containsExactly("forced_remote", "backend_unreachable");
            assertThat(trace.failure()).isEqualTo("backend_unreachable");
        } finally {
            remote = new StubUpstream("remote", 8, 5).start(port);
        }
    }

    @Test
    @Order(6)
    void shouldFailTypedAtTheDeadlineWhenABackendHangs() throws Exception {
        local.mode(Mode.HANG);
        long began = System.nanoTime();

        HttpResponse<String> response = stack.query("Are you there?", ",\"force_local\":true,\"llm_timeout_s\":5");

        assertThat(Duration.ofNanos(System.nanoTime() - began)).isLessThan(Duration.ofSeconds(20));
        assertThat(response.statusCode()).isEqualTo(504);
        assertThat(Stack.JSON.readTree(response.body()).path("code").asText()).isEqualTo("deadline_exceeded");
        Trace trace = stack.trace(response);
        assertThat(trace.interaction().getOutcome()).isEqualTo("failed");
        assertThat(trace.failure()).isEqualTo("deadline_exceeded");
        await("the upstream call is given up", () -> local.aborted() == 1);
    }

    @Test
    @Order(7)
    void shouldRefuseWithRetryAfterWhenTheQueueIsFullWhileTheModelLoads() throws Exception {
        local.mode(Mode.LOADING);
        await("loading", () -> stack.status("local").equals("loading"));
        List<CompletableFuture<HttpResponse<String>>> asked = new ArrayList<>();
        for (int i = 0; i < ROOM + 8; i++) {
            asked.add(stack.later("/v1/chat/completions", Stack.chatBody("plain-local", "Wait for me " + i, "")));
        }
        await(
                "eight are refused",
                () -> asked.stream().filter(CompletableFuture::isDone).count() == 8);

        for (CompletableFuture<HttpResponse<String>> refused :
                asked.stream().filter(CompletableFuture::isDone).toList()) {
            HttpResponse<String> response = refused.join();
            assertThat(response.statusCode()).isEqualTo(503);
            assertThat(response.headers().firstValue("Retry-After")).hasValue("5");
            Trace trace = stack.trace(response);
            assertThat(trace.reasons()).containsExactly("forced_local", "overloaded");
            assertThat(trace.failure()).isEqualTo("overloaded");
        }
        local.mode(Mode.OK);
        int answered = 0;
        for (CompletableFuture<HttpResponse<String>> each : asked) {
            HttpResponse<String> response = each.join();
            answered += response.statusCode() == 200 ? 1 : 0;
            assertThat(stack.trace(response).interaction().getOutcome())
                    .isEqualTo(response.statusCode() == 200 ? "answered" : "failed");
        }
        assertThat(answered).isEqualTo(ROOM);
    }

    /** Stopped and not killed: when it comes to itself again, it must not end a second time what was ended without it. */
    @Test
    @Order(8)
    void shouldDecideTheNextAttemptWhenAWorkerFallsSilent() throws Exception {
        int port = java.net.URI.create(local.url()).getPort();
        local.close();
        // streams for 5 min: longer than any machine is slow here
        local = new StubUpstream("local", 15_000, 20).start(port);
        stack.stop("dispatch");
        Process worker = Millrace.start(
                folder,
                "worker",
                Map.of(),
                "service",
                "dispatch",
                "--data",
                folder.resolve("parts").toString(),
                "--config",
                stack.configFile().toString());
        try {
            await("the worker is ready", () -> Millrace.said(folder, "worker").contains("ready"));
            local.mode(Mode.HANG);
            CompletableFuture<HttpResponse<String>> whole =
                    stack.later("/v1/chat/completions", Stack.chatBody("plain", "Is anybody at work?", ""));
            await("it is at work", () -> local.asked() == 1);
            local.mode(Mode.OK);
            HttpResponse<Stream<String>> stream = stack.stream("plain", "Tell me a long story");
            Iterator<String> frames = stream.body()
                    .filter(line -> line.startsWith("data: "))
                    .map(line -> line.substring(6))
                    .iterator();
            assertThat(frames.next()).contains("local: 0 ");
            signal("STOP", worker);
            stack.run("dispatch", Set.of("dispatch"));

            HttpResponse<String> response = whole.join();
            List<String> rest = new ArrayList<>();
            frames.forEachRemaining(rest::add);

            assertThat(content(response)).startsWith("remote: ");
            Trace trace = stack.trace(response);
            assertThat(trace.reasons()).containsExactly("confidence_unknown", "fallback_remote");
            assertThat(trace.interaction().getAttempts().getFirst().getEnd()).isEqualTo("lost");
            assertThat(trace.interaction().getAttempts().getFirst().getFailure().getReason())
                    .isEqualTo("worker_lost");
            // a part of the answer had left: no second attempt, a typed error in its stream
            assertThat(Stack.JSON.readTree(rest.getLast()).at("/error/code").asText())
                    .isEqualTo("worker_lost");
            String cut =
                    stream.headers().firstValue("x-millrace-interaction-id").orElseThrow();
            Trace broken = stack.trace(cut);
            assertThat(broken.reasons()).containsExactly("confidence_unknown", "content_sent");
            assertThat(broken.failure()).isEqualTo("worker_lost");

            int ends = stack.ends().size();
            signal("CONT", worker);
            await("it gives up what it held", () -> local.aborted() == 2);
            assertThat(stack.trace(response).interaction().getRoute()).isEqualTo("remote");
            assertThat(stack.trace(cut).failure()).isEqualTo("worker_lost");
            assertThat(stack.ends()).hasSize(ends);
        } finally {
            worker.destroyForcibly().waitFor();
            if (!stack.isRunning("dispatch")) {
                stack.run("dispatch", Set.of("dispatch"));
            }
        }
        assertThat(content(stack.chat("plain-local", "Good again", ""))).startsWith("local: ");
    }

    private static void signal(String signal, Process process) throws IOException, InterruptedException {
        int code = new ProcessBuilder("/bin/kill", "-" + signal, String.valueOf(process.pid()))
                .start()
                .waitFor();
        assertThat(code).isZero();
    }

    @Test
    @Order(9)
    void shouldRefuseAndLoseNothingAcceptedWhenTheBrokerIsAway() throws Exception {
        local.mode(Mode.HANG);
        CompletableFuture<HttpResponse<String>> accepted =
                stack.later("/v1/chat/completions", Stack.chatBody("plain", "Accepted before", ""));
        await("it is at work", () -> local.asked() == 1);
        stack.parts().broker().stop();
        try {
            long began = System.nanoTime();
            HttpResponse<String> response = stack.chat("plain-local", "Not accepted", "");
            assertThat(Duration.ofNanos(System.nanoTime() - began)).isLessThan(Duration.ofSeconds(20));
            assertThat(response.statusCode()).isEqualTo(503);
            assertThat(response.headers().firstValue("Retry-After")).isPresent();
            assertThat(stack.json("/health/detailed").at("/reachable/kafka").asBoolean(true))
                    .isFalse();
        } finally {
            local.mode(Mode.OK);
            stack.parts().broker().start();
        }

        HttpResponse<String> response = accepted.join();
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        assertThat(stack.trace(response).interaction().getOutcome()).isEqualTo("answered");
        await("answers again", () -> stack.chat("plain-local", "Back", "").statusCode() == 200);
        HttpResponse<String> query = stack.query("Who keeps the blue gate?", ",\"force_local\":true");
        assertThat(stack.trace(query).interaction().getContextScore()).isGreaterThan(0.3);
        stack.awaitReconciled();
        await("ready", () -> stack.get("/health/ready").statusCode() == 200);
    }

    /** The record with the evidence is too large for the topic, and the one without is not. */
    @Test
    @Order(10)
    void shouldGoOnWithoutEvidenceWhenTheLogDoesNotTakeIt() throws Exception {
        long letters = retrievalLetters();
        largestRetrieval(OptionalInt.of(1_400));
        try {
            HttpResponse<String> response = stack.query("Who keeps the blue gate?", "");

            assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
            Trace trace = stack.trace(response);
            assertThat(trace.interaction().getDegraded()).containsExactly("retrieval");
            assertThat(trace.interaction().getContextScore()).isNull();
            assertThat(trace.decisions().getFirst().getInputs().getDegraded()).containsExactly("retrieval");
            assertThat(trace.reasons()).containsExactly("confidence_unknown");
            assertThat(stack.sql("SELECT record -> 'degraded' ->> 0 FROM interactions WHERE interaction_id = '"
                            + id(response) + "'"))
                    .isEqualTo("retrieval");
            JsonNode health = stack.json("/health/detailed");
            assertThat(health.path("status").asText()).isEqualTo("degraded");
            assertThat(health.at("/services/retrieval/details/retrieval").asText())
                    .contains("RecordTooLarge");
        } finally {
            largestRetrieval(OptionalInt.empty());
        }

        await("the evidence is back", () -> {
            HttpResponse<String> response = stack.query("Who keeps the blue gate?", "");
            return stack.trace(response).interaction().getDegraded().isEmpty();
        });
        await(
                "healthy",
                () -> stack.json("/health/detailed").path("status").asText().equals("healthy"));
        assertThat(retrievalLetters()).isEqualTo(letters);
    }

    private static long retrievalLetters() {
        return stack.letters().stream()
                .filter(letter -> letter.getStep().equals("retrieval"))
                .count();
    }

    /** Empty for what it was. */
    private static void largestRetrieval(OptionalInt bytes) throws Exception {
        LogSettings settings = stack.log().settings();
        ConfigResource topic = new ConfigResource(ConfigResource.Type.TOPIC, settings.name(Topics.RETRIEVALS));
        AlterConfigOp change = new AlterConfigOp(
                new ConfigEntry(
                        TopicConfig.MAX_MESSAGE_BYTES_CONFIG,
                        String.valueOf(bytes.orElse(ClientConfig.MAX_RECORD_BYTES))),
                AlterConfigOp.OpType.SET);
        try (Admin admin = Admin.create(
                Map.<String, Object>of(AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, settings.bootstrapServers()))) {
            admin.incrementalAlterConfigs(Map.of(topic, List.of(change))).all().get();
        }
    }

    /** A member that is gone is in its group until its session ends; work on partitions that only it reads would wait for that. */
    @Test
    @Order(11)
    void shouldHaveEveryWorkerTakeFromAllPartitions() throws Exception {
        LogSettings settings = stack.log().settings();
        String group = settings.group("dispatch-local");
        String topic = settings.name(Topics.dispatch("local"));
        try (Admin admin = Admin.create(ClientConfig.admin(settings.bootstrapServers()))) {
            Set<TopicPartition> all = admin.describeTopics(List.of(topic)).allTopicNames().get().values().stream()
                    .flatMap(described -> described.partitions().stream())
                    .map(partition -> new TopicPartition(topic, partition.partition()))
                    .collect(Collectors.toSet());
            assertThat(all).hasSizeGreaterThan(1);

            stack.run("second dispatch", Set.of("dispatch"));
            try {
                await(
                        "two workers with all partitions each",
                        () -> admin.describeShareGroups(List.of(group)).all().get().values().stream()
                                .flatMap(described -> described.members().stream())
                                .map(member -> member.assignment().topicPartitions())
                                .toList()
                                .equals(List.of(all, all)));
            } finally {
                stack.stop("second dispatch");
            }
        }
        assertThat(content(stack.chat("plain-local", "Good again", ""))).startsWith("local: ");
    }

    /** Last, since an index that is closed stays closed until its process starts again. */
    @Test
    @Order(12)
    void shouldGoOnWithoutEvidenceWhenTheIndexIsBroken() throws Exception {
        stack.group("main").searcher().orElseThrow().index().close();

        HttpResponse<String> response = stack.query("Who keeps the blue gate?", "");

        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        Trace trace = stack.trace(response);
        assertThat(trace.interaction().getDegraded()).containsExactly("index");
        // unknown, and not 0: a 0 would send everything away
        assertThat(trace.interaction().getContextScore()).isNull();
        assertThat(trace.decisions().getFirst().getConfidence()).isNull();
        assertThat(trace.reasons()).containsExactly("confidence_unknown");
        assertThat(stack.sql("SELECT coalesce(context_score::text, 'unknown') FROM interactions"
                        + " WHERE interaction_id = '" + id(response) + "'"))
                .isEqualTo("unknown");
        assertThat(stack.post("/search", "{\"query\":\"gate\"}").statusCode()).isEqualTo(503);
        JsonNode health = stack.json("/health/detailed");
        assertThat(health.path("status").asText()).isEqualTo("degraded");
        assertThat(health.at("/services/retrieval/details/index").asText()).isNotEmpty();

        stack.stop("main");
        stack.run("main", Stack.allBut("dispatch"));
        await(
                "the evidence is back",
                () -> stack.query("Who keeps the blue gate?", "").body().contains("gate.md"));
    }
}
