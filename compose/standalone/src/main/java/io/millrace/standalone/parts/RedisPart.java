package io.millrace.standalone.parts;

import io.millrace.standalone.error.UserException;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/** Redis from the binary that embedded-redis carries, or from the machine when that cannot run here. */
public final class RedisPart implements Part {
    private static final Duration START_TIMEOUT = Duration.ofSeconds(10);

    private final DataFolder data;
    private final int port;
    private final Consumer<String> notice;
    private final String password;
    private @Nullable Child child;

    RedisPart(DataFolder data, int port, Consumer<String> notice) {
        this.data = data;
        this.port = port;
        this.notice = notice;
        this.password = data.secret("redis");
    }

    @Override
    public String name() {
        return "redis";
    }

    String url() {
        return "redis://:" + password + "@127.0.0.1:" + port;
    }

    @Override
    public synchronized void start() {
        // A file, since arguments can be read by everybody. What is in Redis can be made again or costs at most a
        // second call, so a
        // snapshot now and then is enough and no write waits for the disk, or is refused since it is full. LRU: the
        // claims that matter are seconds old.
        data.write("redis.conf", """
                bind 127.0.0.1
                port %d
                requirepass %s
                dir "%s"
                appendonly no
                save 60 100
                stop-writes-on-bgsave-error no
                maxmemory 64mb
                maxmemory-policy allkeys-lru
                daemonize no
                """.formatted(port, password, data.folder("redis")));
        try {
            Path binary = Undisturbed.get(this::binary);
            Path snapshot = data.folder("redis").resolve("dump.rdb");
            if (!serves(binary)) {
                if (isAlive()) {
                    throw new UserException("Redis does not answer: " + Child.lastWords(data, name()));
                }
                if (!Files.exists(snapshot)) {
                    throw new UserException("Redis stopped at once: " + Child.lastWords(data, name()));
                }
                // what is in it can be made again, so a damaged one must not keep us from starting
                Files.move(
                        snapshot,
                        snapshot.resolveSibling("dump.rdb.damaged"),
                        java.nio.file.StandardCopyOption.REPLACE_EXISTING);
                if (!serves(binary)) {
                    throw new UserException("Redis stopped at once: " + Child.lastWords(data, name()));
                }
                notice.accept("Redis could not read " + snapshot + " and starts empty: caches are filled again");
            }
        } catch (IOException e) {
            throw new UserException("Redis cannot be started: " + DataFolder.reason(e), e);
        }
    }

    /** Starts the server; whether it answers, which it does not when it stopped or takes too long. */
    private boolean serves(Path binary) {
        child = Undisturbed.get(() -> Child.start(
                data,
                name(),
                "TERM",
                Child.PATIENCE_SECONDS,
                List.of(binary.toString(), data.root().resolve("redis.conf").toString()),
                Map.of()));
        long end = System.nanoTime() + START_TIMEOUT.toNanos();
        while (!answers()) {
            if (!isAlive() || System.nanoTime() > end) {
                return false;
            }
            Child.pause(Duration.ofMillis(10));
        }
        return true;
    }

    private Path binary() throws IOException {
        String resource = resource();
        String problem = "there is no bundled Redis for this platform";
        if (!resource.isEmpty()) {
            Path bundled = data.folder("bin").resolve(resource.substring(1));
            if (!Files.exists(bundled)) {
                Path fresh = bundled.resolveSibling(bundled.getFileName() + ".new");
                DataFolder.extract(resource, fresh);
                Files.move(fresh, bundled);
            }
            if (Child.runs(List.of(bundled.toString(), "--version"))) {
                return bundled;
            }
            problem = "the bundled Redis does not run on this system";
        }
        Optional<Path> installed = Child.onPath("redis-server").or(() -> Child.onPath("valkey-server"));
        if (installed.isEmpty()) {
            throw new UserException(problem
                    + " and there is no redis-server on the PATH: install Redis 6.2 or newer, or set redis.url");
        }
        notice.accept(problem + ", using " + installed.get());
        return installed.get();
    }

    /** The binary for this platform on the class path; empty when there is none. */
    static String resource() {
        return switch (Platform.current()) {
            case LINUX_X64 -> "/redis-server-6.2.6-v5-linux-amd64";
            case LINUX_ARM64 -> "/redis-server-6.2.7-linux-arm64";
            case DARWIN_ARM64 -> "/redis-server-6.2.6-v5-darwin-arm64";
            case OTHER -> "";
        };
    }

    private boolean answers() {
        try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), port)) {
            socket.setSoTimeout(1_000);
            socket.getOutputStream().write(("AUTH " + password + "\r\nPING\r\n").getBytes(StandardCharsets.US_ASCII));
            BufferedReader reader =
                    new BufferedReader(new InputStreamReader(socket.getInputStream(), StandardCharsets.US_ASCII));
            return "+OK".equals(reader.readLine()) && "+PONG".equals(reader.readLine());
        } catch (IOException e) {
            return false;
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
