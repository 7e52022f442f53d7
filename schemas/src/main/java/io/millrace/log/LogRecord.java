package io.millrace.log;

import org.apache.avro.specific.SpecificRecord;
import org.jspecify.annotations.Nullable;

/**
 * A decoded record.
 *
 * @param topic where it was read
 * @param partition partition
 * @param offset offset
 * @param timestamp when it was appended or made, milliseconds since the epoch
 * @param key key, empty when the record has none
 * @param value value, or null for a tombstone
 */
public record LogRecord<V extends SpecificRecord>(
        Topic<V> topic,
        int partition,
        long offset,
        long timestamp,
        String key,
        @Nullable V value) {

    /** The value of a record that is not a tombstone. */
    public V required() {
        if (value == null) {
            throw new UndecodableException("a tombstone, where a value is needed");
        }
        return value;
    }
}
