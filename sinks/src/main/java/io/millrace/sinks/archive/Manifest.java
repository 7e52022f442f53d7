package io.millrace.sinks.archive;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;

/** The list of finished files, one JSON object a line, appended to. It is the truth: a file that is not in it is not archived. */
final class Manifest {
    static final String NAME = "manifest.jsonl";

    private static final ObjectMapper JSON = new ObjectMapper();

    private final Path path;
    private final List<ArchivedFile> files = new ArrayList<>();

    private Manifest(Path path) {
        this.path = path;
    }

    /**
     * Reads the manifest of an archive; a last line without its end was cut off by a crash and does not count.
     *
     * @throws IOException when it cannot be read, or another line than the last is damaged
     */
    static Manifest read(Path directory) throws IOException {
        Manifest manifest = new Manifest(directory.resolve(NAME));
        if (Files.exists(manifest.path)) {
            String text = Files.readString(manifest.path);
            for (String line :
                    text.substring(0, text.lastIndexOf('\n') + 1).lines().toList()) {
                try {
                    manifest.files.add(JSON.readValue(line, ArchivedFile.class));
                } catch (JsonProcessingException e) {
                    throw new IOException(manifest.path + " has a damaged line: " + line, e);
                }
            }
        }
        return manifest;
    }

    /** Cuts off what a crash left of a line, so that the next one starts afresh. */
    void repair() throws IOException {
        if (Files.exists(path)) {
            byte[] bytes = Files.readAllBytes(path);
            int end = bytes.length;
            while (end > 0 && bytes[end - 1] != '\n') {
                end--;
            }
            if (end < bytes.length) {
                try (FileChannel channel = FileChannel.open(path, StandardOpenOption.WRITE)) {
                    channel.truncate(end);
                    channel.force(true);
                }
            }
        }
    }

    /** Adds a file; it is on the disk when this returns. */
    void append(ArchivedFile file) throws IOException {
        byte[] line = (JSON.writeValueAsString(file) + "\n").getBytes(StandardCharsets.UTF_8);
        boolean isNew = Files.notExists(path);
        try (FileChannel channel = FileChannel.open(
                path, StandardOpenOption.CREATE, StandardOpenOption.WRITE, StandardOpenOption.APPEND)) {
            ByteBuffer buffer = ByteBuffer.wrap(line);
            while (buffer.hasRemaining()) {
                channel.write(buffer);
            }
            channel.force(true);
        }
        if (isNew) {
            ArchiveFiles.sync(path.resolveSibling("."));
        }
        files.add(file);
    }

    List<ArchivedFile> files() {
        return List.copyOf(files);
    }
}
