package io.millrace.standalone;

import io.millrace.config.ConfigLoader.Loaded;
import io.millrace.gateway.Gateway;
import io.millrace.knowledge.Searcher;
import io.millrace.learners.knowledge.FolderLoader;
import io.millrace.standalone.parts.DataFolder;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Consumer;

/** Everything in this process: the data folder, the parts, the services. */
public final class Standalone implements AutoCloseable {
    /** How long knowledge may hold back the ready line; longer folders go on behind it. */
    private static final Duration KNOWLEDGE_WAIT = Duration.ofSeconds(60);

    private final DataFolder data;
    private final Parts parts;
    private final Services services;
    private final Gateway gateway;
    private final Searcher searcher;

    private Standalone(DataFolder data, Parts parts, Services services) {
        this.data = data;
        this.parts = parts;
        this.services = services;
        this.gateway = services.gateway().orElseThrow();
        this.searcher = services.searcher().orElseThrow();
    }

    /** A folder to ingest. */
    public record Knowledge(String name, Path folder, String collection) {}

    /**
     * Starts everything and shows that it works: one synthetic query goes through the log into Postgres.
     *
     * @param registryHome where the registry's jars are
     * @param say receives progress, line by line
     */
    public static Standalone start(Loaded loaded, Path folder, Path registryHome, Consumer<String> say) {
        DataFolder data = DataFolder.take(folder);
        Parts parts = null;
        Services services = null;
        try {
            // native libraries unpack themselves; nothing is written outside the data folder
            System.setProperty("java.io.tmpdir", data.path("tmp").toString());
            System.setProperty("DJL_CACHE_DIR", data.path("tmp/djl").toString());
            long began = System.nanoTime();
            parts = Parts.start(loaded.config(), data, registryHome);
            say.accept("parts are up after %.1f s: kafka %s, registry, postgres, redis"
                    .formatted(seconds(began), parts.endpoints().bootstrapServers()));
            services = new Services(loaded.config(), parts.endpoints(), data.root(), Services.ROLES, loaded::view);
            services.prepare(loaded.config());
            services.start();
            Standalone standalone = new Standalone(data, parts, services);
            standalone.prove();
            say.accept("services are up after %.1f s".formatted(seconds(began)));
            data.write(
                    data.path("run.json"),
                    "{\"pid\":%d,\"started_at\":\"%s\",\"port\":%d,\"url\":\"%s\"}%n"
                            .formatted(
                                    ProcessHandle.current().pid(),
                                    Instant.now(),
                                    standalone.gateway.port(),
                                    standalone.url()));
            return standalone;
        } catch (RuntimeException e) {
            if (services != null) {
                services.close();
            }
            if (parts != null) {
                parts.close();
            }
            data.close();
            throw e;
        }
    }

    /** One query through the log and into the database. */
    private void prove() {
        try {
            gateway.probe().get(30, TimeUnit.SECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new UserException("interrupted while it started");
        } catch (ExecutionException | TimeoutException e) {
            throw new UserException("a first query did not come back through the log within 30 s; see the log");
        }
    }

    /** Ingests a folder and waits until it is searchable, but not for ever. */
    public void ingest(Knowledge knowledge, Consumer<String> say) {
        try {
            List<FolderLoader.Loaded> loaded =
                    new FolderLoader(services.log()).load(knowledge.folder(), knowledge.name(), knowledge.collection());
            List<FolderLoader.Loaded> waiting = new ArrayList<>(loaded);
            long until = System.nanoTime() + KNOWLEDGE_WAIT.toNanos();
            long told = System.nanoTime();
            while (!waiting.isEmpty() && System.nanoTime() < until) {
                waiting.removeIf(document -> searcher.index().hasDocument(document.documentId(), document.checksum()));
                if (System.nanoTime() - told > Duration.ofSeconds(2).toNanos()) {
                    told = System.nanoTime();
                    say.accept("knowledge %s: %d of %d documents"
                            .formatted(knowledge.name(), loaded.size() - waiting.size(), loaded.size()));
                }
                Thread.sleep(50);
            }
            say.accept("knowledge %s: %d documents%s"
                    .formatted(
                            knowledge.name(),
                            loaded.size() - waiting.size(),
                            waiting.isEmpty() ? "" : ", " + waiting.size() + " follow"));
        } catch (IOException e) {
            throw new UserException("the folder " + knowledge.folder() + " cannot be read: " + e.getMessage());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /** Where it listens. */
    public String url() {
        return "http://127.0.0.1:" + gateway.port();
    }

    /** Its services. */
    public Services services() {
        return services;
    }

    /** Where its parts are. */
    public Parts.Endpoints endpoints() {
        return parts.endpoints();
    }

    /** The project's own documents, where this runs from a checkout. */
    public static Optional<Path> ownDocs() {
        return Optional.ofNullable(System.getProperty("millrace.home"))
                .map(home -> Path.of(home, "docs"))
                .filter(java.nio.file.Files::isDirectory);
    }

    private static double seconds(long began) {
        return (System.nanoTime() - began) / 1e9;
    }

    @Override
    public void close() {
        services.close();
        parts.close();
        data.close();
    }
}
