package io.millrace.sinks.archive;

import java.io.IOException;
import java.io.InputStream;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.DigestInputStream;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.Locale;
import org.apache.avro.Schema;
import org.apache.avro.SchemaBuilder;

/** What a file of the archive looks like, for those who write and read them. */
final class ArchiveFiles {
    static final String SUFFIX = ".avro";
    static final String PARTIAL = ".tmp";
    static final String META_TOPIC = "millrace.topic";
    static final String META_PARTITION = "millrace.partition";

    /** Followed by a schema's id; the value is the schema's JSON. */
    static final String META_SCHEMA = "millrace.schema.";

    /** A record as it was on the log. The value is in wire format; the schemas its ids name are in the header of the file. */
    static final Schema RECORD = SchemaBuilder.record("ArchivedRecord")
            .namespace("io.millrace.archive")
            .fields()
            .requiredLong("offset")
            .requiredLong("timestamp")
            .optionalBytes("key")
            .optionalBytes("value")
            .endRecord();

    private ArchiveFiles() {}

    /** Path of a file under the archive's directory. */
    static String name(String topic, int partition, long firstOffset) {
        return String.format(Locale.ROOT, "%s/%d/%020d%s", topic, partition, firstOffset, SUFFIX);
    }

    static String sha256(Path file) throws IOException {
        MessageDigest digest = sha256();
        try (InputStream in = new DigestInputStream(Files.newInputStream(file), digest)) {
            in.transferTo(java.io.OutputStream.nullOutputStream());
        }
        return HexFormat.of().formatHex(digest.digest());
    }

    static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every JDK has SHA-256", e);
        }
    }

    /** Makes what happened to a directory's entries durable: a renamed file is else lost with the power. */
    static void sync(Path directory) throws IOException {
        try (FileChannel channel = FileChannel.open(directory, StandardOpenOption.READ)) {
            channel.force(true);
        }
    }
}
