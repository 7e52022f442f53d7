package io.millrace.learners.sources;

import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.learners.knowledge.DocumentTable.Entry;
import io.millrace.learners.sources.Searchable.Count;
import java.time.Duration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;

class SearchableTest {
    private static final int MANY = 100_000;

    private final Map<String, Entry> documents = new HashMap<>();
    private final Set<String> index = new HashSet<>();
    private long nanos;
    private int asked;
    private boolean away;

    /** Each question takes a millisecond. */
    private final Searchable searchable = new Searchable(
            (id, checksum) -> {
                asked++;
                nanos += Duration.ofMillis(1).toNanos();
                if (away) {
                    throw new IllegalStateException("no answer");
                }
                return index.contains(id + checksum);
            },
            () -> nanos);

    private Count count(long version) {
        asked = 0;
        return searchable.of("notes", version, documents);
    }

    private void add(int from, int to) {
        for (int i = from; i < to; i++) {
            documents.put("d" + i, new Entry("notes", i + ".md", "1", false));
        }
    }

    @Test
    void shouldAskNothingWhenNothingChanged() {
        add(0, 500);
        documents.keySet().forEach(id -> index.add(id + "1"));

        assertThat(count(1)).isEqualTo(new Count(500, 500, 0));
        assertThat(asked).isEqualTo(500);
        for (int tick = 0; tick < 10; tick++) {
            assertThat(count(1)).isEqualTo(new Count(500, 500, 0));
            assertThat(asked).isZero();
        }

        // one that changed, one that came, one that went
        documents.put("d1", new Entry("notes", "1.md", "2", true));
        documents.remove("d2");
        add(500, 501);
        assertThat(count(2)).isEqualTo(new Count(500, 498, 1));
        assertThat(asked).isEqualTo(2);
        index.add("d12");
        index.add("d5001");
        assertThat(count(2)).isEqualTo(new Count(500, 500, 1));
    }

    /** It was 100,000 questions, four times a second, beside the ingest that they waited for. */
    @Test
    void shouldAskAFewWhenTheIndexIsBehindAndGetToAll() {
        add(0, MANY);
        assertThat(count(1)).isEqualTo(new Count(MANY, 0, 0));
        assertThat(asked).isEqualTo(50);

        // what can be found is, however much is in front of it that cannot
        for (int i = 0; i < 1_000; i++) {
            index.add("d" + i + "1");
        }
        int ticks = 0;
        while (count(1).searchable() < 1_000) {
            assertThat(asked).isBetween(1, 1_000);
            assertThat(ticks++).isLessThan(MANY / 50 + 1);
        }
    }

    @Test
    void shouldTakeASecondAtATimeWhenAllIsFound() {
        add(0, 3_000);
        documents.keySet().forEach(id -> index.add(id + "1"));

        for (int tick = 1; tick <= 3; tick++) {
            assertThat(count(1)).isEqualTo(new Count(3_000, tick * 1_000, 0));
        }
    }

    /** No source was told of while the index was away, and none was begun. */
    @Test
    void shouldCountWhatItKnowsWhenTheIndexDoesNotAnswer() {
        add(0, 10);
        documents.keySet().forEach(id -> index.add(id + "1"));
        assertThat(count(1)).isEqualTo(new Count(10, 10, 0));
        add(10, 20);
        index.add("d151");
        away = true;

        assertThat(count(2)).isEqualTo(new Count(20, 10, 0));
        assertThat(asked).isEqualTo(1);
        // nor for another source: what hangs would hold up each of them
        asked = 0;
        assertThat(searchable.of("other", 1, documents)).isEqualTo(new Count(20, 0, 0));
        assertThat(searchable.mayBeFound("gone")).isTrue();
        assertThat(asked).isZero();

        nanos += Duration.ofSeconds(2).toNanos();
        assertThat(searchable.mayBeFound("gone")).isTrue();
        assertThat(asked).isEqualTo(1);

        away = false;
        nanos += Duration.ofSeconds(2).toNanos();
        assertThat(searchable.mayBeFound("gone")).isFalse();
        assertThat(count(2)).isEqualTo(new Count(20, 11, 0));
    }
}
