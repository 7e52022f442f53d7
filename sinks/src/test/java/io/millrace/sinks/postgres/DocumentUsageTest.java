package io.millrace.sinks.postgres;

import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.sinks.testing.TestPostgres;
import io.millrace.sinks.upkeep.DocumentList;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Arrays;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** How documents were used, counted where interactions and events are written. */
class DocumentUsageTest {
    /** Enough to see the difference; the measured ones are in docs/benchmarks.md. */
    private static final int INTERACTIONS = Integer.getInteger("usage.interactions", 10_000);

    /** As it was counted before: all interactions, each time. */
    private static final String BY_AGGREGATION = """
            SELECT document_id, max(used_at), count(DISTINCT used_by) FROM (
                SELECT evidence ->> 'document_id' AS document_id, accepted_at AS used_at, interaction_id AS used_by
                FROM interactions CROSS JOIN LATERAL jsonb_array_elements(record -> 'evidence') AS evidence
                WHERE NOT synthetic
                UNION ALL
                SELECT unnest(string_to_array(attributes ->> 'documents', ' ')), created_at, event_id FROM telemetry
                WHERE source = 'millrace' AND event_type = 'documents_found') AS used
            GROUP BY 1
            """;

    private static final String DIFFERENCE = """
            SELECT count(*) FROM (
                (SELECT * FROM document_usage EXCEPT %1$s) UNION ALL (%1$s EXCEPT SELECT * FROM document_usage)) AS d
            """.formatted("(" + BY_AGGREGATION + ")");

    private TestPostgres postgres = new TestPostgres("");
    private Connection connection;

    @BeforeEach
    void start() throws SQLException {
        postgres = TestPostgres.database();
        try (Database database = new Database(postgres.url(), TestPostgres.USER, TestPostgres.PASSWORD)) {
            database.migrate();
        }
        connection = DriverManager.getConnection(postgres.url(), TestPostgres.USER, TestPostgres.PASSWORD);
        execute("CREATE TABLE interactions_all PARTITION OF interactions DEFAULT");
        execute("CREATE TABLE telemetry_all PARTITION OF telemetry DEFAULT");
    }

    @AfterEach
    void stop() throws SQLException {
        connection.close();
    }

    @Test
    void shouldCountEachUseOnceWhateverIsWrittenTwiceOrMadeAnew() throws SQLException {
        interactions(1, 100);
        searches(1, 40);
        assertThat(number("SELECT count(*) FROM document_usage")).isPositive();
        assertThat(number(DIFFERENCE)).isZero();
        long uses = number("SELECT sum(uses) FROM document_usage");

        // a batch again after a crash, with some that are new
        interactions(50, 120);
        searches(20, 50);
        assertThat(number("SELECT sum(uses) FROM document_usage")).isGreaterThan(uses);
        assertThat(number(DIFFERENCE)).isZero();
        uses = number("SELECT sum(uses) FROM document_usage");

        // as a rebuild does it: what only telemetry knows stays
        execute("TRUNCATE interactions");
        assertThat(number("SELECT sum(uses) FROM document_usage")).isPositive().isLessThan(uses);
        interactions(1, 120);
        assertThat(number(DIFFERENCE)).isZero();
        assertThat(number("SELECT sum(uses) FROM document_usage")).isEqualTo(uses);
    }

    @Test
    void shouldNotCountSyntheticInteractionsNorRecordsWithoutEvidence() throws SQLException {
        insert(
                1,
                10,
                true,
                "jsonb_build_object('evidence', jsonb_build_array(jsonb_build_object('document_id', 'd')))");
        insert(11, 20, false, "'{}'");
        insert(21, 30, false, "'{\"evidence\": null}'");

        assertThat(number("SELECT count(*) FROM document_usage")).isZero();
    }

