package io.millrace.standalone.parts;

import io.millrace.standalone.UserException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.SecureRandom;
import java.util.HexFormat;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * The data folder, held by one process.
 *
 * <p>The lock is taken before anything touches the folder: two brokers on one folder damage its metadata log before Kafka's own lock
 * is looked at.
 */
public final class DataFolder implements AutoCloseable {
    /** Below this Kafka and Postgres stop in the middle of something. */
    private static final long MIN_FREE = 1L << 30;

    private final Path root;
    private final FileChannel channel;
    private final FileLock lock;

    private DataFolder(Path root, FileChannel channel, FileLock lock) {
        this.root = root;
        this.channel = channel;
        this.lock = lock;
    }

    /**
     * Takes a folder, and makes it where it is not there.
     *
     * @throws UserException when it is held, cannot be written, or the disk is nearly full
     */
    public static DataFolder take(Path root) {
        try {
            Files.createDirectories(root);
            if (Files.getFileStore(root).supportsFileAttributeView("posix")) {
                Files.setPosixFilePermissions(root, PosixFilePermissions.fromString("rwx------"));
            }
            long free = Files.getFileStore(root).getUsableSpace();
            if (free < MIN_FREE) {
                throw new UserException(
                        "the disk of " + root + " has " + (free >> 20) + " MiB left; Millrace needs 1024 to start");
            }
            FileChannel channel = FileChannel.open(
                    root.resolve("lock"), StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE);
            FileLock lock = tryLock(channel);
            if (lock == null) {
                channel.close();
                throw new UserException("the data folder " + root + " is held by " + holder(root)
                        + "; stop it with ./millrace down, or choose" + " another folder with --data");
            }
            DataFolder folder = new DataFolder(root.toRealPath(), channel, lock);
            for (String name : Set.of("kafka", "logs", "tmp", "index", "streams", "run")) {
                Files.createDirectories(folder.path(name));
            }
            return folder;
        } catch (IOException e) {
            throw new UserException("the data folder " + root + " cannot be written: " + e.getMessage());
        }
    }

    private static @Nullable FileLock tryLock(FileChannel channel) throws IOException {
        try {
            return channel.tryLock();
        } catch (OverlappingFileLockException e) {
            return null;
        }
    }

    private static String holder(Path root) throws IOException {
        Path info = root.resolve("run.json");
        return Files.exists(info) ? Files.readString(info).strip() : "another process that is starting";
    }

    /** The folder. */
    public Path root() {
        return root;
    }

    /** A file or folder in it. */
    public Path path(String name) {
        return root.resolve(name);
    }

    /** A secret of this folder, made when it is asked for first, readable by its owner only. */
    public String secret(String name) {
        Path file = path(name + ".secret");
        try {
            if (!Files.exists(file)) {
                byte[] random = new byte[24];
                new SecureRandom().nextBytes(random);
                write(file, HexFormat.of().formatHex(random));
            }
            return Files.readString(file).strip();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Replaces a file whole: a reader sees the old or the new text. */
    public void write(Path file, String text) {
        try {
            Path half = file.resolveSibling(file.getFileName() + ".new");
            Files.writeString(half, text);
            if (Files.getFileStore(half).supportsFileAttributeView("posix")) {
                Files.setPosixFilePermissions(half, PosixFilePermissions.fromString("rw-------"));
            }
            Files.move(half, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public void close() {
        try {
            Files.deleteIfExists(path("run.json"));
            lock.release();
            channel.close();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
