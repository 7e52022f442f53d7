package io.millrace.sinks.archive;

import java.io.BufferedOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.security.DigestOutputStream;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.Map;
import java.util.Set;
import org.apache.avro.file.CodecFactory;
import org.apache.avro.file.DataFileWriter;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.TopicPartition;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** A file in the making: {@code .tmp} until it is finished, then renamed. Of one that was not finished nothing is kept. */
final class ArchiveWriter {
    /** Fast, and within a few percent of what higher levels save on JSON-like bytes. */
    private static final int ZSTD_LEVEL = 3;

    /** Bytes of a block before compression: larger ones compress better, this is past the knee. */
    private static final int BLOCK = 256 * 1024;

    private static final Logger LOG = LoggerFactory.getLogger(ArchiveWriter.class);

    private final Path directory;
    private final TopicPartition partition;
    private final String name;
    private final Path partial;
    private final Set<Integer> schemas;
    private final FileChannel channel;
    private final MessageDigest digest = ArchiveFiles.sha256();
    private final DataFileWriter<GenericRecord> writer;
    private final GenericRecord reused = new GenericData.Record(ArchiveFiles.RECORD);
    private final long openedNanos = System.nanoTime();
    private final long firstOffset;
    private long lastOffset;
    private long count;
    private long minTimestamp = Long.MAX_VALUE;
    private long maxTimestamp = Long.MIN_VALUE;

    /** @param schemas the schemas, by id, that values may be written with; JSON */
    ArchiveWriter(Path directory, TopicPartition partition, long firstOffset, Map<Integer, String> schemas)
            throws IOException {
        this.directory = directory;
        this.partition = partition;
        this.firstOffset = firstOffset;
        this.name = ArchiveFiles.name(partition.topic(), partition.partition(), firstOffset);
        this.partial = directory.resolve(name + ArchiveFiles.PARTIAL);
        this.schemas = Set.copyOf(schemas.keySet());
        Files.createDirectories(directory.resolve(name).resolveSibling("."));
        this.channel = FileChannel.open(
                partial, StandardOpenOption.CREATE, StandardOpenOption.TRUNCATE_EXISTING, StandardOpenOption.WRITE);
        this.writer = new DataFileWriter<>(new GenericDatumWriter<>(ArchiveFiles.RECORD));
        writer.setCodec(CodecFactory.zstandardCodec(ZSTD_LEVEL)).setSyncInterval(BLOCK);
        writer.setMeta(ArchiveFiles.META_TOPIC, partition.topic());
        writer.setMeta(ArchiveFiles.META_PARTITION, partition.partition());
        schemas.forEach((id, json) -> writer.setMeta(ArchiveFiles.META_SCHEMA + id, json));
        writer.create(
                ArchiveFiles.RECORD,
                new DigestOutputStream(new BufferedOutputStream(Channels.newOutputStream(channel)), digest));
    }

    /** Whether this schema is in the header. */
    boolean knows(int schema) {
        return schemas.contains(schema);
    }

    void append(ConsumerRecord<byte[], byte[]> record) throws IOException {
        reused.put("offset", record.offset());
        reused.put("timestamp", record.timestamp());
        reused.put("key", record.key() == null ? null : ByteBuffer.wrap(record.key()));
        reused.put("value", record.value() == null ? null : ByteBuffer.wrap(record.value()));
        writer.append(reused);
        lastOffset = record.offset();
        count++;
        minTimestamp = Math.min(minTimestamp, record.timestamp());
        maxTimestamp = Math.max(maxTimestamp, record.timestamp());
    }

    /** Bytes on the disk so far. */
    long bytes() throws IOException {
        return channel.position();
    }

    long ageNanos() {
        return System.nanoTime() - openedNanos;
    }

    long minTimestamp() {
        return minTimestamp;
    }

    /** Makes the file durable under its final name; the caller writes the manifest. */
    ArchivedFile finish() throws IOException {
        writer.flush();
        channel.force(true);
        long bytes = channel.size();
        writer.close();
        Path file = directory.resolve(name);
        Files.move(partial, file, StandardCopyOption.ATOMIC_MOVE);
        ArchiveFiles.sync(file.resolveSibling("."));
        return new ArchivedFile(
                name,
                partition.topic(),
                partition.partition(),
                firstOffset,
                lastOffset,
                count,
                minTimestamp,
                maxTimestamp,
                bytes,
                HexFormat.of().formatHex(digest.digest()));
    }

    /** Gives up: deletes what was written. */
    void abandon() {
        try {
            channel.close();
            Files.deleteIfExists(partial);
        } catch (IOException e) {
            LOG.debug("{} is left for the next start to delete", partial, e);
        }
    }
}