    /** Each listing read every interaction before. The times are told, and not judged: others may be busy on this machine. */
    @Test
    void shouldListDocumentsWithoutReadingInteractions() throws SQLException {
        execute("""
                INSERT INTO documents (document_id, source, path, title, collection, checksum, trust, quarantined, size,
                                       modified_at, updated_at, metadata)
                SELECT 'd' || i, 'mill', lpad(i::text, 6, '0'), 't', 'c', 's', 'imported', false, 1, now(), now(), '{}'
                FROM generate_series(0, 9999) AS i
                """);
        long started = System.nanoTime();
        interactions(1, INTERACTIONS);
        double written = (System.nanoTime() - started) / 1e6;
        execute("ANALYZE");

        DocumentList list = new DocumentList(postgres.url(), TestPostgres.USER, TestPostgres.PASSWORD);
        double now = median(() -> assertThat(list.of("mill", "", 100, 0).rows()).hasSize(100));
        double before = median(() -> number("SELECT count(*) FROM (" + BY_AGGREGATION + ") AS u"));

        System.out.printf(
                "%d interactions written in %.0f ms; list %.1f ms, aggregation alone %.1f ms, %.0f times%n",
                INTERACTIONS, written, now, before, before / now);
        try (Connection holder = DriverManager.getConnection(postgres.url(), TestPostgres.USER, TestPostgres.PASSWORD);
                Statement lock = holder.createStatement()) {
            holder.setAutoCommit(false);
            // whoever reads them now waits for longer than the listing may take
            lock.execute("LOCK TABLE interactions IN ACCESS EXCLUSIVE MODE");
            assertThat(list.of("mill", "", 100, 0).rows())
                    .anySatisfy(row -> assertThat(row.uses()).isPositive());
            holder.rollback();
        }
    }

    private interface Work {
        void run() throws SQLException;
    }

    private static double median(Work work) throws SQLException {
        double[] millis = new double[5];
        for (int i = 0; i < millis.length; i++) {
            long started = System.nanoTime();
            work.run();
            millis[i] = (System.nanoTime() - started) / 1e6;
        }
        Arrays.sort(millis);
        return millis[millis.length / 2];
    }

    /** Five passages each, two of them of one document. */
    private void interactions(int from, int to) throws SQLException {
        insert(from, to, false, """
                jsonb_build_object('evidence', (SELECT jsonb_agg(jsonb_build_object(
                    'document_id', 'd' || ((i * 37 + least(k, 3) * 1009) % 10000), 'passage_id', k::text))
                    FROM generate_series(0, 4) AS k))
                """);
    }

    private void insert(int from, int to, boolean synthetic, String record) throws SQLException {
        execute("""
                INSERT INTO interactions
                SELECT lpad(i::text, 32, '0')::uuid, '2026-01-01'::timestamptz + i * interval '1 second', now(),
                       'answered', 'local', 'local', 'local', 'r', 0.5, 'prior', 0.5, 1, 1, 1, 0, 'default', '', %s,
                       'chat', 'm', 'q', 'a', null, %s
                FROM generate_series(%d, %d) AS i
                ON CONFLICT (interaction_id, accepted_at) DO UPDATE SET outcome = excluded.outcome
                """.formatted(synthetic, record, from, to));
    }

    private void searches(int from, int to) throws SQLException {
        execute("""
                INSERT INTO telemetry
                SELECT lpad(i::text, 32, '0')::uuid, '2026-01-02'::timestamptz + i * interval '1 second', 'millrace',
                       CASE WHEN i %% 5 = 0 THEN 'other' ELSE 'documents_found' END, null,
                       jsonb_build_object('documents', 'd' || i || ' d' || (i + 1))
                FROM generate_series(%d, %d) AS i
                ON CONFLICT (event_id, created_at) DO UPDATE SET source = excluded.source
                """.formatted(from, to));
    }

    private void execute(String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(sql);
        }
    }

    private long number(String sql) throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery(sql)) {
            rows.next();
            return rows.getLong(1);
        }
    }
}
