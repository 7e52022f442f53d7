package io.millrace.knowledge;

import io.millrace.schema.Passage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.specific.SpecificDatumReader;
import org.apache.avro.specific.SpecificDatumWriter;

/** Passages as an index keeps them: plain Avro. An index is thrown away when the schema changes, so no schema is kept with them. */
final class PassageBytes {
    private static final SpecificDatumWriter<Passage> ENCODER = new SpecificDatumWriter<>(Passage.getClassSchema());
    private static final SpecificDatumReader<Passage> DECODER = new SpecificDatumReader<>(Passage.getClassSchema());

    private PassageBytes() {}

    static byte[] encode(Passage passage) {
        try {
            ByteArrayOutputStream out = new ByteArrayOutputStream(4096);
            BinaryEncoder binary = EncoderFactory.get().directBinaryEncoder(out, null);
            ENCODER.write(passage, binary);
            return out.toByteArray();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    static Passage decode(byte[] bytes, int offset, int length) {
        try {
            return DECODER.read(null, DecoderFactory.get().binaryDecoder(bytes, offset, length, null));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
