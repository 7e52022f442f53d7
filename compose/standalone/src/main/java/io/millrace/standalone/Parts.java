package io.millrace.standalone;

import io.millrace.config.MillraceConfig;
import io.millrace.standalone.parts.Broker;
import io.millrace.standalone.parts.DataFolder;
import io.millrace.standalone.parts.Postgres;
import io.millrace.standalone.parts.Redis;
import io.millrace.standalone.parts.Registry;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;

/** The standing parts: embedded where no URL is configured, started in parallel, stopped in the reverse of what depends on what. */
public final class Parts implements AutoCloseable {
    private final Endpoints endpoints;
    private final Deque<AutoCloseable> started;

    /**
     * Where the parts are.
     *
     * @param jdbcUrl of the database {@code millrace}
     */
    public record Endpoints(
            String bootstrapServers,
            String registryUrl,
            String jdbcUrl,
            String user,
            String password,
            String redisUrl) {}

    private Parts(Endpoints endpoints, Deque<AutoCloseable> started) {
        this.endpoints = endpoints;
        this.started = started;
    }

    /** Starts what is not configured elsewhere. */
    public static Parts start(MillraceConfig config, DataFolder data, Path registryHome) {
        Deque<AutoCloseable> started = new ArrayDeque<>();
        var broker = CompletableFuture.supplyAsync(() -> {
            if (!config.kafka().bootstrapServers().isEmpty()) {
                return config.kafka().bootstrapServers();
            }
            return keep(started, Broker.start(data.path("kafka"))).bootstrapServers();
        });
        var redis = CompletableFuture.supplyAsync(() -> config.redis().url().isEmpty()
                ? keep(started, Redis.start(data)).url()
                : config.redis().url());
        boolean embeddedPostgres = config.postgres().url().isEmpty();
        boolean embeddedRegistry = config.registry().url().isEmpty();
        var postgres = CompletableFuture.supplyAsync(
                () -> embeddedPostgres || embeddedRegistry ? keep(started, Postgres.start(data)) : null);
        var registry = postgres.thenApply(database -> embeddedRegistry && database != null
                ? keep(started, Registry.start(data, registryHome, database)).url()
                : config.registry().url());
        try {
            CompletableFuture.allOf(broker, redis, postgres, registry).join();
        } catch (CompletionException e) {
            stop(started);
            if (e.getCause() instanceof RuntimeException cause) {
                throw cause;
            }
            throw e;
        }
        Postgres database = postgres.join();
        Endpoints endpoints = embeddedPostgres && database != null
                ? new Endpoints(
                        broker.join(),
                        registry.join(),
                        database.jdbcUrl("millrace"),
                        database.user(),
                        database.password(),
                        redis.join())
                : new Endpoints(
                        broker.join(),
                        registry.join(),
                        config.postgres().url(),
                        config.postgres().user(),
                        config.postgres().password().value(),
                        redis.join());
        return new Parts(endpoints, started);
    }

    private static <T extends AutoCloseable> T keep(Deque<AutoCloseable> started, T part) {
        synchronized (started) {
            started.push(part);
        }
        return part;
    }

    /** Where they are. */
    public Endpoints endpoints() {
        return endpoints;
    }

    private static void stop(Deque<AutoCloseable> started) {
        while (!started.isEmpty()) {
            try {
                started.pop().close();
            } catch (Exception e) {
                org.slf4j.LoggerFactory.getLogger(Parts.class).warn("a part did not stop in good order", e);
            }
        }
    }

    @Override
    public void close() {
        stop(started);
    }
}
