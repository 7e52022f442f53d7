package io.millrace.routers.dispatch;

import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.id.Ids;
import io.millrace.routers.dispatch.Claims.Claim;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.time.Duration;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import redis.embedded.RedisServer;

class ClaimsTest {
    private final String id = Ids.next();

    @Test
    void shouldGiveAnAttemptToOneWorkerOnly() throws Exception {
        int port = freePort();
        RedisServer server = server(port);
        server.start();
        try (Claims one = new Claims("redis://127.0.0.1:" + port);
                Claims two = new Claims("redis://127.0.0.1:" + port)) {
            awaitConnected(one);
            awaitConnected(two);
            assertThat(one.claim(id, 1, "one", Optional.empty())).isEqualTo(Claim.MINE);
            assertThat(two.claim(id, 1, "two", Optional.empty())).isEqualTo(Claim.TAKEN);
            // a redelivery to the same worker is a second call too
            assertThat(one.claim(id, 1, "one", Optional.empty())).isEqualTo(Claim.TAKEN);
            assertThat(two.claim(id, 2, "two", Optional.empty())).isEqualTo(Claim.MINE);
        } finally {
            server.stop();
        }
    }

    @Test
    void shouldSayUnknownAtOnceAndClaimAgainWhenRedisWasAway() throws Exception {
        int port = freePort();
        RedisServer server = server(port);
        try (Claims claims = new Claims("redis://127.0.0.1:" + port)) {
            long began = System.nanoTime();
            assertThat(claims.claim(id, 1, "one", Optional.empty())).isEqualTo(Claim.UNKNOWN);
            assertThat(claims.claim(id, 1, "one", Optional.empty())).isEqualTo(Claim.UNKNOWN);
            assertThat(Duration.ofNanos(System.nanoTime() - began)).isLessThan(Duration.ofSeconds(20));

            server.start();
            awaitConnected(claims);
        } finally {
            server.stop();
        }
    }

    /** Each time another attempt: one whose answer came too late is claimed all the same. */
    private static void awaitConnected(Claims claims) {
        org.awaitility.Awaitility.await()
                .atMost(Duration.ofSeconds(60))
                .until(() -> claims.claim(Ids.next(), 1, "one", Optional.empty()) == Claim.MINE);
    }

    private static RedisServer server(int port) throws IOException {
        return RedisServer.newRedisServer()
                .port(port)
                .bind("127.0.0.1")
                // what it would leave in the temporary folder
                .setting("save \"\"")
                .build();
    }

    private static int freePort() throws IOException {
        try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            return socket.getLocalPort();
        }
    }
}
