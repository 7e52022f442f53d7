package io.millrace.log;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.sun.net.httpserver.HttpServer;
import io.millrace.log.SchemaRegistry.IncompatibleSchemaException;
import io.millrace.log.SchemaRegistry.RegistryUnavailableException;
import io.millrace.schema.Tick;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Base64;
import java.util.List;
import java.util.Optional;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.Semaphore;
import java.util.stream.IntStream;
import org.apache.avro.Schema;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What a registry may answer, and what that says of a record: a good one must never become a dead letter. */
class HttpSchemaRegistryTest {
    private record Reply(int status, String body) {}

    /** What it answers next; the last one for ever. */
    private final Queue<Reply> replies = new ArrayDeque<>();

    private final Queue<String> asked = new ConcurrentLinkedQueue<>();
    private final Queue<String> authorizations = new ConcurrentLinkedQueue<>();
    private final Semaphore mayAnswer = new Semaphore(0);
    private HttpServer server = listening();
    private HttpSchemaRegistry registry = new HttpSchemaRegistry("http://127.0.0.1:1");

    private static HttpServer listening() {
        try {
            return HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        } catch (IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
    }

    @BeforeEach
    void start() {
        server.createContext("/", exchange -> {
            asked.add(exchange.getRequestMethod() + " " + exchange.getRequestURI());
            Optional.ofNullable(exchange.getRequestHeaders().getFirst("Authorization"))
                    .ifPresent(authorizations::add);
            mayAnswer.acquireUninterruptibly();
            Reply reply = replies.size() > 1 ? replies.remove() : replies.element();
            byte[] body = reply.body().getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(reply.status(), body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        mayAnswer.release(1_000);
        server.start();
        registry =
                new HttpSchemaRegistry("http://127.0.0.1:" + server.getAddress().getPort());
    }

    @AfterEach
    void stop() {
        server.stop(0);
    }

    private static Reply schema(Schema schema) {
        return new Reply(200, "{\"schema\":\"" + schema.toString().replace("\"", "\\\"") + "\"}");
    }

    @Test
    void shouldTryAgainWhenItIsAwayAndRememberWhatItSaid() {
        Schema tick = Tick.getClassSchema();
        replies.addAll(List.of(new Reply(503, "later"), new Reply(500, "later"), schema(tick)));
        assertThat(registry.byId(7)).isEqualTo(tick);
        assertThat(asked).hasSize(3).allMatch("GET /schemas/ids/7"::equals);
        assertThat(registry.byId(7)).isEqualTo(tick);
        assertThat(asked).hasSize(3);

        replies.clear();
        replies.add(new Reply(200, "{\"id\":9}"));
        assertThat(registry.register("ticks-value", tick)).isEqualTo(9);
        assertThat(registry.register("ticks-value", tick)).isEqualTo(9);
        assertThat(registry.byId(9)).isEqualTo(tick);
        assertThat(asked).hasSize(4).last().isEqualTo("POST /subjects/ticks-value/versions");
    }

    @ParameterizedTest
    @ValueSource(ints = {200, 403})
    void shouldAskOnceWhenManyWantTheSame(int status) throws Exception {
        mayAnswer.drainPermits();
        Schema tick = Tick.getClassSchema();
        replies.add(status == 200 ? schema(tick) : new Reply(status, "no"));
        List<Future<Schema>> many;
        CountDownLatch begun = new CountDownLatch(200);
        try (ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor()) {
            many = IntStream.range(0, 200)
                    .mapToObj(i -> threads.submit(() -> {
                        begun.countDown();
                        return registry.byId(7);
                    }))
                    .toList();
            begun.await();
            // from there to the question it is a microsecond
            Thread.sleep(300);
            mayAnswer.release(1_000);
        }

        assertThat(asked).hasSize(1);
        for (Future<Schema> one : many) {
            if (status == 200) {
                assertThat(one.get()).isEqualTo(tick);
            } else {
                assertThatThrownBy(one::get).hasCauseInstanceOf(RegistryUnavailableException.class);
            }
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {401, 403, 407, 408, 429, 500, 503})
    void shouldBlameTheRegistryWhenItRefusesEverybody(int status) {
        replies.add(new Reply(status, "no"));

        assertThatThrownBy(() -> registry.byId(7))
                .isInstanceOf(RegistryUnavailableException.class)
                .hasMessageContaining(String.valueOf(status));
    }

    @Test
    void shouldBlameTheRegistryWhenAProxyAnswers() {
        replies.add(new Reply(200, "<html>log in</html>"));

        assertThatThrownBy(() -> registry.byId(7)).isInstanceOf(RegistryUnavailableException.class);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {"404 {}", "400 {}", "200 {\"schema\":\"syntax = \\\"proto3\\\";\",\"schemaType\":\"PROTOBUF\"}"})
    void shouldBlameTheRecordWhenItsIdIsNone(String reply) {
        replies.add(new Reply(Integer.parseInt(reply.substring(0, 3)), reply.substring(4)));

        assertThatThrownBy(() -> registry.byId(7)).isInstanceOf(UndecodableException.class);
        assertThat(asked).hasSize(1);
    }

    @ParameterizedTest
    @CsvSource({
        "mill:s3cret, mill:s3cret",
        "m%40ill:p%3A%2F%40+%25, m@ill:p:/@+%",
        "only, only:",
    })
    void shouldAuthenticateWithWhatTheUrlHoldsAndNeverShowIt(String user, String meant) {
        HttpSchemaRegistry authenticated = new HttpSchemaRegistry(
                "http://" + user + "@127.0.0.1:" + server.getAddress().getPort() + "/api");
        replies.addAll(List.of(schema(Tick.getClassSchema()), new Reply(200, "{\"id\":9}"), new Reply(401, "who?")));

        authenticated.byId(7);
        authenticated.register("ticks-value", Tick.getClassSchema());

        assertThat(asked).containsExactly("GET /api/schemas/ids/7", "POST /api/subjects/ticks-value/versions");
        String basic = "Basic " + Base64.getEncoder().encodeToString(meant.getBytes(StandardCharsets.UTF_8));
        assertThat(authorizations).containsExactly(basic, basic);
        assertThatThrownBy(() -> authenticated.byId(8))
                .isInstanceOf(RegistryUnavailableException.class)
                .hasMessageContaining("HTTP 401 (registry.user and registry.password-env say who asks): who?")
                .hasMessageNotContainingAny(user, meant);
        server.stop(0);
        assertThatThrownBy(() -> authenticated.byId(10))
                .isInstanceOf(RegistryUnavailableException.class)
                .hasMessageContaining("does not answer")
                .hasMessageNotContainingAny(user, meant);
    }

    @Test
    void shouldSayWhyWhenASchemaIsRefused() {
        replies.add(new Reply(409, "a field is gone"));

        assertThatThrownBy(() -> registry.register("ticks-value", Tick.getClassSchema()))
                .isInstanceOf(IncompatibleSchemaException.class)
                .hasMessageContaining("ticks-value", "a field is gone");
    }
}
