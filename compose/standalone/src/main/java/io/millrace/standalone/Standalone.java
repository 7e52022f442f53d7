package io.millrace.standalone;

import io.millrace.config.ConfigLoader.Loaded;
import io.millrace.config.MillraceConfig;
import io.millrace.gateway.Gateway;
import io.millrace.learners.sources.ConnectWorker;
import io.millrace.sinks.postgres.PostgresSink;
import io.millrace.standalone.error.UserException;
import io.millrace.standalone.parts.DataFolder;
import io.millrace.standalone.parts.Endpoints;
import io.millrace.standalone.parts.Parts;
import io.millrace.standalone.parts.SchemaBook;
import io.millrace.standalone.parts.Undisturbed;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Everything in this process: the data folder, the parts, the services. */
public final class Standalone implements AutoCloseable {
    /** How long knowledge may hold back the ready line; what takes longer goes on behind it. */
    private static final Duration KNOWLEDGE_WAIT = Duration.ofSeconds(60);

    private static final Duration PROOF_WAIT = Duration.ofSeconds(30);

    /** The same where the sink says that it has others to write first. */
    private static final Duration BACKLOG_WAIT = Duration.ofSeconds(5);

    /** What was started, last first: stopped in this order. */
    private final Deque<AutoCloseable> started = new ArrayDeque<>();

    private final Endpoints endpoints;
    private final Services services;
    private final String url;

    /**
     * A folder to ingest.
     *
     * @param name of the source; documents are known by it and their path below the folder
     */
    public record Knowledge(String name, Path folder, String collection) {}

    private Standalone(Loaded loaded, Path folder, List<Knowledge> knowledge, Consumer<String> say) {
        MillraceConfig config = loaded.config();
        long began = System.nanoTime();
        try {
            DataFolder data = keep(Undisturbed.get(
                    () -> DataFolder.open(folder, config.limits().freeDiskBytes())));
            Parts parts = keep(Undisturbed.get(() -> {
                Confinement.to(data);
                requireFree(config.listen());
                return new Parts(data, config, say);
            }));
            endpoints = parts.endpoints();
            parts.start(() -> {
                CompletableFuture<Void> dismissed =
                        config.kafka().bootstrapServers().isEmpty()
                                ? CompletableFuture.runAsync(() -> Services.dismissMembers(config, parts.endpoints()))
                                : CompletableFuture.completedFuture(null);
                try {
                    Services.createTopics(config, parts.endpoints());
                } finally {
                    // also when it is stopped meanwhile: the broker goes next
                    dismissed.join();
                }
            });
            parts.endpoints().write(data);
            say.accept("parts are up after %.1f s: kafka, registry, postgres, redis".formatted(seconds(began)));

            data.folder(DataFolder.ARCHIVE);
            services = keep(Undisturbed.get(() -> new Services(
                    config, endpoints, data.root(), data.root(), Roles.ALL, loaded::view, connect(config, parts))));
            Gateway gateway = services.gateway().orElseThrow();
            services.registerSchemas(config);
            SchemaBook.note(data, services.log().codecs().registry(), config);
            services.startAll();
            services.awaitEssential(say);
            CompletableFuture<String> first = gateway.probe();
            services.awaitOthers(say);
            say.accept("services are up after %.1f s: a query went through the log %s"
                    .formatted(seconds(began), prove(first)));
            url = url(config.listen(), gateway.port());
            data.announce(url);

            Path logFile = data.root().resolve("logs/millrace.log");
            keep(Ingestion.start(services, knowledge, logFile, say)).await(KNOWLEDGE_WAIT);
        } catch (RuntimeException e) {
            // a signal may be the reason; the cleaning up is not meant by it
            boolean asked = Thread.interrupted();
            for (AutoCloseable each : started) {
                if (each instanceof Parts parts && !asked) {
                    parts.doubt();
                }
            }
            close();
            throw e;
        }
    }

    /**
     * Starts everything and shows that it works: one synthetic query goes through the log into Postgres, or to its answer while
     * Postgres catches up.
     *
     * @param say receives progress, line by line
     * @throws UserException when it cannot be started, or this thread is interrupted; nothing is left running
     */
    public static Standalone start(Loaded loaded, Path folder, List<Knowledge> knowledge, Consumer<String> say) {
        return new Standalone(loaded, folder, knowledge, say);
    }

