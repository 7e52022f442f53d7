package io.millrace.gateway;

import io.zonky.test.db.postgres.embedded.EmbeddedPostgres;
import java.io.IOException;
import java.sql.SQLException;

/** A real Postgres with the columns of the projection that the gateway reads. */
final class TestProjection implements AutoCloseable {
    private final EmbeddedPostgres postgres = EmbeddedPostgres.builder().start();

    TestProjection() throws IOException, SQLException {
        sql("create table interactions (interaction_id uuid, accepted_at timestamptz, record jsonb)");
        sql("create table decisions (interaction_id uuid, attempt int, record jsonb)");
        sql("create table feedback (feedback_id uuid, interaction_id uuid, record jsonb)");
        sql("create table sink_offsets (topic text, partition int, next_offset bigint)");
    }

    String url() {
        return postgres.getJdbcUrl("postgres", "postgres");
    }

    void sql(String statement) throws SQLException {
        try (var connection = postgres.getPostgresDatabase().getConnection();
                var run = connection.createStatement()) {
            run.execute(statement);
        }
    }

    @Override
    public void close() throws IOException {
        postgres.close();
    }
}
