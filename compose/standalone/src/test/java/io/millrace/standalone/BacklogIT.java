package io.millrace.standalone;

import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.config.ConfigLoader;
import io.millrace.config.ConfigLoader.Loaded;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
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
import java.util.Optional;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A start where Postgres has much to take first: it does not wait for that, and nothing is lost of it. */
class BacklogIT {
    private static final Loaded CONFIG = ConfigLoader.load(Optional.empty(), Map.of(), Map.of("listen.port", "0"));
    private static final HttpClient HTTP = HttpClient.newHttpClient();
    private static final int QUERIES = 3;

    /** Rows wait while the gate has one, over a restart too. */
    private static final String GATE = """
            CREATE TABLE gate (closed int);
            INSERT INTO gate VALUES (1);
            CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                WHILE EXISTS (SELECT 1 FROM gate) LOOP PERFORM pg_sleep(0.05); END LOOP;
                RETURN NULL;
            END $$;
            CREATE TRIGGER gate BEFORE INSERT ON interactions FOR EACH STATEMENT EXECUTE FUNCTION wait_at_gate()
            """;

    @TempDir
    private Path folder;

    @Test
    void shouldServeWhilePostgresCatchesUpAndSaySo() throws Exception {
        List<String> asked = new ArrayList<>();
        try (Standalone standalone = start(new ArrayList<>())) {
            sql(standalone, GATE);
            for (int i = 0; i < QUERIES; i++) {
                asked.add(ask(standalone));
            }
        }

        List<String> said = new ArrayList<>();
        try (Standalone standalone = start(said)) {
            assertThat(said)
                    .anySatisfy(
                            line -> assertThat(line)
                                    .matches(
                                            ".*a query went through the log to its answer; Postgres is catching up, [0-9]+ records behind"));
            asked.add(ask(standalone));
            assertThat(rows(standalone, asked)).isZero();

            sql(standalone, "DELETE FROM gate");

            Awaitility.await("all that was asked")
                    .atMost(Duration.ofSeconds(40))
                    .until(() -> rows(standalone, asked) == asked.size());
        }
    }

    private Standalone start(List<String> said) {
        return Standalone.start(CONFIG, folder.resolve("data"), List.of(), said::add);
    }

    /** Returns the id of the interaction. */
    private static String ask(Standalone standalone) throws Exception {
        HttpResponse<String> response = HTTP.send(
                HttpRequest.newBuilder(URI.create(standalone.url() + "/query"))
                        .header("Content-Type", "application/json")
                        .POST(HttpRequest.BodyPublishers.ofString("{\"query\":\"Who dressed the stone?\"}"))
                        .build(),
                HttpResponse.BodyHandlers.ofString());
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return response.headers().firstValue("x-millrace-interaction-id").orElseThrow();
    }

    private static Connection connect(Standalone standalone) throws SQLException {
        var at = standalone.endpoints();
        return DriverManager.getConnection(at.jdbcUrl(), at.user(), at.password());
    }

    private static void sql(Standalone standalone, String statements) throws SQLException {
        try (Connection connection = connect(standalone);
                Statement statement = connection.createStatement()) {
            statement.execute(statements);
        }
    }

    private static int rows(Standalone standalone, List<String> ids) throws SQLException {
        try (Connection connection = connect(standalone);
                Statement statement = connection.createStatement();
                ResultSet found = statement.executeQuery("SELECT count(*) FROM interactions WHERE interaction_id IN ('"
                        + String.join("','", ids) + "')")) {
            found.next();
            return found.getInt(1);
        }
    }
}
