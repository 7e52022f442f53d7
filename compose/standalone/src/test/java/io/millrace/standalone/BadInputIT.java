package io.millrace.standalone;

import static io.millrace.standalone.Stack.await;
import static io.millrace.standalone.Stack.content;
import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import io.millrace.bench.stub.StubUpstream;
import io.millrace.id.Ids;
import io.millrace.log.ClientConfig;
import io.millrace.log.LogSettings;
import io.millrace.log.LogTable;
import io.millrace.log.Topic;
import io.millrace.log.Topics;
import io.millrace.schema.BackendStatus;
import io.millrace.schema.DeadLetter;
import io.millrace.schema.Tick;
import io.millrace.standalone.Stack.Trace;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.stream.Stream;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What clients and other writers may send that is wrong: told to the one, a dead letter for the other, and everything goes on. */
class BadInputIT {
    @TempDir
    static Path folder;

    private static StubUpstream local;
    private static Stack stack;

    @BeforeAll
    static void start() throws Exception {
        local = new StubUpstream("local", 8, 5).start(0);
        stack = new Stack(folder, """
                dispatch: {probe: 100ms}
                backends: {local: {kind: llama.cpp, deployments: [{name: local, url: "%s"}]}}
                """.formatted(local.url()), Map.of());
        stack.run("main", Roles.ALL);
    }

    @AfterAll
    static void stop() {
        stack.close();
        local.close();
    }

    /** A request that is refused, with the status and what its body must name. */
    private record Bad(String path, String body, int status, String names) {
        @Override
        public String toString() {
            return path + " " + body.substring(0, Math.min(200, body.length()));
        }
    }

    @Test
    void shouldNameTheFieldAndLeaveNoTraceWhenARequestIsWrong() throws Exception {
        String nobody = Ids.next();
        List<Bad> bad = List.of(
                new Bad("/query", "{\"query\":\"x\"", 400, "body"),
                new Bad("/query", "", 400, "body"),
                new Bad("/query", "[]", 400, "body"),
                new Bad("/query", "null", 400, "body"),
                new Bad("/query", "{\"query\":{}}", 400, "query"),
                new Bad("/query", "{\"query\":null}", 400, "query"),
                new Bad("/query", "{\"query\":\"\\u0000\\u200b\"}", 400, "query"),
                new Bad("/query", "{\"query\":\"" + "é".repeat(4_097) + "\"}", 400, "query"),
                new Bad("/query", "{\"query\":\"x\",\"limit\":-1}", 400, "limit"),
                new Bad("/query", "{\"query\":\"x\",\"limit\":1e400}", 400, "limit"),
                new Bad("/query", "{\"query\":\"x\",\"limit\":2.5}", 400, "limit"),
                new Bad("/query", "{\"query\":\"x\",\"max_tokens\":99999999999999999999}", 400, "max_tokens"),
                new Bad("/query", "{\"query\":\"x\",\"llm_timeout_s\":1e300}", 400, "llm_timeout_s"),
                new Bad("/query", "{\"query\":\"x\",\"score_threshold\":\"0.5\"}", 400, "score_threshold"),
                new Bad("/query", "{\"query\":\"x\",\"collections\":\"best-practices\"}", 400, "collections"),
                new Bad("/query", "{\"query\":\"x\",\"mode\":\"HYBRID\"}", 400, "mode"),
                new Bad("/query", "{\"query\":\"x\",\"model\":\"nobody\"}", 404, "model"),
                new Bad("/query", "{\"query\":\"x\",\"generate\":true}", 400, "generate"),
                new Bad("/query", "{\"query\":\"x\",\"force_local\":true,\"force_remote\":true}", 400, "force_remote"),
                new Bad("/query", "{\"query\":" + "[".repeat(20_000) + "]".repeat(20_000) + "}", 400, ""),
                new Bad("/route", "{\"prompt\":7}", 400, "prompt"),
                new Bad("/search", "{\"query\":\"x\",\"mode\":\"nope\"}", 400, "mode"),
                new Bad("/documents", "{\"content\":\"x\",\"collection\":\"Nope\"}", 400, "collection"),
                new Bad("/documents", "{\"content\":\"" + "x".repeat(51_201) + "\"}", 400, "content"),
                new Bad("/feedback/" + nobody, "{\"rating\":2}", 400, "rating"),
                new Bad("/feedback/" + nobody, "{}", 400, ""),
                new Bad("/feedback/x", "{\"rating\":1}", 400, "interaction_id"),
                new Bad(
                        "/v1/chat/completions",
                        "{\"model\":\"nope\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}",
                        404,
                        "model"),
                new Bad("/v1/chat/completions", "{\"model\":\"millrace\",\"messages\":{}}", 400, "messages"),
                new Bad(
                        "/v1/chat/completions",
                        "{\"model\":\"millrace\",\"messages\":[{\"role\":\"king\",\"content\":\"x\"}]}",
                        400,
                        "role"),
                new Bad(
                        "/v1/chat/completions",
                        "{\"model\":\"millrace\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"temperature\":\"hot\"}",
                        400,
                        "temperature"),
                new Bad(
                        "/v1/chat/completions",
                        "{\"model\":\"millrace\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"stream\":\"yes\"}",
                        400,
                        "stream"),
                new Bad("/query", "{\"query\":\"" + "x".repeat(17 << 20) + "\"}", 413, "body"),
                new Bad("/nowhere", "{}", 404, ""));
        List<Long> before = ends();
        String rows = stack.sql("SELECT count(*) FROM interactions");
        String ratings = stack.sql("SELECT count(*) FROM feedback");

        for (Bad each : bad) {
            HttpResponse<String> response = stack.post(each.path, each.body);

            assertThat(response.statusCode()).as(each + " → " + response.body()).isEqualTo(each.status);
            JsonNode json = Stack.JSON.readTree(response.body());
            assertThat(json.path("detail").asText() + json.at("/error/message").asText())
                    .as(each.toString())
                    .isNotEmpty();
            assertThat(response.body()).as(each.toString()).contains(each.names);
        }

        HttpResponse<String> latin =
                stack.post("/query", "{\"query\":\"Was heißt Mühle?\"}".getBytes(StandardCharsets.ISO_8859_1));
        assertThat(latin.statusCode()).isEqualTo(400);
        assertThat(latin.body()).contains("UTF-8");
        assertThat(stack.get("/interactions/" + nobody).statusCode()).isEqualTo(404);
        assertThat(stack.get("/interactions/nonsense").statusCode()).isEqualTo(400);
        assertThat(ends()).as("records on the log").isEqualTo(before);
        assertThat(stack.sql("SELECT count(*) FROM interactions")).isEqualTo(rows);
        assertThat(stack.sql("SELECT count(*) FROM feedback")).isEqualTo(ratings);
    }

