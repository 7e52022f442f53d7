package io.millrace.standalone.parts;

import io.millrace.standalone.error.UserException;
import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveInputStream;
import org.apache.commons.compress.compressors.xz.XZCompressorInputStream;
import org.jspecify.annotations.Nullable;

/**
 * PostgreSQL from the binaries that zonky publishes, or from the machine when those cannot run here. The server is our child, not
 * a daemon, so it dies with us; its data stay.
 */
public final class PostgresPart implements Part {
    static final String USER = "millrace";

    /** The database of the sink. */
    static final String DATABASE = "millrace";

    /** The database of the schema registry. */
    static final String REGISTRY_DATABASE = "registry";

    static final String VERSION = "18.6.0";
    private static final Duration START_TIMEOUT = Duration.ofSeconds(60);

    /** What the JVM calls a user that the machine has no name for. */
    private static final String NAMELESS = "?";

    private static final String WRONG_PASSWORD = "28P01";

    private final DataFolder data;
    private final int port;
    private final Consumer<String> notice;
    private final String password;
    private @Nullable Child child;

    PostgresPart(DataFolder data, int port, Consumer<String> notice) {
        this.data = data;
        this.port = port;
        this.notice = notice;
        this.password = data.secret("postgres");
    }

    @Override
    public String name() {
        return "postgres";
    }

    String url(String database) {
        return "jdbc:postgresql://127.0.0.1:" + port + "/" + database;
    }

    String password() {
        return password;
    }

    @Override
    public synchronized void start() {
        Path cluster = data.folder("postgres").resolve("data");
        try {
            Path bin = Undisturbed.get(this::binaries);
            child = Undisturbed.get(() -> {
                List<String> unprivileged = unprivileged(bin);
                if (!Files.exists(cluster)) {
                    initialize(bin, unprivileged, cluster);
                }
                own(cluster, unprivileged);
                endPredecessor(cluster);
                return launch(bin, unprivileged, cluster);
            });
            awaitAndCreateDatabases();
        } catch (IOException e) {
            throw new UserException("PostgreSQL cannot be started: " + DataFolder.reason(e), e);
        }
    }

    private Child launch(Path bin, List<String> unprivileged, Path cluster) {
        List<String> command = new ArrayList<>(unprivileged);
        command.add(bin.resolve("postgres").toString());
        command.addAll(List.of("-D", cluster.toString(), "-p", String.valueOf(port)));
        for (String setting : List.of(
                "listen_addresses=127.0.0.1",
                // a socket's path may have 107 bytes, a data folder more
                "unix_socket_directories=",
                "shared_buffers=32MB",
                "max_connections=60",
                // nobody replicates from here
                "max_wal_senders=0",
                "max_logical_replication_workers=0",
                "wal_level=minimal",
                "max_wal_size=256MB",
                "log_min_messages=warning",
                "log_line_prefix=%m [%p] ")) {
            command.add("-c");
            command.add(setting);
        }
        return Child.start(data, name(), "INT", Child.PATIENCE_SECONDS, command, Map.of());
    }

    /** The folder of postgres and initdb: ours if they run here, else the machine's. */
    private Path binaries() throws IOException {
        Path home = data.folder("bin").resolve("postgresql-" + VERSION);
        Path bin = home.resolve("bin");
        String problem = "there is no bundled PostgreSQL for this platform";
        String resource = resource();
        if (!resource.isEmpty()) {
            if (!Files.exists(home)) {
                unpack(resource, home);
            }
            if (Child.runs(List.of(bin.resolve("postgres").toString(), "--version"))) {
                return bin;
            }
            problem = "the bundled PostgreSQL does not run on this system";
        }
        Optional<Path> installed = installed();
        if (installed.isEmpty()) {
            throw new UserException(problem
                    + " and there is no postgres on the PATH: install PostgreSQL 15 or newer, or set postgres.url");
        }
        notice.accept(problem + ", using " + installed.get().resolve("postgres"));
        return installed.get();
    }

    /** The archive for this platform on the class path; empty when there is none. */
    static String resource() {
        return switch (Platform.current()) {
            case LINUX_X64 -> "/postgres-linux-x86_64.txz";
            case LINUX_ARM64 -> "/postgres-linux-arm_64.txz";
            case DARWIN_ARM64 -> "/postgres-darwin-arm_64.txz";
            case OTHER -> "";
        };
    }

