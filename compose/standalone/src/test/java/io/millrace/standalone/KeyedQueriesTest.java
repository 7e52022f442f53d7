package io.millrace.standalone;

import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.gateway.IdempotencyKeys;
import io.millrace.log.Records;
import io.millrace.log.Vocabulary.Outcome;
import io.millrace.schema.Interaction;
import io.millrace.schema.Query;
import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** What becomes of a key that several queries came with. */
class KeyedQueriesTest {
    private static final long DAY = IdempotencyKeys.KEPT.toMillis();
    private static final long NOW = 100 * DAY;

    static {
        Records.trust();
    }

    private final KeyedQueries queries = new KeyedQueries(NOW);

    private static Query query(String id, String key) {
        return Query.newBuilder()
                .setInteractionId(id)
                .setIdempotencyKey(key)
                .setBody("{\"query\":\"" + key + "\"}")
                .build();
    }

    private void ended(String id, String outcome) {
        queries.ended(
                Interaction.newBuilder()
                        .setInteractionId(id)
                        .setOutcome(outcome)
                        .build(),
                NOW - 1);
    }

    private void asked(String id, long at) {
        queries.asked(query(id, "k"), at);
    }

    /** Until when, by the value. */
    private Map<String, Long> kept() {
        Map<String, String> values = new HashMap<>();
        Map<String, Long> until = new HashMap<>();
        queries.addTo(values, until);
        assertThat(until).hasSameSizeAs(values);
        Map<String, Long> kept = new HashMap<>();
        values.forEach((key, value) -> kept.put(value, until.getOrDefault(key, 0L)));
        return kept;
    }

    private static String value(String id) {
        return IdempotencyKeys.value(query(id, "k"));
    }

    @Test
    void shouldPassOverAQueryWhenItsKeyWasGivenBack() {
        ended("late", Outcome.FAILED);
        ended("answered", Outcome.ANSWERED);
        ended("left", Outcome.CANCELLED);

        asked("late", NOW - 50);
        asked("answered", NOW - 40);
        asked("left", NOW - 30);

        assertThat(kept()).isEqualTo(Map.of(value("answered"), NOW - 40 + DAY));
    }

    /** Partitions are read one after the other. */
    @Test
    void shouldTakeTheNewestWhenThereAreSeveral() {
        ended("first", Outcome.ANSWERED);

        asked("running", NOW - 10);
        asked("first", NOW - 50);

        assertThat(kept()).isEqualTo(Map.of(value("running"), NOW - 10 + DAY));
    }

    @Test
    void shouldLeaveOutWhatMeansNothingNow() {
        ended("late", Outcome.FAILED);
        asked("late", NOW - 50);
        asked("old", NOW - DAY);
        queries.asked(query("without", ""), NOW - 1);

        assertThat(kept()).isEmpty();
    }
}
