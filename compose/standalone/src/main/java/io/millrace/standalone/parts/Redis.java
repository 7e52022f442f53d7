package io.millrace.standalone.parts;

import io.millrace.standalone.UserException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Redis as a child process on loopback, with a generated password. It holds caches and claims: nothing is lost with it. */
public final class Redis implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(Redis.class);

    private final Child child;
    private final String url;

    private Redis(Child child, String url) {
        this.child = child;
        this.url = url;
    }

    /** Starts it. */
    public static Redis start(DataFolder data) {
        Child.reap("redis", data.path("run"), "TERM");
        try {
            String binary = binary(data);
            int port = Ports.free();
            String password = data.secret("redis");
            Path settings = data.path("run/redis.conf");
            Files.createDirectories(data.path("redis"));
            // in a file, since a command line can be read by everybody
            data.write(settings, """
                    bind 127.0.0.1
                    port %d
                    requirepass %s
                    dir "%s"
                    appendonly no
                    save ""
                    maxmemory 128mb
                    maxmemory-policy allkeys-lru
                    """.formatted(port, password, data.path("redis")));
            Child child = Child.start(
                    "redis",
                    "TERM",
                    List.of(binary, settings.toString()),
                    Map.of(),
                    data.root(),
                    data.path("logs/redis.log"),
                    data.path("run"));
            long until = System.currentTimeMillis() + 10_000;
            while (!Ports.listens(port)) {
                if (!child.isAlive() || System.currentTimeMillis() > until) {
                    throw new UserException("Redis did not start; see " + data.path("logs/redis.log"));
                }
                Thread.sleep(20);
            }
            return new Redis(child, "redis://:" + password + "@127.0.0.1:" + port);
        } catch (IOException e) {
            throw new UserException("Redis could not be started: " + e.getMessage());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new UserException("interrupted while Redis started");
        }
    }

    private static String binary(DataFolder data) throws IOException, InterruptedException {
        boolean mac = System.getProperty("os.name").toLowerCase(Locale.ROOT).contains("mac");
        boolean arm = System.getProperty("os.arch").equals("aarch64");
        String resource = mac
                ? "/redis-server-6.2.6-v5-darwin-" + (arm ? "arm64" : "amd64")
                : arm ? "/redis-server-6.2.7-linux-arm64" : "/redis-server-6.2.6-v5-linux-amd64";
        Path file = data.path("redis-bin/redis-server");
        if (!Files.exists(file)) {
            Files.createDirectories(file.getParent());
            try (InputStream in = Redis.class.getResourceAsStream(resource)) {
                if (in != null) {
                    Files.copy(in, file, StandardCopyOption.REPLACE_EXISTING);
                    Files.setPosixFilePermissions(file, PosixFilePermissions.fromString("rwx------"));
                }
            }
        }
        if (runs(file.toString())) {
            return file.toString();
        }
        if (runs("redis-server")) {
            LOG.info("the bundled Redis cannot run here; redis-server from the PATH is used");
            return "redis-server";
        }
        throw new UserException(
                "the bundled Redis cannot run here and there is no redis-server on the PATH: install Redis, or set redis.url");
    }

    private static boolean runs(String binary) throws InterruptedException {
        try {
            Process process = new ProcessBuilder(binary, "--version")
                    .redirectErrorStream(true)
                    .start();
            process.getInputStream().readAllBytes();
            return process.waitFor() == 0;
        } catch (IOException e) {
            return false;
        }
    }

    /** {@code redis://…}, with the password. */
    public String url() {
        return url;
    }

    @Override
    public void close() {
        child.close();
    }
}
