package io.millrace.sinks.upkeep;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.millrace.sinks.testing.TestPostgres;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** A database that says nothing: GET /documents and POST /gc waited for it for ever, and their threads with them. */
@Timeout(30)
class PostgresServerTest {
    private static final Duration SOON = Duration.ofSeconds(6);

    /** As a frozen one: the kernel takes the connection, and nobody reads from it. */
    @Test
    void shouldNotWaitForALoginThatIsNotAnswered() throws IOException {
        try (ServerSocket silent = new ServerSocket(0, 50, InetAddress.getLoopbackAddress())) {
            String url = "jdbc:postgresql://127.0.0.1:" + silent.getLocalPort() + "/none";
            long started = System.nanoTime();

            assertThatThrownBy(() -> new DocumentList(url, "nobody", "").of("", "", 10, 0))
                    .isInstanceOf(SQLException.class);
            assertThatThrownBy(() -> new PostgresServer(url, "nobody", "").connect(600))
                    .isInstanceOf(SQLException.class);

            assertThat(since(started)).isLessThan(SOON.multipliedBy(2));
        }
    }

    @Test
    void shouldNotWaitForAServerThatIsFrozenWhileItIsAsked() throws SQLException, IOException, InterruptedException {
        try (Connection connection = server().connect(1);
                Statement statement = connection.createStatement()) {
            String pid = first(statement, "SELECT pg_backend_pid()");
            signal("STOP", pid);
            try {
                long started = System.nanoTime();
                assertThatThrownBy(() -> statement.execute("SELECT 1")).isInstanceOf(SQLException.class);
                assertThat(since(started)).isLessThan(SOON);
            } finally {
                signal("CONT", pid);
            }
        }
    }

    @Test
    void shouldHaveTheServerEndWhatTakesTooLong() throws SQLException {
        int tries = 3;
        // the client gives up a second later: a machine that stands still for so long has it first
        while (!isEndedByTheServer() && --tries > 0) {}
        assertThat(tries).isPositive();
    }

    private static boolean isEndedByTheServer() throws SQLException {
        try (Connection connection = server().connect(1);
                Statement statement = connection.createStatement()) {
            SQLException end = catchThrowableOfType(SQLException.class, () -> statement.execute("SELECT pg_sleep(20)"));
            if (!"57014".equals(end.getSQLState())) {
                return false;
            }
            return first(statement, "SELECT 1").equals("1");
        }
    }

    private static PostgresServer server() {
        return new PostgresServer(TestPostgres.database().url(), TestPostgres.USER, TestPostgres.PASSWORD);
    }

    private static String first(Statement statement, String sql) throws SQLException {
        try (ResultSet rows = statement.executeQuery(sql)) {
            rows.next();
            return rows.getString(1);
        }
    }

    private static Duration since(long started) {
        return Duration.ofNanos(System.nanoTime() - started);
    }

    private static void signal(String name, String pid) throws IOException, InterruptedException {
        assertThat(new ProcessBuilder("kill", "-" + name, pid).start().waitFor())
                .isZero();
    }
}