    /** Records on the topics that a gateway writes to. */
    private static List<Long> ends() {
        return Stream.of(Topics.QUERIES, Topics.FEEDBACK, Topics.COMMANDS, Topics.RAW_API)
                .map(stack::end)
                .toList();
    }

    /** On every partition of every topic: no bytes, junk, an unknown schema, a cut record, another topic's record, no value. */
    @Test
    void shouldWriteDeadLettersAndGoOnWhenRecordsCannotBeDecoded() throws Exception {
        assertThat(stack.trace(stack.query("Before", "")).interaction().getOutcome())
                .isEqualTo("answered");
        byte[] tick =
                stack.log().codecs().of(Topics.TICKS).encode(Tick.newBuilder().build());
        List<byte[]> poison = new ArrayList<>(List.of(
                new byte[0],
                "junk".getBytes(StandardCharsets.UTF_8),
                new byte[] {0, 0x7f, 0, 0, 1, 1, 2, 3},
                Arrays.copyOf(tick, 5),
                tick));
        LogSettings settings = stack.log().settings();
        List<Future<?>> sent = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(ClientConfig.producer(settings))) {
            for (Topic<?> topic : Topics.all(List.of("local"))) {
                for (int partition = 0; partition < settings.partitions(topic); partition++) {
                    for (byte[] value : poison) {
                        // a tick on the ticks is none
                        if (!topic.equals(Topics.TICKS) || !Arrays.equals(value, tick)) {
                            sent.add(producer.send(new ProducerRecord<>(
                                    settings.name(topic),
                                    partition,
                                    "poison".getBytes(StandardCharsets.UTF_8),
                                    value)));
                        }
                    }
                    // the broker itself refuses a record without a key on a compacted topic
                    byte[] key = "poison".getBytes(StandardCharsets.UTF_8);
                    sent.add(producer.send(new ProducerRecord<>(
                            settings.name(topic), partition, topic.keep() == Topic.Keep.COMPACT ? key : null, null)));
                }
            }
            for (Future<?> each : sent) {
                each.get();
            }
        }

