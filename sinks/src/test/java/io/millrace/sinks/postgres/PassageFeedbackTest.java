package io.millrace.sinks.postgres;

import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.knowledge.Facts;
import io.millrace.knowledge.VectorIndex.Candidate;
import io.millrace.sinks.testing.TestPostgres;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Against a real PostgreSQL: a rating that is passed over is not seen again until the process starts anew. */
class PassageFeedbackTest {
    private static final Facts NOTHING = new Facts(0, 0, 0, false, false);

    private TestPostgres postgres = new TestPostgres("");
    private PassageFeedback feedback = new PassageFeedback("", "", "");

    @BeforeEach
    void start() {
        postgres = TestPostgres.database();
        feedback = new PassageFeedback(postgres.url(), TestPostgres.USER, TestPostgres.PASSWORD);
        // before the sink has made the tables
        feedback.refresh();
        assertThat(feedback.details()).isEmpty();
        try (Database database = new Database(postgres.url(), TestPostgres.USER, TestPostgres.PASSWORD)) {
            database.migrate();
        }
        postgres.execute("CREATE TABLE interactions_all PARTITION OF interactions DEFAULT");
    }

    @AfterEach
    void stop() {
        feedback.close();
    }

    @Test
    void shouldCountARatingWhenItsInteractionComesLongAfterYoungerOnes() {
        rate(1, "now() - interval '50 minutes'");
        rate(2, "now() - interval '5 minutes'");
        interaction(2);
        feedback.refresh();
        assertThat(isLinked(1)).isFalse();
        assertThat(isLinked(2)).isTrue();

        interaction(1);
        feedback.refresh();

        assertThat(isLinked(1)).isTrue();
    }

    @Test
    void shouldCountARatingWhenItComesLongAfterYoungerOnes() {
        interaction(1);
        interaction(2);
        rate(2, "now()");
        feedback.refresh();

        rate(1, "now() - interval '1 hour'");
        feedback.refresh();

        assertThat(isLinked(1)).isTrue();
    }

    @Test
    void shouldCountRatingsWhenOneWasSaidByAClockThatIsAhead() {
        interaction(1);
        interaction(2);
        rate(1, "now() + interval '1 hour'");
        feedback.refresh();
        assertThat(isLinked(1)).isTrue();

        rate(2, "now()");
        feedback.refresh();

        assertThat(isLinked(2)).isTrue();
    }

    /** Two sinks write at the same time, and the one that began first is done last. */
    @Test
    void shouldCountARatingWhenAYoungerTransactionEndedBeforeItsOwn() throws SQLException {
        interaction(1);
        interaction(2);
        try (Connection slow = postgres.connect();
                Statement statement = slow.createStatement()) {
            slow.setAutoCommit(false);
            statement.execute(rating(1, "now()"));
            rate(2, "now()");
            feedback.refresh();
            assertThat(isLinked(1)).isFalse();
            assertThat(isLinked(2)).isTrue();

            slow.commit();
        }
        feedback.refresh();

        assertThat(isLinked(1)).isTrue();
    }

    private boolean isLinked(int passage) {
        return feedback.link(List.of(new Candidate("p" + passage, "d", new float[0], null, null, NOTHING)))
                .getFirst()
                .facts()
                .feedbackLinked();
    }

    private void rate(int interaction, String when) {
        postgres.execute(rating(interaction, when));
    }

    private static String rating(int interaction, String when) {
        return "INSERT INTO feedback (feedback_id, interaction_id, rating, outcome, note, correction, created_at, record)"
                + " VALUES (gen_random_uuid(), lpad('%d', 32, '0')::uuid, 1, '', '', '', %s, '{}')"
                        .formatted(interaction, when);
    }

    private void interaction(int number) {
        postgres.execute("""
                INSERT INTO interactions
                SELECT lpad('%1$d', 32, '0')::uuid, now(), now(), 'answered', 'local', 'local', 'local', 'r', 0.5, 'prior', 0.5,
                       1, 1, 1, 0, 'default', '', false, 'chat', 'm', 'q', 'a', null,
                       '{"evidence": [{"document_id": "d", "passage_id": "p%1$d"}]}'
                """.formatted(number));
    }
}