    private static Optional<Path> installed() throws IOException {
        List<Path> candidates = new ArrayList<>();
        // a link on the PATH is followed: initdb is beside the real one
        Optional<Path> onPath = Child.onPath("postgres");
        if (onPath.isPresent()) {
            candidates.add(onPath.get().toRealPath().getParent());
        }
        // Debian keeps its servers off the PATH
        Path debian = Path.of("/usr/lib/postgresql");
        if (Files.isDirectory(debian)) {
            try (Stream<Path> versions = Files.list(debian)) {
                versions.map(version -> version.resolve("bin")).sorted().forEach(candidates::add);
            }
        }
        return candidates.stream()
                .filter(bin -> Files.isExecutable(bin.resolve("initdb")))
                .filter(bin -> Child.runs(List.of(bin.resolve("postgres").toString(), "--version")))
                .findFirst();
    }

    /** Unpacks an archive of the class path, below the data folder. */
    void unpack(String resource, Path home) throws IOException {
        Path fresh = home.resolveSibling(home.getFileName() + ".new");
        data.delete(data.root().relativize(fresh).toString());
        try (InputStream raw = PostgresPart.class.getResourceAsStream(resource)) {
            if (raw == null) {
                throw new IOException("the jar with " + resource + " is missing");
            }
            TarArchiveInputStream tar =
                    new TarArchiveInputStream(new XZCompressorInputStream(new BufferedInputStream(raw)));
            for (TarArchiveEntry entry = tar.getNextEntry(); entry != null; entry = tar.getNextEntry()) {
                Path target = fresh.resolve(entry.getName()).normalize();
                if (!target.startsWith(fresh)) {
                    throw new IOException("an entry of " + resource + " leaves its folder: " + entry.getName());
                }
                if (entry.isDirectory()) {
                    Files.createDirectories(target);
                    continue;
                }
                Files.createDirectories(target.resolveSibling("."));
                if (entry.isSymbolicLink()) {
                    Files.createSymbolicLink(target, Path.of(entry.getLinkName()));
                } else {
                    Files.copy(tar, target);
                    if ((entry.getMode() & 0100) != 0) {
                        Files.setPosixFilePermissions(target, PosixFilePermissions.fromString("rwxr-xr-x"));
                    }
                }
            }
        }
        // whole or not at all: a kill in between leaves a folder that nobody looks at
        Files.move(fresh, home);
    }

    /**
     * What to put before a command so that PostgreSQL, which refuses to run as root, does not see root. A user namespace without a
     * mapping shows us and our files as nobody and changes nothing on disk. Containers often forbid namespaces; there the user
     * really changes and keeps the right to pass through folders that are root's.
     */
    private static List<String> unprivileged(Path bin) {
        boolean root = "root".equals(System.getProperty("user.name"));
        // a container may run us as a user that the machine has no name for, and PostgreSQL wants one: nobody will do
        if (!root && !NAMELESS.equals(System.getProperty("user.name"))) {
            return List.of();
        }
        List<String> version = List.of(bin.resolve("postgres").toString(), "--version");
        for (List<String> prefix : root ? List.of(NAMESPACE, NOBODY) : List.of(NAMESPACE)) {
            if (Child.runs(Stream.concat(prefix.stream(), version.stream()).toList())) {
                return prefix;
            }
        }
        if (!root) {
            // or it says so itself
            return List.of();
        }
        throw new UserException(
                "PostgreSQL does not run as root and neither unshare nor setpriv can change that here: start as another user, or set postgres.url");
    }

    private static final List<String> NAMESPACE = List.of("unshare", "-U");
    private static final List<String> NOBODY = List.of(
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--inh-caps=+dac_override",
            "--ambient-caps=+dac_override");

    /** The server wants to own its folder; who that is can change between starts, with the way root is left. */
    private static void own(Path cluster, List<String> unprivileged) throws IOException {
        if (!"root".equals(System.getProperty("user.name"))) {
            return;
        }
        Integer owner = unprivileged.equals(NOBODY) ? 65534 : 0;
        if (owner.equals(Files.getAttribute(cluster, "unix:uid"))) {
            return;
        }
        try (Stream<Path> files = Files.walk(cluster)) {
            for (Path file : files.toList()) {
                Files.setAttribute(file, "unix:uid", owner);
                Files.setAttribute(file, "unix:gid", owner);
            }
        }
    }

