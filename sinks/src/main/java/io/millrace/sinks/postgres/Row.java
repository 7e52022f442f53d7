package io.millrace.sinks.postgres;

import java.util.List;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.TopicPartition;
import org.jspecify.annotations.Nullable;

/**
 * A change to one row.
 *
 * @param source the record it came from, for a dead letter
 * @param projection where it goes
 * @param key what makes it the same row
 * @param cells values by column, or null to delete the row
 */
record Row(
        ConsumerRecord<byte[], byte[]> source,
        Projection<?> projection,
        List<@Nullable Object> key,
        @Nullable List<@Nullable Object> cells) {

    TopicPartition partition() {
        return new TopicPartition(source.topic(), source.partition());
    }
}
