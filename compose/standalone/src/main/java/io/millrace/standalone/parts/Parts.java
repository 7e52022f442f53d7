package io.millrace.standalone.parts;

import com.sun.management.UnixOperatingSystemMXBean;
import io.millrace.config.MillraceConfig;
import io.millrace.log.HttpSchemaRegistry;
import io.millrace.standalone.error.UserException;
import java.lang.management.ManagementFactory;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The embedded parts of an instance: those that the configuration does not place elsewhere. Started in parallel, supervised,
 * stopped in order. A child process that dies is started again on its port.
 */
public final class Parts implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(Parts.class);
    /** Log, index and connections of a small instance take 600. */
    private static final int LEAST_FILES = 1_024;

    private static final Duration SUPERVISION = Duration.ofMillis(500);

    private final DataFolder data;
    private final BrokerPart broker;
    private final ConnectPart connect;
    private final List<Part> stopOrder = new ArrayList<>();
    private final Map<String, Duration> startTimes = new ConcurrentHashMap<>();
    private final Endpoints endpoints;
    private final List<List<Part>> chains = new ArrayList<>();
    private final Thread supervisor;
    private volatile boolean running = true;
    private volatile boolean doubted;

    /** @param notice receives one-line remarks for the user */
    public Parts(DataFolder data, MillraceConfig config, Consumer<String> notice) {
        this.data = data;
        requireFiles();
        List<String> reaped = Child.reap(data);
        if (!reaped.isEmpty()) {
            LOG.warn("ended what a killed run left: {}", reaped);
        }
        Ports ports = new Ports(data);
        PostgresPart postgres = new PostgresPart(data, ports.of("postgres"), notice);
        RegistryPart registry = new RegistryPart(
                data,
                ports.of("registry"),
                ports.of("registry-management"),
                new RegistryPart.Database(
                        postgres.url(PostgresPart.REGISTRY_DATABASE), PostgresPart.USER, postgres.password()));
        broker = new BrokerPart(data, ports.of("kafka"), ports.of("kafka-controller"));
        RedisPart redis = new RedisPart(data, ports.of("redis"), notice);

        // the registry stores in our PostgreSQL, so that runs for it even when the sink writes elsewhere
        boolean needsRegistry = config.registry().url().isEmpty();
        if (needsRegistry || config.postgres().url().isEmpty()) {
            chains.add(needsRegistry ? List.of(postgres, registry) : List.of(postgres));
        }
        chains.add(config.kafka().bootstrapServers().isEmpty() ? List.of(broker) : List.of());
        if (config.redis().url().isEmpty()) {
            chains.add(List.of(redis));
        }
        List.of(registry, redis, broker, postgres).stream()
                .filter(part -> chains.stream().anyMatch(chain -> chain.contains(part)))
                .forEach(stopOrder::add);
        endpoints = new Endpoints(
                        broker.bootstrapServers(),
                        registry.url(),
                        postgres.url(PostgresPart.DATABASE),
                        PostgresPart.USER,
                        postgres.password(),
                        redis.url())
                .overriddenBy(config);
        connect = new ConnectPart(data, ports.of("connect"), config.connect().plugins(), endpoints.bootstrapServers());
        stopOrder.addFirst(connect);
        supervisor = Thread.ofVirtual().name("parts-supervisor").unstarted(this::supervise);
    }

    /** A broker that may open no more files ends its process, at a time of its choosing. */
    private static void requireFiles() {
        if (ManagementFactory.getOperatingSystemMXBean() instanceof UnixOperatingSystemMXBean system
                && system.getMaxFileDescriptorCount() > 0
                && system.getMaxFileDescriptorCount() < LEAST_FILES) {
            throw new UserException("this process may open " + system.getMaxFileDescriptorCount() + " files, and needs "
                    + LEAST_FILES + ": allow more with ulimit -n");
        }
    }

    public Endpoints endpoints() {
        return endpoints;
    }

    /** The Kafka Connect worker, which is not started with the others. */
    public ConnectPart connect() {
        return connect;
    }

    /** How long each part took until it served. */
    public Map<String, Duration> startTimes() {
        return Map.copyOf(startTimes);
    }

    /**
     * Starts everything; returns when all serve.
     *
     * @param onLog run as soon as the broker serves, while other parts may still be starting: what needs the log alone
     * @throws UserException when one cannot; the others are stopped
     */
    public void start(Runnable onLog) {
        try (ExecutorService executor = Executors.newThreadPerTaskExecutor(
                Thread.ofPlatform().name("start-part-", 0).factory())) {
            try {
                CompletableFuture.allOf(chains.stream()
                                .map(chain -> CompletableFuture.runAsync(() -> start(chain, onLog), executor))
                                .toArray(CompletableFuture[]::new))
                        .get();
            } catch (InterruptedException e) {
                // who asked for the end does not wait until all serve
                executor.shutdownNow();
                throw e;
            }
        } catch (ExecutionException e) {
            close();
            throw e.getCause() instanceof UserException known
                    ? known
                    : new UserException("a part cannot be started: " + e.getCause(), e);
        } catch (InterruptedException e) {
            close();
            Thread.currentThread().interrupt();
            throw new UserException("stopped while the parts started", e);
        }
        supervisor.start();
    }

    private void start(List<Part> chain, Runnable onLog) {
        if (chain.isEmpty()) {
            // the log is elsewhere and serves already
            onLog.run();
        }
        for (Part part : chain) {
            long start = System.nanoTime();
            if (part == broker) {
                Undisturbed.run(part::start);
                // one that serves is stopped in order; the start after one that does not waits for half a minute
                Undisturbed.check();
            } else {
                part.start();
            }
            Duration took = Duration.ofNanos(System.nanoTime() - start);
            startTimes.put(part.name(), took);
            LOG.info("{} serves after {} ms", part.name(), took.toMillis());
            switch (part) {
                case BrokerPart log -> onLog.run();
                case RegistryPart registry -> SchemaBook.restore(data, new HttpSchemaRegistry(registry.url()));
                default -> {}
            }
        }
    }

    private void supervise() {
        while (running) {
            try {
                Thread.sleep(SUPERVISION);
            } catch (InterruptedException e) {
                return;
            }
            // PostgreSQL first: the registry wants it
            for (Part part : stopOrder.reversed()) {
                if (running && !part.isAlive()) {
                    LOG.warn("{} died and is started again", part.name());
                    try {
                        part.start();
                    } catch (UserException e) {
                        LOG.error("{}", e.getMessage());
                        part.stop();
                    }
                }
            }
        }
    }

    /** A start failed that should not have: the next one is not to take on trust that the log is whole. */
    public void doubt() {
        doubted = true;
    }

    /** Stops Connect, the registry, Redis, the broker and PostgreSQL, in this order. */
    @Override
    public void close() {
        running = false;
        supervisor.interrupt();
        try {
            if (supervisor.getState() != Thread.State.NEW) {
                supervisor.join(Duration.ofSeconds(5));
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        for (Part part : stopOrder) {
            try {
                part.stop();
            } catch (RuntimeException e) {
                LOG.warn("{} did not stop cleanly", part.name(), e);
            }
        }
        if (doubted) {
            broker.distrust();
        }
    }
}
