package io.millrace.standalone.parts;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.millrace.standalone.error.UserException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.charset.StandardCharsets;
import java.nio.file.AtomicMoveNotSupportedException;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.SecureRandom;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.HexFormat;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The one folder that an instance writes to, and the lock on it.
 *
 * <p>The lock is taken before anything is touched. Kafka has a lock of its own, but its controller writes to the metadata log
 * before that is checked, so a second process would damage the log of the first.
 */
public final class DataFolder implements AutoCloseable {
    /** Who holds the folder, since when and where it serves; the client commands read it. */
    public static final String HOLDER = "run.json";

    /** What the archive is kept in. */
    public static final String ARCHIVE = "archive";

    /** Kafka's {@code log.dirs} and {@code plugin.path} are lists; Redis reads its file with quotation marks. */
    private static final Pattern UNUSABLE = Pattern.compile("[,\"\\\\\\p{Cntrl}]");

    private static final ObjectMapper JSON = new ObjectMapper();
    private static final String LOCK = "lock";
    /** What may be in a data folder before its first start: settings, services that ran elsewhere, and what a new disk holds. */
    private static final Set<String> BEFORE_US = Set.of(
            "millrace.yaml",
            "knowledge-sources.yaml",
            "connectors",
            "processes",
            ARCHIVE,
            "bin",
            "last-interaction",
            "lost+found");

    private static final String PRIVATE_FOLDER = "rwx------";
    private static final String PRIVATE_FILE = "rw-------";

    /**
     * Folders that this process holds. POSIX drops a process's lock when any descriptor of the file is closed, so the file may not
     * even be opened a second time.
     */
    private static final Set<Path> HELD = ConcurrentHashMap.newKeySet();

    private final Path root;
    private final FileChannel channel;
    private final FileLock lock;
    private final Instant since = Instant.now().truncatedTo(ChronoUnit.SECONDS);

    private DataFolder(Path root, FileChannel channel, FileLock lock) {
        this.root = root;
        this.channel = channel;
        this.lock = lock;
    }

    /**
     * Creates the folder if need be and takes its lock.
     *
     * @param leastFree bytes that must be free on its disk: a broker that meets a full one stops for good
     * @throws UserException when it cannot be written to, the disk is nearly full, or another process holds it
     */
    public static DataFolder open(Path folder, long leastFree) {
        Path root = folder.toAbsolutePath().normalize();
        if (UNUSABLE.matcher(root.toString()).find()) {
            throw new UserException(
                    "the data folder " + root
                            + " has a comma, a quotation mark or a backslash in its path, which the settings of the parts cannot hold; name another with --data");
        }
        try {
            Files.createDirectories(root);
            requireOurs(root);
            restrict(root, PRIVATE_FOLDER);
            if (!HELD.add(root.toRealPath())) {
                throw new UserException("the data folder " + root + " is in use by " + holder(root));
            }
            FileChannel channel =
                    FileChannel.open(root.resolve(LOCK), StandardOpenOption.CREATE, StandardOpenOption.WRITE);
            FileLock lock = channel.tryLock();
            if (lock == null) {
                channel.close();
                HELD.remove(root.toRealPath());
                throw new UserException("the data folder " + root + " is in use by " + holder(root));
            }
            DataFolder data = new DataFolder(root, channel, lock);
            long free = Files.getFileStore(root).getUsableSpace();
            if (free < leastFree) {
                data.close();
                throw new UserException("the disk of the data folder " + root + " is nearly full: " + (free >> 20)
                        + " MiB free, " + (leastFree >> 20) + " MiB needed (limits.free-disk)");
            }
            data.delete("tmp");
            data.delete("endpoints.json");
            data.announce("");
            return data;
        } catch (IOException e) {
            throw new UserException("the data folder " + root + " cannot be used: " + reason(e), e);
        }
    }

    /** A typing error must not take everybody's rights to a home folder, nor delete what is called tmp there. */
    private static void requireOurs(Path root) throws IOException {
        if (Files.exists(root.resolve(LOCK))) {
            return;
        }
        try (Stream<Path> found = Files.list(root)) {
            Optional<String> foreign = found.map(each -> each.getFileName().toString())
                    .filter(name -> !name.startsWith(".") && !BEFORE_US.contains(name))
                    .sorted()
                    .findFirst();
            if (foreign.isPresent()) {
                throw new UserException("the folder " + root + " is no data folder of millrace: there is already "
                        + foreign.get() + " in it; name an empty one with --data");
            }
        }
    }

    /** Who holds a folder, in words. */
    private static String holder(Path root) {
        JsonNode holder = read(root.resolve(HOLDER));
        if (!holder.has("pid")) {
            return "another process that has just started";
        }
        String url = holder.path("url").asText();
        return "pid " + holder.path("pid").asLong() + " since "
                + holder.path("started_at").asText() + ", " + (url.isEmpty() ? "which is not serving yet" : url)
                + "; stop it with millrace down or choose another --data";
    }

    private static JsonNode read(Path file) {
        try {
            return Files.exists(file) ? JSON.readTree(file.toFile()) : JSON.createObjectNode();
        } catch (IOException e) {
            // a message must not fail for what it wanted to add
            return JSON.createObjectNode();
        }
    }