    private void initialize(Path bin, List<String> unprivileged, Path cluster) throws IOException {
        Path fresh = data.folder("postgres").resolve("data.new");
        data.delete("postgres/data.new");
        Files.createDirectory(
                fresh, PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
        own(fresh, unprivileged);
        List<String> command = new ArrayList<>(unprivileged);
        command.addAll(List.of(
                bin.resolve("initdb").toString(),
                "--pgdata=" + fresh,
                "--username=" + USER,
                "--pwfile=" + data.folder("secrets").resolve("postgres"),
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--no-locale",
                // a cluster that was cut off half-way is thrown away, so its creation need not survive a power cut
                "--no-sync"));
        Path log = data.folder("logs").resolve("initdb.log");
        try {
            Process initdb = new ProcessBuilder(command)
                    .redirectErrorStream(true)
                    .redirectOutput(log.toFile())
                    .start();
            if (!initdb.waitFor(START_TIMEOUT.toSeconds(), TimeUnit.SECONDS) || initdb.exitValue() != 0) {
                initdb.destroyForcibly();
                throw new UserException("PostgreSQL's initdb failed: " + Child.lastWords(data, "initdb"));
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new UserException("interrupted while starting", e);
        }
        Files.move(fresh, cluster);
    }

    /**
     * Ends a server that still runs on this folder. Its own lock file names it; a pid that meanwhile is something else's is let
     * alone, and then the file goes, because the server would believe it.
     */
    private static void endPredecessor(Path cluster) throws IOException {
        Path lock = cluster.resolve("postmaster.pid");
        if (!Files.exists(lock)) {
            return;
        }
        Optional<ProcessHandle> holder = Files.readString(lock, StandardCharsets.ISO_8859_1)
                .lines()
                .map(String::strip)
                .findFirst()
                // what a full disk left of it names nobody
                .filter(pid -> pid.matches("[0-9]{1,9}"))
                .flatMap(pid -> ProcessHandle.of(Long.parseLong(pid)));
        boolean ours = holder.flatMap(handle -> handle.info().commandLine())
                .filter(command -> command.contains(cluster.toString()))
                .isPresent();
        if (ours && holder.isPresent()) {
            Child.end(holder.get(), "INT");
        }
        Files.deleteIfExists(lock);
    }

    private void awaitAndCreateDatabases() {
        long end = System.nanoTime() + START_TIMEOUT.toNanos();
        while (true) {
            try (Connection connection = DriverManager.getConnection(url("postgres"), USER, password);
                    Statement statement = connection.createStatement()) {
                Set<String> existing = new java.util.HashSet<>();
                try (ResultSet rows = statement.executeQuery("SELECT datname FROM pg_database")) {
                    while (rows.next()) {
                        existing.add(rows.getString(1));
                    }
                }
                for (String database : List.of(DATABASE, REGISTRY_DATABASE)) {
                    if (!existing.contains(database)) {
                        statement.execute("CREATE DATABASE " + database);
                    }
                }
                return;
            } catch (SQLException e) {
                if (!isAlive()) {
                    throw new UserException(
                            "PostgreSQL stopped at once: " + Child.lastWords(data, name())
                                    + ". If its files are damaged, move "
                                    + data.root().resolve("postgres")
                                    + " away: the next start fills a new database from the log, and millrace rebuild postgres from the archive too",
                            e);
                }
                if (WRONG_PASSWORD.equals(e.getSQLState())) {
                    throw new UserException(
                            "PostgreSQL was made with another password than is in "
                                    + data.root().resolve("secrets/postgres") + ": put that file back",
                            e);
                }
                if (System.nanoTime() > end) {
                    throw new UserException("PostgreSQL does not answer: " + e.getMessage(), e);
                }
                Child.pause(Duration.ofMillis(20));
            }
        }
    }

    @Override
    public synchronized boolean isAlive() {
        return child != null && child.isAlive();
    }

    @Override
    public synchronized void stop() {
        if (child != null) {
            child.stop();
        }
    }
}
