package io.millrace.topology.internal;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import org.apache.avro.Schema;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.specific.SpecificData;
import org.apache.avro.specific.SpecificDatumReader;
import org.apache.avro.specific.SpecificDatumWriter;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.common.errors.SerializationException;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/**
 * Avro binary without a schema id, for stores: their changelogs belong to one version of one application, whose id changes with the
 * schema, so nobody else ever reads them.
 */
public final class BinarySerde {
    private BinarySerde() {}

    /** The serde of a store's values. */
    public static <V extends SpecificRecord> Serde<V> of(Class<V> type) {
        Schema schema = SpecificData.get().getSchema(type);
        SpecificDatumWriter<V> writer = new SpecificDatumWriter<>(schema);
        SpecificDatumReader<V> reader = new SpecificDatumReader<>(schema);
        return Serdes.serdeFrom(
                (topic, value) -> {
                    if (value == null) {
                        return null;
                    }
                    try {
                        ByteArrayOutputStream out = new ByteArrayOutputStream(1024);
                        BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(out, null);
                        writer.write(value, encoder);
                        encoder.flush();
                        return out.toByteArray();
                    } catch (IOException e) {
                        throw new SerializationException("an array cannot fail to be written", e);
                    }
                },
                (topic, bytes) -> {
                    if (bytes == null) {
                        return null;
                    }
                    try {
                        return reader.read(null, DecoderFactory.get().binaryDecoder(bytes, null));
                    } catch (IOException e) {
                        throw new SerializationException("a store holds no " + type.getSimpleName(), e);
                    }
                });
    }
}
