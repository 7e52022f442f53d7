package io.millrace.topology.internal;

import io.millrace.log.AvroCodec;
import io.millrace.log.SchemaRegistry.RegistryUnavailableException;
import io.millrace.log.UndecodableException;
import java.nio.ByteBuffer;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A small table that every instance holds whole, from a compacted topic.
 *
 * <p>The store keeps wire bytes, since a global store has no dead letters: bytes that cannot be decoded must not stop the
 * application, they are a value that is {@link #get absent}. Decoded values are remembered with
 * their bytes, so that reading a table on the hot path costs a comparison.
 */
public final class Table<V extends SpecificRecord> {
    private static final Logger LOG = LoggerFactory.getLogger(Table.class);

    private final String store;
    private final AvroCodec<V> codec;
    private final Map<String, Entry<V>> decoded = new ConcurrentHashMap<>();

    private record Entry<V>(ByteBuffer bytes, Optional<V> value) {}

    private Table(String store, AvroCodec<V> codec) {
        this.store = store;
        this.codec = codec;
    }

    /** Adds the global store of a topic and returns its reader. */
    public static <V extends SpecificRecord> Table<V> add(
            Topology topology, String store, String topic, AvroCodec<V> codec) {
        topology.addGlobalStore(
                Stores.keyValueStoreBuilder(Stores.inMemoryKeyValueStore(store), Serdes.String(), Serdes.ByteArray())
                        .withLoggingDisabled(),
                store + "-source",
                Serdes.String().deserializer(),
                Serdes.ByteArray().deserializer(),
                topic,
                store + "-processor",
                () -> new Updater(store));
        return new Table<>(store, codec);
    }

    /** The name of its store. */
    public String store() {
        return store;
    }

    /** The value of a key in an instance's store; empty when there is none, or none that can be decoded. */
    public Optional<V> get(KeyValueStore<String, byte[]> from, String key) {
        byte[] bytes = from.get(key);
        if (bytes == null) {
            return Optional.empty();
        }
        Entry<V> known = decoded.get(key);
        if (known != null && known.bytes.equals(ByteBuffer.wrap(bytes))) {
            return known.value;
        }
        Optional<V> value;
        try {
            value = Optional.of(codec.decode(bytes));
        } catch (UndecodableException e) {
            LOG.warn("{}: the value of {} is left out: {}", store, key, e.getMessage());
            value = Optional.empty();
        } catch (RegistryUnavailableException e) {
            // says nothing about the bytes: not remembered, so that they are read when it is back
            LOG.warn("{}: the value of {} cannot be read now: {}", store, key, e.getMessage());
            return Optional.empty();
        }
        decoded.put(key, new Entry<>(ByteBuffer.wrap(bytes), value));
        return value;
    }

    private static final class Updater extends ContextualProcessor<String, byte[], Void, Void>
            implements Processor<String, byte[], Void, Void> {
        private final String store;

        Updater(String store) {
            this.store = store;
        }

        @Override
        public void process(Record<String, byte[]> record) {
            KeyValueStore<String, byte[]> target = context().getStateStore(store);
            if (record.value() == null) {
                target.delete(record.key());
            } else {
                target.put(record.key(), record.value());
            }
        }
    }
}