    /** The configured cluster, or a worker of our own. */
    static ConnectWorker connect(MillraceConfig config, Parts parts) {
        return config.connect().url().isEmpty()
                ? () -> running(parts)
                : () -> URI.create(config.connect().url());
    }

    private static URI running(Parts parts) {
        try {
            return parts.connect().running();
        } catch (UserException e) {
            throw new IllegalStateException(e.getMessage(), e);
        }
    }

    private <T extends AutoCloseable> T keep(T part) {
        started.push(part);
        return part;
    }

    /** Says so now, and not after the parts have started. */
    private static void requireFree(MillraceConfig.Listen listen) {
        try (ServerSocket socket = new ServerSocket()) {
            socket.setReuseAddress(true);
            socket.bind(new InetSocketAddress(listen.host(), listen.port()));
        } catch (IOException e) {
            throw new UserException(
                    "port " + listen.port() + " on " + listen.host() + " cannot be listened on (" + e.getMessage()
                            + "); stop what listens there, or choose another with --port",
                    e);
        }
    }

    /**
     * One query through the log and into the database. Where the database has a backlog to take first, or does not take rows yet, the
     * answer is the proof: that it catches up is no reason not to start.
     *
     * @param first completes with its interaction id when it is answered
     * @return how far it went, for people
     */
    private String prove(CompletableFuture<String> first) {
        try {
            String id = first.get(PROOF_WAIT.toSeconds(), TimeUnit.SECONDS);
            PostgresSink sink = services.all().stream()
                    .filter(PostgresSink.class::isInstance)
                    .map(PostgresSink.class::cast)
                    .findFirst()
                    .orElseThrow();
            if (!sink.isReady()) {
                return "to its answer; Postgres takes no rows yet";
            }
            long began = System.nanoTime();
            try (Connection connection =
                            DriverManager.getConnection(endpoints.jdbcUrl(), endpoints.user(), endpoints.password());
                    PreparedStatement select =
                            connection.prepareStatement("SELECT 1 FROM interactions WHERE interaction_id = ?::uuid")) {
                select.setString(1, id);
                while (!isThere(select)) {
                    long behind = sink.behind();
                    if (behind > 1 && System.nanoTime() - began > BACKLOG_WAIT.toNanos()) {
                        return "to its answer; Postgres is catching up, %d records behind".formatted(behind);
                    }
                    if (System.nanoTime() - began > PROOF_WAIT.toNanos()) {
                        throw new TimeoutException();
                    }
                    Thread.sleep(10);
                }
                return "into Postgres";
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new UserException("interrupted while it started", e);
        } catch (ExecutionException | TimeoutException | SQLException e) {
            throw new UserException(
                    "a first query did not go through the log into Postgres; see millrace logs. The next start checks the whole log",
                    e);
        }
    }

    private static boolean isThere(PreparedStatement select) throws SQLException {
        try (ResultSet rows = select.executeQuery()) {
            return rows.next();
        }
    }

    /** Where it listens. */
    public String url() {
        return url;
    }

    /** @param port that was bound, where 0 is configured */
    static String url(MillraceConfig.Listen listen, int port) {
        String host = listen.host();
        return "http://" + (host.contains(":") ? "[" + host + "]" : host) + ":" + port;
    }

    /** Its services. */
    public Services services() {
        return services;
    }

    /** Where its parts are. */
    public Endpoints endpoints() {
        return endpoints;
    }

    /** The project's own documents, where this runs from a checkout. */
    static Optional<Path> ownDocs() {
        return Optional.ofNullable(System.getProperty("millrace.home"))
                .map(home -> Path.of(home, "docs"))
                .filter(Files::isDirectory);
    }

    private static double seconds(long began) {
        return (System.nanoTime() - began) / 1e9;
    }

    /** Stops the services, then the registry, Redis, the broker and PostgreSQL; then the data folder is free. */
    @Override
    public void close() {
        while (!started.isEmpty()) {
            try {
                started.pop().close();
            } catch (Exception e) {
                // not a constant: logging must not be set up before the data folder is known
                Logger log = LoggerFactory.getLogger(Standalone.class);
                log.warn("something did not stop in good order", e);
            }
        }
    }
}