        HttpResponse<String> answered = stack.chat("millrace", "Still there?", "");
        assertThat(content(answered)).startsWith("local: ");
        Trace trace = stack.trace(answered);
        assertThat(trace.interaction().getOutcome()).isEqualTo("answered");
        assertThat(stack.post(
                                "/documents?wait=true",
                                "{\"content\":\"The brass key opens the tower.\",\"relative_path\":\"key.md\"}")
                        .statusCode())
                .isEqualTo(200);
        String id = trace.interaction().getInteractionId();
        assertThat(stack.post("/feedback/" + id, "{\"rating\":1}").statusCode()).isEqualTo(200);
        await(
                "the rating",
                () -> stack.sql("SELECT count(*) FROM feedback WHERE interaction_id = '" + id + "'")
                        .equals("1"));
        for (String read : List.of(
                "retrieval queries",
                "ledger queries",
                "routing retrievals",
                "ledger retrievals",
                "ledger decisions",
                "sink-postgres decisions",
                "dispatch-local dispatch.local",
                "dispatch-builtin dispatch.builtin",
                "routing completions",
                "ledger completions",
                "gateway-replies replies",
                "sink-postgres interactions",
                "sink-postgres feedback",
                "routing commands",
                "cancellations commands",
                "gateway-states backend-status",
                "normalizer raw.api",
                "passages documents",
                "sink-postgres documents",
                "index passages",
                "sink-postgres telemetry")) {
            await(
                    "a dead letter of " + read,
                    () -> stack.letters().stream()
                            .anyMatch(letter -> (letter.getStep() + " " + letter.getTopic()).equals(named(read))));
        }
        assertThat(stack.letters())
                .filteredOn(letter -> letter.getStep().equals("retrieval"))
                .extracting(DeadLetter::getRecordValue)
                .filteredOn(value -> value != null)
                .contains(java.nio.ByteBuffer.wrap(poison.get(1)));
        assertThat(stack.get("/health/ready").statusCode()).isEqualTo(200);
        assertThat(stack.get("/metrics").body()).contains("millrace_dead_letters_total{step=\"sink-postgres\"}");
        // what is none leaves nothing behind: every end has a row, and the other way round
        stack.awaitReconciled();
    }

    /** What reads a topic from its beginning at each start tells of what is bad in it once, and not at each start. */
    @Test
    void shouldBuryABadRecordOnceAndNotAtEachStart() throws Exception {
        byte[] key = "bad-once".getBytes(StandardCharsets.UTF_8);
        byte[] bad = {9, 9, 9};
        stack.log().producer().sendRaw(Topics.BACKEND_STATUS, key, bad);
        await("the gateway's", () -> letters("gateway-states", bad) == 1);

        try (LogTable<BackendStatus> again = new LogTable<>("again", Topics.BACKEND_STATUS, stack.log())) {
            again.start();
            await("read from the beginning", again::isReady);
            assertThat(again.all()).isNotEmpty();
            byte[] worse = {9, 9, 8};
            stack.log().producer().sendRaw(Topics.BACKEND_STATUS, key, worse);

            await("what came after its start", () -> letters("again", worse) == 1);
            assertThat(letters("again", bad)).isZero();
        }
    }

    private static long letters(String step, byte[] value) {
        return stack.letters().stream()
                .filter(letter -> letter.getStep().equals(step)
                        && java.nio.ByteBuffer.wrap(value).equals(letter.getRecordValue()))
                .count();
    }

    @ParameterizedTest
    @ValueSource(strings = {"01900000-0000-7000-8000-000000000000", "ffffffff-ffff-7fff-bfff-ffffffffffff"})
    void shouldTakeNoRatingOfWhatWasNeverAsked(String id) throws Exception {
        for (String path : List.of("/feedback/" + id, "/feedback")) {
            String body = path.equals("/feedback")
                    ? "{\"interaction_id\":\"" + id + "\",\"outcome\":\"success\"}"
                    : "{\"rating\":1}";

            HttpResponse<String> refused = stack.post(path, body);

            assertThat(refused.statusCode()).as(refused.body()).isEqualTo(404);
            assertThat(Stack.JSON.readTree(refused.body()).path("field").asText())
                    .isEqualTo("interaction_id");
        }
    }

    private static String named(String read) {
        return read.replace(" ", " " + stack.log().settings().prefix());
    }
}
