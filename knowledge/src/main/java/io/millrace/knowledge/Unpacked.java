package io.millrace.knowledge;

import java.io.IOException;
import java.io.InputStream;
import java.net.JarURLConnection;
import java.net.URL;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.jar.JarEntry;
import java.util.zip.CRC32;

/**
 * What is in a jar and wanted as a file: unpacked by the first start, and found by the later ones. Models and native libraries are some 40 MB,
 * which each start would inflate.
 */
public final class Unpacked {
    /** The folder that keeps the files; without it they go when the JVM exits. */
    public static final String FOLDER_PROPERTY = "millrace.unpacked";

    private static final class Folder {
        private static final Path PATH = make();

        private static Path make() {
            String kept = System.getProperty(FOLDER_PROPERTY, "");
            try {
                return kept.isEmpty()
                        ? Files.createTempDirectory(Path.of(System.getProperty("java.io.tmpdir")), "unpacked")
                        : Files.createDirectories(Path.of(kept));
            } catch (IOException e) {
                throw new java.io.UncheckedIOException(e);
            }
        }
    }

    private Unpacked() {}

    /**
     * The file, under the last part of the resource's name. One that is damaged, or of another version, is written anew.
     *
     * @param beside class of the jar that has the resource
     * @param resource its absolute name, without the first slash
     * @throws IOException when there is no such resource, or no file can be written
     */
    static synchronized Path file(Class<?> beside, String resource) throws IOException {
        URL url = beside.getResource("/" + resource);
        if (url == null) {
            throw new IOException(resource + " is not on the class path");
        }
        Path file = Folder.PATH.resolve(resource.substring(resource.lastIndexOf('/') + 1));
        if (url.openConnection() instanceof JarURLConnection jar && isWhole(file, jar.getJarEntry())) {
            return file;
        }
        // somebody may have emptied it since the start: a second model is unpacked when it is first used
        Files.createDirectories(Folder.PATH);
        // whole or not there: other processes may look for it
        Path part = Files.createTempFile(Folder.PATH, "part-" + file.getFileName(), null);
        try (InputStream in = url.openStream()) {
            Files.copy(in, part, StandardCopyOption.REPLACE_EXISTING);
            Files.move(part, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        } finally {
            Files.deleteIfExists(part);
        }
        if (System.getProperty(FOLDER_PROPERTY, "").isEmpty()) {
            // in the opposite order
            Folder.PATH.toFile().deleteOnExit();
            file.toFile().deleteOnExit();
        }
        return file;
    }

    private static boolean isWhole(Path file, JarEntry entry) throws IOException {
        if (!Files.exists(file) || Files.size(file) != entry.getSize()) {
            return false;
        }
        CRC32 sum = new CRC32();
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
            sum.update(channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size()));
        }
        return sum.getValue() == entry.getCrc();
    }
}
