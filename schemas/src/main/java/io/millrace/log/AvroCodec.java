package io.millrace.log;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.avro.AvroRuntimeException;
import org.apache.avro.Schema;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.specific.SpecificDatumReader;
import org.apache.avro.specific.SpecificDatumWriter;
import org.apache.avro.specific.SpecificRecord;
import org.jspecify.annotations.Nullable;

/**
 * Values of one topic, to and from Confluent's wire format: magic byte 0, four bytes of schema id (big endian), Avro binary.
 *
 * <p>Thread-safe. Buffers are kept per thread of a platform pool and made anew on virtual threads, whose thread locals would not be
 * reused.
 */
public final class AvroCodec<V extends SpecificRecord> {
    private static final byte MAGIC = 0;
    private static final int HEADER = 5;
    private static final int FIRST_BUFFER = 1024;

    private final Topic<V> topic;
    private final String subject;
    private final SchemaRegistry registry;
    private final Schema schema;
    private final SpecificDatumWriter<V> writer;
    private final Map<Integer, SpecificDatumReader<V>> readers = new ConcurrentHashMap<>();
    private volatile int id = -1;

    AvroCodec(Topic<V> topic, String subject, SchemaRegistry registry) {
        this.topic = topic;
        this.subject = subject;
        this.registry = registry;
        this.schema = topic.schema();
        this.writer = new SpecificDatumWriter<>(schema);
    }

    /**
     * The value in wire format.
     *
     * @throws SchemaRegistry.RegistryUnavailableException when the schema is not registered yet and the registry is down
     */
    public byte[] encode(V value) {
        try {
            ByteArrayOutputStream out = new ByteArrayOutputStream(FIRST_BUFFER);
            out.write(MAGIC);
            out.writeBytes(ByteBuffer.allocate(Integer.BYTES).putInt(id()).array());
            BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(out, null);
            writer.write(value, encoder);
            encoder.flush();
            return out.toByteArray();
        } catch (IOException e) {
            throw new IllegalStateException("an array cannot fail to be written", e);
        }
    }

    /**
     * The value in these bytes; fields that the writer did not know have their defaults.
     *
     * @throws UndecodableException when they are no value of this topic
     * @throws SchemaRegistry.RegistryUnavailableException when their schema is not known here and the registry is down
     */
    public V decode(byte @Nullable [] bytes) {
        if (bytes == null || bytes.length < HEADER || bytes[0] != MAGIC) {
            throw new UndecodableException("not in Confluent's wire format: " + describe(bytes));
        }
        int writerId = ByteBuffer.wrap(bytes, 1, Integer.BYTES).getInt();
        SpecificDatumReader<V> reader = readers.get(writerId);
        if (reader == null) {
            reader = reader(writerId);
            readers.put(writerId, reader);
        }
        try {
            BinaryDecoder decoder = DecoderFactory.get().binaryDecoder(bytes, HEADER, bytes.length - HEADER, null);
            V value = reader.read(null, decoder);
            if (!decoder.isEnd()) {
                throw new UndecodableException(
                        "bytes are left after the " + topic.type().getSimpleName());
            }
            return value;
        } catch (UndecodableException e) {
            throw e;
        } catch (IOException | RuntimeException e) {
            // garbage makes Avro throw whatever its readers run into
            throw new UndecodableException("not a " + topic.type().getSimpleName() + ": " + e, e);
        }
    }

    /** Registers the schema now, so that the first record does not have to. */
    public void prepare() {
        id();
    }

    private int id() {
        int known = id;
        if (known < 0) {
            known = registry.register(subject, schema);
            id = known;
        }
        return known;
    }

    private SpecificDatumReader<V> reader(int writerId) {
        Schema written = registry.byId(writerId);
        // every field has a default, so Avro would read any record as an empty one of ours
        if (!written.getFullName().equals(schema.getFullName())) {
            throw new UndecodableException("schema " + writerId + " is a " + written.getFullName() + " and no "
                    + topic.type().getSimpleName());
        }
        try {
            return new SpecificDatumReader<>(written, schema);
        } catch (AvroRuntimeException e) {
            throw new UndecodableException(
                    "schema " + writerId + " cannot be read as " + topic.type().getSimpleName(), e);
        }
    }

    private static String describe(byte @Nullable [] bytes) {
        return bytes == null
                ? "no bytes"
                : bytes.length + " bytes" + (bytes.length > 0 ? ", the first is " + bytes[0] : "");
    }
}
