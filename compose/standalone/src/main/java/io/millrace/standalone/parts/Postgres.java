package io.millrace.standalone.parts;

import io.millrace.standalone.UserException;
import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveInputStream;
import org.apache.commons.compress.compressors.xz.XZCompressorInputStream;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** PostgreSQL as a child process on loopback, with a generated password and its data in the data folder. */
public final class Postgres implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(Postgres.class);
    private static final String USER = "millrace";
    private static final long START_MS = 30_000;

    private final Child child;
    private final int port;
    private final String password;

    private Postgres(Child child, int port, String password) {
        this.child = child;
        this.port = port;
        this.password = password;
    }

    /** Starts it; makes the cluster and the databases {@code millrace} and {@code registry} the first time. */
    public static Postgres start(DataFolder data) {
        Child.reap("postgres", data.path("run"), "INT");
        String password = data.secret("postgres");
        try {
            Path bin = binaries(data);
            Path cluster = data.path("postgres");
            if (!Files.exists(cluster.resolve("PG_VERSION"))) {
                initialize(bin, cluster, data, password);
            }
            // a lock file whose process is gone keeps the server from starting
            Files.deleteIfExists(cluster.resolve("postmaster.pid"));
            int port = Ports.free();
            List<String> command = unprivileged(List.of(
                    bin.resolve("postgres").toString(),
                    "-D",
                    cluster.toString(),
                    "-p",
                    String.valueOf(port),
                    "-c",
                    "listen_addresses=127.0.0.1",
                    "-c",
                    "unix_socket_directories=",
                    "-c",
                    "max_connections=60",
                    "-c",
                    "shared_buffers=64MB",
                    "-c",
                    "logging_collector=off"));
            Child child = Child.start(
                    "postgres",
                    "INT",
                    command,
                    Map.of("LC_ALL", "C"),
                    data.root(),
                    data.path("logs/postgres.log"),
                    data.path("run"));
            Postgres postgres = new Postgres(child, port, password);
            postgres.await(data);
            postgres.database("millrace");
            postgres.database("registry");
            return postgres;
        } catch (IOException e) {
            throw new UserException("PostgreSQL could not be started: " + e.getMessage());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new UserException("interrupted while PostgreSQL started");
        }
    }

    /** The bundled server, unpacked into the data folder; the one on the PATH where the bundled one cannot run. */
    private static Path binaries(DataFolder data) throws IOException, InterruptedException {
        Path home = data.path("postgres-bin");
        Path bin = home.resolve("bin");
        if (!Files.exists(home.resolve("unpacked"))) {
            String resource = resource();
            try (InputStream in = Postgres.class.getResourceAsStream(resource)) {
                if (in != null) {
                    unpack(in, home);
                    Files.writeString(home.resolve("unpacked"), resource);
                }
            }
        }
        if (runs(bin.resolve("postgres"))) {
            return bin;
        }
        for (String folder : System.getenv().getOrDefault("PATH", "").split(":", -1)) {
            Path candidate = Path.of(folder, "postgres");
            if (Files.isExecutable(candidate) && runs(candidate)) {
                Path real = candidate.toRealPath().getParent();
                LOG.info("the bundled PostgreSQL cannot run here; {} is used", candidate);
                return real == null ? Path.of(folder) : real;
            }
        }
        throw new UserException(
                "the bundled PostgreSQL cannot run here and there is no postgres on the PATH: install PostgreSQL 15 or later, or set"
                        + " postgres.url");
    }

    private static String resource() {
        String arch = System.getProperty("os.arch").equals("aarch64") ? "arm_64" : "x86_64";
        boolean mac = System.getProperty("os.name").toLowerCase(Locale.ROOT).contains("mac");
        return "/postgres-" + (mac ? "darwin" : "linux") + "-" + arch + ".txz";
    }

    private static boolean runs(Path binary) throws IOException, InterruptedException {
        if (!Files.isExecutable(binary)) {
            return false;
        }
        Process process = new ProcessBuilder(binary.toString(), "--version")
                .redirectErrorStream(true)
                .start();
        process.getInputStream().readAllBytes();
        return process.waitFor() == 0;
    }

    private static void unpack(InputStream archive, Path home) throws IOException {
        try (TarArchiveInputStream tar =
                new TarArchiveInputStream(new XZCompressorInputStream(new BufferedInputStream(archive)))) {
            for (TarArchiveEntry entry = tar.getNextEntry(); entry != null; entry = tar.getNextEntry()) {
                Path target = home.resolve(entry.getName()).normalize();
                if (!target.startsWith(home)) {
                    throw new IOException("an entry leaves the archive: " + entry.getName());
                }
                if (entry.isDirectory()) {
                    Files.createDirectories(target);
                } else if (entry.isSymbolicLink()) {
                    Files.createDirectories(
                            home.resolve(entry.getName()).normalize().getParent());
                    Files.deleteIfExists(target);
                    Files.createSymbolicLink(target, Path.of(entry.getLinkName()));
                } else {
                    Files.createDirectories(target.getParent());
                    Files.copy(tar, target, java.nio.file.StandardCopyOption.REPLACE_EXISTING);
                    if ((entry.getMode() & 0100) != 0) {
                        Files.setPosixFilePermissions(target, PosixFilePermissions.fromString("rwxr-xr-x"));
                    }
                }
            }
        }
    }

    private static void initialize(Path bin, Path cluster, DataFolder data, String password)
            throws IOException, InterruptedException {
        Path secret = data.path("tmp/initdb.secret");
        data.write(secret, password);
        List<String> command = unprivileged(List.of(
                bin.resolve("initdb").toString(),
                "-D",
                cluster.toString(),
                "-U",
                USER,
                "--pwfile=" + secret,
                "-A",
                "scram-sha-256",
                "-E",
                "UTF8",
                "--no-locale",
                "--no-instructions"));
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        String output = new String(process.getInputStream().readAllBytes(), java.nio.charset.StandardCharsets.UTF_8);
        int code = process.waitFor();
        Files.delete(secret);
        if (code != 0) {
            throw new IOException("initdb failed: " + output.strip());
        }
    }

    /** The server refuses to run as root: in a user namespace of its own it is nobody, with the same files. */
    private static List<String> unprivileged(List<String> command) {
        if (!System.getProperty("user.name").equals("root")) {
            return command;
        }
        List<String> wrapped = new ArrayList<>(List.of("unshare", "-U"));
        wrapped.addAll(command);
        return wrapped;
    }

    private void await(DataFolder data) throws InterruptedException {
        long until = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(START_MS);
        while (System.nanoTime() < until) {
            try (Connection connection = connect("postgres")) {
                if (connection.isValid(1)) {
                    return;
                }
            } catch (SQLException e) {
                if (!child.isAlive()) {
                    throw new UserException(
                            "PostgreSQL stopped while it started; see " + data.path("logs/postgres.log"));
                }
                Thread.sleep(30);
            }
        }
        throw new UserException("PostgreSQL did not start within 30 s; see " + data.path("logs/postgres.log"));
    }

    private void database(String name) {
        try (Connection connection = connect("postgres");
                Statement statement = connection.createStatement()) {
            try (ResultSet found = statement.executeQuery("SELECT 1 FROM pg_database WHERE datname = '" + name + "'")) {
                if (found.next()) {
                    return;
                }
            }
            statement.execute("CREATE DATABASE " + name);
        } catch (SQLException e) {
            throw new IllegalStateException("database " + name + " could not be made", e);
        }
    }

    private Connection connect(String database) throws SQLException {
        return DriverManager.getConnection(jdbcUrl(database) + "?connectTimeout=2&socketTimeout=10", USER, password);
    }

    /** JDBC URL of a database. */
    public String jdbcUrl(String database) {
        return "jdbc:postgresql://127.0.0.1:" + port + "/" + database;
    }

    /** Its user. */
    public String user() {
        return USER;
    }

    /** Its password. */
    public String password() {
        return password;
    }

    @Override
    public void close() {
        child.close();
    }
}