    /** Tells a second instance, and our own clients, where this one is; empty while it does not serve yet. */
    public void announce(String url) {
        long pid = ProcessHandle.current().pid();
        write(
                HOLDER,
                JSON.createObjectNode()
                                .put("pid", pid)
                                .put("mark", ProcessMark.of(pid))
                                .put("started_at", since.toString())
                                .put("url", url)
                                .toPrettyString()
                        + "\n");
    }

    public Path root() {
        return root;
    }

    /** A folder below, created with mode 0700. */
    public Path folder(String name) {
        return create(root.resolve(name));
    }

    /** Creates a folder with mode 0700 if need be. */
    public static Path create(Path folder) {
        try {
            Files.createDirectories(folder);
            restrict(folder, PRIVATE_FOLDER);
            return folder;
        } catch (IOException e) {
            throw new UserException("the folder " + folder + " cannot be created: " + reason(e), e);
        }
    }

    /** A password made on first use and kept, mode 0600; 128 bits in hex. */
    public String secret(String name) {
        Path file = folder("secrets").resolve(name);
        try {
            if (!Files.exists(file) || Files.size(file) == 0) {
                byte[] random = new byte[16];
                new SecureRandom().nextBytes(random);
                write("secrets/" + name, HexFormat.of().formatHex(random));
            }
            return Files.readString(file).strip();
        } catch (IOException e) {
            throw new UserException("the secret " + file + " cannot be read: " + reason(e), e);
        }
    }

    /** Replaces a file as a whole, mode 0600: a reader sees the old one or the new one. */
    public void write(String name, String content) {
        Path file = root.resolve(name);
        Path fresh = file.resolveSibling(file.getFileName() + ".new");
        try {
            Files.deleteIfExists(fresh);
            Files.createFile(fresh);
            restrict(fresh, PRIVATE_FILE);
            Files.writeString(fresh, content);
            try {
                Files.move(fresh, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
            } catch (AtomicMoveNotSupportedException e) {
                Files.move(fresh, file, StandardCopyOption.REPLACE_EXISTING);
            }
        } catch (IOException e) {
            throw new UserException("the file " + file + " cannot be written: " + reason(e), e);
        }
    }

    /** Small tables of the folder, such as ports; empty when there is none, or it is damaged. */
    Properties load(String name) {
        Path file = root.resolve(name);
        Properties properties = new Properties();
        if (Files.exists(file)) {
            try (var reader = Files.newBufferedReader(file, StandardCharsets.ISO_8859_1)) {
                properties.load(reader);
            } catch (IllegalArgumentException e) {
                properties.clear();
            } catch (IOException e) {
                throw new UserException("the file " + file + " cannot be read: " + reason(e), e);
            }
        }
        return properties;
    }

    /** A number of such a table; 0 when there is none. */
    static long number(Properties table, String key) {
        try {
            return Long.parseLong(table.getProperty(key, "0").strip());
        } catch (NumberFormatException e) {
            return 0;
        }
    }

    void store(String name, Properties properties) {
        StringBuilder text = new StringBuilder();
        properties.stringPropertyNames().stream()
                .sorted()
                .forEach(key -> text.append(key)
                        .append('=')
                        .append(properties.getProperty(key))
                        .append('\n'));
        write(name, text.toString());
    }

    /** Copies a resource of the class path to an executable file. */
    static void extract(String resource, Path target) throws IOException {
        try (InputStream in = DataFolder.class.getResourceAsStream(resource)) {
            if (in == null) {
                throw new IOException("there is no " + resource + " for this platform");
            }
            try (OutputStream out = Files.newOutputStream(target)) {
                in.transferTo(out);
            }
        }
        restrict(target, PRIVATE_FOLDER);
    }

    /** Deletes a file or folder below, if it is there. */
    public void delete(String name) {
        Path start = root.resolve(name);
        if (!Files.exists(start)) {
            return;
        }
        try {
            Files.walkFileTree(start, new SimpleFileVisitor<>() {
                @Override
                public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) throws IOException {
                    Files.delete(file);
                    return FileVisitResult.CONTINUE;
                }

                @Override
                public FileVisitResult postVisitDirectory(Path folder, @Nullable IOException error) throws IOException {
                    Files.delete(folder);
                    return FileVisitResult.CONTINUE;
                }
            });
        } catch (IOException e) {
            throw new UserException(start + " cannot be deleted: " + reason(e), e);
        }
    }

    private static void restrict(Path path, String mode) throws IOException {
        Files.setPosixFilePermissions(path, PosixFilePermissions.fromString(mode));
    }

    /** What went wrong with a file, in words: the exceptions of NIO say only the path. */
    public static String reason(IOException e) {
        return switch (e) {
            case java.nio.file.AccessDeniedException denied -> denied.getFile() + ": permission denied";
            case java.nio.file.NoSuchFileException missing -> "there is no " + missing.getFile();
            case java.nio.charset.CharacterCodingException malformed -> "it is not UTF-8";
            case java.nio.file.FileAlreadyExistsException exists -> exists.getFile() + " is not a folder";
            case java.nio.file.FileSystemException fs when fs.getReason() != null -> fs.getReason();
            default -> e.toString();
        };
    }

    /** Gives the folder free. */
    @Override
    public void close() {
        try {
            Files.deleteIfExists(root.resolve("endpoints.json"));
            Files.deleteIfExists(root.resolve(HOLDER));
            lock.release();
            channel.close();
            HELD.remove(root.toRealPath());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
