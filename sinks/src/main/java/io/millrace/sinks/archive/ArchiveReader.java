package io.millrace.sinks.archive;

import io.millrace.log.SchemaRegistry;
import io.millrace.log.UndecodableException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Optional;
import java.util.Spliterator;
import java.util.Spliterators;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.apache.avro.AvroRuntimeException;
import org.apache.avro.Schema;
import org.apache.avro.file.DataFileReader;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.record.TimestampType;
import org.jspecify.annotations.Nullable;

/**
 * Reads an archive. Records come as the consumer had them, so that what reads the log can read the archive first:
 *
 * <pre>{@code
 * ArchiveReader archive = new ArchiveReader(directory);
 * AvroCodec<Decision> codec = new Codecs(archive.registry(), settings.prefix()).of(Topics.DECISIONS);
 * try (Stream<ConsumerRecord<byte[], byte[]>> records = archive.records(settings.name(Topics.DECISIONS))) {
 *     records.map(record -> codec.decode(record.value()))…
 * }
 * }</pre>
 */
public final class ArchiveReader {
    /** Name of the list of files, in the archive's folder. */
    public static final String MANIFEST = Manifest.NAME;

    private final Path directory;
    private final Map<Integer, Schema> schemas = new ConcurrentHashMap<>();

    /** @param directory of an {@link ArchiveSink}; it may be writing */
    public ArchiveReader(Path directory) {
        this.directory = directory;
    }

    /**
     * The finished files of a topic, by partition and offset.
     *
     * @param topic full name
     * @throws UncheckedIOException when the manifest cannot be read
     */
    public List<ArchivedFile> files(String topic) {
        try {
            return Manifest.read(directory).files().stream()
                    .filter(file -> file.topic().equals(topic))
                    .sorted(Comparator.comparingInt(ArchivedFile::partition)
                            .thenComparingLong(ArchivedFile::firstOffset))
                    .toList();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /**
     * All archived records of a topic, by partition and offset, read as they are asked for. Close the stream.
     *
     * @param topic full name
     * @throws UncheckedIOException while reading, when a file is missing or damaged
     */
    public Stream<ConsumerRecord<byte[], byte[]>> records(String topic) {
        Records records = new Records(files(topic).iterator());
        return StreamSupport.stream(
                        Spliterators.spliteratorUnknownSize(records, Spliterator.ORDERED | Spliterator.NONNULL), false)
                .onClose(records::close);
    }

    /** The schemas of the files read so far. It takes none. */
    public SchemaRegistry registry() {
        return new SchemaRegistry() {
            @Override
            public int register(String subject, Schema schema) {
                throw new IncompatibleSchemaException("an archive takes no schemas");
            }

            @Override
            public Schema byId(int id) {
                return Optional.ofNullable(schemas.get(id))
                        .orElseThrow(
                                () -> new UndecodableException("no file that was read holds a schema with id " + id));
            }
        };
    }

    /**
     * The files of the manifest that are missing or not what was written: an audit, reads every byte.
     *
     * @throws UncheckedIOException when the manifest or a file cannot be read
     */
    public List<ArchivedFile> damaged() {
        try {
            List<ArchivedFile> damaged = new ArrayList<>();
            for (ArchivedFile file : Manifest.read(directory).files()) {
                Path path = directory.resolve(file.file());
                if (Files.notExists(path) || !ArchiveFiles.sha256(path).equals(file.sha256())) {
                    damaged.add(file);
                }
            }
            return damaged;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    static DataFileReader<GenericRecord> open(Path path, Map<Integer, Schema> schemas) {
        try {
            DataFileReader<GenericRecord> reader =
                    new DataFileReader<>(path.toFile(), new GenericDatumReader<>(ArchiveFiles.RECORD));
            for (String key : reader.getMetaKeys()) {
                if (key.startsWith(ArchiveFiles.META_SCHEMA)) {
                    schemas.computeIfAbsent(
                            Integer.valueOf(key.substring(ArchiveFiles.META_SCHEMA.length())),
                            id -> new Schema.Parser().parse(reader.getMetaString(key)));
                }
            }
            return reader;
        } catch (AvroRuntimeException e) {
            throw new UncheckedIOException(new IOException(path + " is damaged", e));
        } catch (IOException e) {
            throw new UncheckedIOException(path + " cannot be read", e);
        }
    }

    static long offsetOf(GenericRecord record) {
        return (Long) record.get("offset");
    }

    static long timestampOf(GenericRecord record) {
        return (Long) record.get("timestamp");
    }

    @SuppressWarnings("NullAway") // Kafka's consumer gives records null keys and values, and so do we
    private static ConsumerRecord<byte[], byte[]> consumed(String topic, int partition, GenericRecord record) {
        byte @Nullable [] key = bytes(record.get("key"));
        byte @Nullable [] value = bytes(record.get("value"));
        return new ConsumerRecord<>(
                topic,
                partition,
                offsetOf(record),
                timestampOf(record),
                TimestampType.CREATE_TIME,
                key == null ? ConsumerRecord.NULL_SIZE : key.length,
                value == null ? ConsumerRecord.NULL_SIZE : value.length,
                key,
                value,
                new RecordHeaders(),
                Optional.empty());
    }

    private static byte @Nullable [] bytes(@Nullable Object value) {
        if (!(value instanceof ByteBuffer buffer)) {
            return null;
        }
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        return bytes;
    }

    /** One file after the other; an iterator, since a stream's flatMap would hold a whole file to give the first record of it. */
    private final class Records implements Iterator<ConsumerRecord<byte[], byte[]>> {
        private final Iterator<ArchivedFile> files;
        private @Nullable ArchivedFile file;
        private @Nullable DataFileReader<GenericRecord> reader;

        Records(Iterator<ArchivedFile> files) {
            this.files = files;
        }

        @Override
        public boolean hasNext() {
            while (reader == null || !reader.hasNext()) {
                close();
                if (!files.hasNext()) {
                    return false;
                }
                file = files.next();
                reader = open(directory.resolve(file.file()), schemas);
            }
            return true;
        }

        @Override
        public ConsumerRecord<byte[], byte[]> next() {
            if (!hasNext() || file == null || reader == null) {
                throw new NoSuchElementException();
            }
            return consumed(file.topic(), file.partition(), reader.next());
        }

        void close() {
            try {
                if (reader != null) {
                    reader.close();
                }
                reader = null;
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }
    }
}
