package io.millrace.sinks.postgres;

import io.millrace.log.Codecs;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.apache.avro.specific.SpecificRecord;
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

    /**
     * What a record changes.
     *
     * @param codecs where the schema is that it was written with
     * @throws io.millrace.log.UndecodableException when it is no row
     */
    static <V extends SpecificRecord> Row of(
            Codecs codecs, Projection<V> projection, ConsumerRecord<byte[], byte[]> record) {
        if (record.value() == null && projection.deletable() && record.key() != null) {
            return new Row(record, projection, List.of(new String(record.key(), StandardCharsets.UTF_8)), null);
        }
        List<@Nullable Object> cells =
                projection.row(codecs.of(projection.topic()).decode(record.value()));
        return new Row(record, projection, projection.keyOf(cells), cells);
    }

    TopicPartition partition() {
        return new TopicPartition(source.topic(), source.partition());
    }
}
