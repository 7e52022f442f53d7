package io.millrace.routers.retrieval;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import io.lettuce.core.RedisClient;
import io.millrace.id.Ids;
import io.millrace.log.Codecs;
import io.millrace.log.InMemorySchemaRegistry;
import io.millrace.log.Topics;
import io.millrace.routers.retrieval.Sessions.Turn;
import io.millrace.schema.Envelope;
import io.millrace.schema.Query;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import redis.embedded.RedisServer;

class SessionsTest {
    private static RedisServer redis;
    private static String url;

    private long clock = 1_000;

    @BeforeAll
    static void start() throws IOException {
        // a codec vouches for our records to Avro
        new Codecs(new InMemorySchemaRegistry(), "").of(Topics.QUERIES);
        int port = freePort();
        redis = RedisServer.newRedisServer()
                .port(port)
                .bind("127.0.0.1")
                // what it would leave in the temporary folder
                .setting("save \"\"")
                .build();
        redis.start();
        url = "redis://127.0.0.1:" + port;
    }

    @AfterAll
    static void stop() throws IOException {
        redis.stop();
    }

    /** The first of a process loads its client in the time that a command may take. */
    private Sessions connected() {
        return connected(Duration.ZERO);
    }

    private Sessions connected(Duration patience) {
        Sessions sessions = new Sessions(url, patience);
        await().atMost(Duration.ofSeconds(60))
                .until(() -> sessions.open(query(Ids.next(), "x")).known());
        return sessions;
    }

    private Query query(String session, String text) {
        return Query.newBuilder()
                .setEnvelope(Envelope.newBuilder().setOccurredAt(clock++).build())
                .setInteractionId(Ids.next())
                .setApi("context")
                .setSessionId(session)
                .setText(text)
                .build();
    }

    @Test
    void shouldCountTurnsAndRememberWhatWasAskedAndSent() {
        String session = Ids.next();
        try (Sessions sessions = connected()) {
            Query first = query(session, "How do I roll back?");
            assertThat(sessions.open(first)).isEqualTo(new Turn(1, Optional.empty(), Set.of(), true));
            sessions.sent(first, List.of("a", "b"), 12);

            Turn second = sessions.open(query(session, "and then?"));

            assertThat(second.turn()).isEqualTo(2);
            assertThat(second.before()).hasValue("How do I roll back?");
            assertThat(second.sent()).containsExactlyInAnyOrder("a", "b");
            // of another session, or of nobody's, nothing is known
            assertThat(sessions.open(query(Ids.next(), "and then?")).turn()).isEqualTo(1);
            assertThat(sessions.open(query("", "and then?"))).isEqualTo(Turn.NONE);
        }
    }

    @Test
    void shouldSeeTheSameTurnWhenAQueryIsProcessedTwice() {
        String session = Ids.next();
        try (Sessions sessions = connected()) {
            Query first = query(session, "one");
            Query second = query(session, "two");
            sessions.open(first);
            sessions.sent(first, List.of("a"), 12);
            Turn seen = sessions.open(second);
            sessions.sent(second, List.of("b"), 12);
            sessions.open(query(session, "three"));

            assertThat(sessions.open(second)).isEqualTo(seen);
            assertThat(seen.sent()).containsExactly("a");
        }
    }

    @Test
    void shouldKeepPrincipalsApart() {
        String session = Ids.next();
        try (Sessions sessions = connected()) {
            sessions.open(query(session, "one"));
            Query other = query(session, "two");
            Query foreign = Query.newBuilder(other)
                    .setEnvelope(Envelope.newBuilder(other.getEnvelope())
                            .setPrincipal("somebody else")
                            .build())
                    .build();

            assertThat(sessions.open(foreign).turn()).isEqualTo(1);
            assertThat(sessions.open(foreign).before()).isEmpty();
        }
    }

    @Test
    void shouldNotKeepTheTextOfAQueryThatIsNotStored() {
        String session = Ids.next();
        try (Sessions sessions = connected()) {
            sessions.open(
                    Query.newBuilder(query(session, "secret")).setStore(false).build());

            Turn second = sessions.open(query(session, "and?"));

            assertThat(second.turn()).isEqualTo(2);
            assertThat(second.before()).isEmpty();
        }
    }

    @Test
    void shouldForgetOldTextsAndNotTheCount() {
        String session = Ids.next();
        try (Sessions sessions = connected()) {
            List<Query> queries = IntStream.range(0, 60)
                    .mapToObj(i -> query(session, "question " + i))
                    .toList();
            queries.forEach(sessions::open);

            assertThat(sessions.open(query(session, "last")).turn()).isEqualTo(61);
            // asked again long after, its predecessor's text is gone
            assertThat(sessions.open(queries.get(10)).before()).isEmpty();
            assertThat(sessions.open(queries.get(59)).before()).hasValue("question 58");
        }
    }

    @Test
    void shouldWaitForASlowRedisAsLongAsItIsTold() {
        RedisClient client = RedisClient.create(url);
        try (Sessions sessions = connected(Duration.ofSeconds(30));
                var connection = client.connect()) {
            connection.sync().clientPause(1_000);

            assertThat(sessions.open(query("s-slow", "x")).known()).isTrue();
        } finally {
            client.shutdown();
        }
    }

    @Test
    void shouldGoOnWithoutASessionWhenRedisDoesNotAnswer() throws IOException {
        // what connects is accepted by the machine, and nobody reads it: without a rest after each miss this takes half
        // a minute
        try (ServerSocket silent = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
                Sessions sessions = new Sessions("redis://127.0.0.1:" + silent.getLocalPort(), Duration.ZERO)) {
            long began = System.nanoTime();
            for (int i = 0; i < 50; i++) {
                assertThat(sessions.open(query("s", "x"))).isEqualTo(Turn.UNKNOWN);
                sessions.sent(query("s", "x"), List.of("a"), 12);
            }
            assertThat(Duration.ofNanos(System.nanoTime() - began)).isLessThan(Duration.ofSeconds(15));
        }
    }

    private static int freePort() throws IOException {
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            return socket.getLocalPort();
        }
    }
}
