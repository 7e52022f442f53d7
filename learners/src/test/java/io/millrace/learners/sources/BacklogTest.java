package io.millrace.learners.sources;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.MockConsumer;
import org.apache.kafka.common.TopicPartition;
import org.junit.jupiter.api.Test;

class BacklogTest {
    private static final TopicPartition NOTES = new TopicPartition("raw.notes", 0);
    private static final TopicPartition SITE = new TopicPartition("raw.site", 0);

    private final MockConsumer<byte[], byte[]> consumer = new MockConsumer<>("earliest");

    private static ConsumerRecord<byte[], byte[]> record(TopicPartition at, long offset, String key) {
        return new ConsumerRecord<>(
                at.topic(), at.partition(), offset, key.getBytes(StandardCharsets.UTF_8), new byte[] {1});
    }

    /** A folder that had not changed was indexing, with two waiting, each time it had been looked at. */
    @Test
    void shouldCountWhatBecomesOfDocumentsAndNoReports() {
        consumer.schedulePollTask(() -> {
            consumer.updateBeginningOffsets(Map.of(NOTES, 0L, SITE, 0L));
            consumer.addRecord(record(NOTES, 5, "$report"));
            consumer.addRecord(record(NOTES, 6, "$report"));
            consumer.addRecord(record(SITE, 0, "$report"));
            consumer.addRecord(record(SITE, 1, "https://example.org/"));
            consumer.addRecord(record(SITE, 2, "$manifest"));
            consumer.addRecord(record(SITE, 3, "$report"));
            // came after the end was asked for
            consumer.addRecord(record(SITE, 4, "$report"));
        });

        try (Backlog backlog = new Backlog(consumer)) {
            assertThat(backlog.count(Map.of(NOTES, 5L), Map.of(NOTES, 7L, SITE, 4L)))
                    .isEqualTo(Map.of(NOTES, 0L, SITE, 2L));
        }
    }

    @Test
    void shouldReadNothingToCountAFloodOrNothing() {
        try (Backlog backlog = new Backlog(consumer)) {
            assertThat(backlog.count(Map.of(NOTES, 5L), Map.of(NOTES, 5L, SITE, 10_000L)))
                    .isEqualTo(Map.of(NOTES, 0L, SITE, 10_000L));
            assertThat(consumer.assignment()).isEmpty();
        }
    }
}
