package io.millrace.gateway;

import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.composite.CompositeMeterRegistry;
import io.micrometer.prometheusmetrics.PrometheusMeterRegistry;
import io.millrace.config.MillraceConfig;
import io.millrace.id.Ids;
import io.millrace.log.Log;
import io.millrace.log.Topics;
import io.millrace.schema.BackendStatus;
import io.millrace.schema.Completion;
import io.millrace.schema.Query;
import io.millrace.schema.Reply;
import io.millrace.service.Service;
import io.vertx.core.DeploymentOptions;
import io.vertx.core.ThreadingModel;
import io.vertx.core.Vertx;
import io.vertx.core.VertxOptions;
import io.vertx.core.impl.cpu.CpuCoreSensor;
import java.net.BindException;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.time.Duration;
import java.util.Collection;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * HTTP in, events out: accepts queries, feedback and documents, writes them to the log, and hands the answers that come back to
 * whoever asked.
 *
 * <p>The port is open when {@link #start} returns; the gateway is ready when it reads its partition of replies at the end. It opens
 * whether or not the log is there, and answers 503 until then.
 */
public final class Gateway implements Service {
    private static final Logger LOG = LoggerFactory.getLogger(Gateway.class);
    private static final int MOST_LOOPS = 4;
    private static final int BLOCKING_CALLS = 4;
    /** In this process a batch takes all cores for some tenths of a second, from questions too: more at once would only add to that. */
    private static final int EMBEDDING_CALLS = 2;

    private static final long SWEEP_MS = 250;
    private static final int CLOSE_SECONDS = 4;

    /**
     * What the gateway is told about the rest of the process.
     *
     * @param jdbcUrl where interactions are projected to; connected to on first use, so that the server may start later
     * @param config the effective configuration for {@code /config}: JSON-ready, secrets masked, each value with its origin
     * @param services the services of this process, the gateway included or not
     * @param endpoints kafka, registry, postgres and redis, as they are shown: without passwords
     * @param redisUrl where idempotency keys and limits are kept beyond this process; empty: they are kept in this process only
     */
    public record Surroundings(
            String jdbcUrl,
            String user,
            String password,
            Supplier<Map<String, Object>> config,
            Supplier<? extends Collection<? extends Service>> services,
            Map<String, String> endpoints,
            String redisUrl) {
        public Surroundings {
            endpoints = Map.copyOf(endpoints);
        }

        /** Without Redis. */
        public Surroundings(
                String jdbcUrl,
                String user,
                String password,
                Supplier<Map<String, Object>> config,
                Supplier<? extends Collection<? extends Service>> services,
                Map<String, String> endpoints) {
            this(jdbcUrl, user, password, config, services, endpoints, "");
        }
    }

    private final MillraceConfig config;
    private final SearchPort search;
    private final Surroundings around;
    private final PrometheusMeterRegistry metrics;
    private final Wire wire;
    private final String id = Ids.next();
    private final int partition = Math.floorMod(id.hashCode(), Topics.REPLY_PARTITIONS);
    private final Traffic traffic;
    private final Room room;
    private final Duration redisPatience;
    private final Exchanges exchanges;
    private final Queries queries;
    private final InteractionStore store;
    private volatile @Nullable KeyStore keys;
    private volatile @Nullable Vertx vertx;
    private volatile @Nullable LoopInbox own;
    private volatile boolean ready;
    private volatile int port;

    /**
     * @param disk where the log is kept; the caller's
     * @param log its meter registry must be, or hold, a {@link PrometheusMeterRegistry}
     * @throws IllegalArgumentException when the address to listen on is not a loopback address, or there are no Prometheus metrics
     */
    public Gateway(Log log, MillraceConfig config, SearchPort search, Surroundings around, DiskSpace disk) {
        this(
                log.metrics(),
                new LogWire(log, disk, backlog(config)),
                config,
                search,
                around,
                new Room(Runtime.getRuntime().maxMemory()),
                RedisKeyStore.PATIENCE);
    }

    /**
     * @param room memory that requests may take together
     * @param redisPatience for one answer of Redis
     */
    Gateway(
            MeterRegistry metrics,
            Wire wire,
            MillraceConfig config,
            SearchPort search,
            Surroundings around,
            Room room,
            Duration redisPatience) {
        requireLoopback(config.listen().host());
        this.config = config;
        this.search = search;
        this.around = around;
        this.metrics = prometheus(metrics);
        this.wire = wire;
        this.traffic = new Traffic(metrics, config);
        this.room = room;
        this.redisPatience = redisPatience;
        this.exchanges = new Exchanges(wire, id, config.limits().inFlight(), traffic, room);
        this.queries = new Queries(config, id, partition);
        this.store = new InteractionStore(around.jdbcUrl(), around.user(), around.password());
    }

    /** Most records that wait for the sending thread: a batch of documents comes at once, whatever is in flight. */
    static int backlog(MillraceConfig config) {
        return Math.max(2 * DocumentsHandler.MOST, 4 * config.limits().inFlight());
    }

    private static void requireLoopback(String host) {
        try {
            if (InetAddress.getByName(host).isLoopbackAddress()) {
                return;
            }
        } catch (UnknownHostException e) {
            throw new IllegalArgumentException("listen.host " + host + " is not known", e);
        }
        throw new IllegalArgumentException("listen.host " + host
                + " is not a loopback address: without keys only loopback addresses may be bound");
    }

    private static PrometheusMeterRegistry prometheus(MeterRegistry metrics) {
        return switch (metrics) {
            case PrometheusMeterRegistry prometheus -> prometheus;
            case CompositeMeterRegistry composite ->
                composite.getRegistries().stream()
                        .filter(PrometheusMeterRegistry.class::isInstance)
                        .map(PrometheusMeterRegistry.class::cast)
                        .findFirst()
                        .orElseThrow(() -> new IllegalArgumentException("no Prometheus registry among the metrics"));
            default -> throw new IllegalArgumentException("the metrics are not a Prometheus registry");
        };
    }

    @Override
    public String name() {
        return "gateway";
    }

    /** @throws IllegalStateException when the port is taken, with one line that says so */
    @Override
    public void start() {
        int loops = Math.min(MOST_LOOPS, Math.max(1, CpuCoreSensor.availableProcessors()));
        Vertx started = Vertx.vertx(new VertxOptions()
                .setEventLoopPoolSize(loops)
                .setWorkerPoolSize(2)
                .setInternalBlockingPoolSize(2));
        vertx = started;
        KeyStore keyStore =
                around.redisUrl().isEmpty() ? new NoKeyStore() : new RedisKeyStore(around.redisUrl(), redisPatience);
        keys = keyStore;
        own = new LoopInbox(started.getOrCreateContext());
        Backends backends = new Backends(config);
        Blocking postgres = new Blocking(started, "gateway-postgres", BLOCKING_CALLS);
        Blocking others = new Blocking(started, "gateway-blocking", BLOCKING_CALLS);
        Blocking embeddings = new Blocking(started, "gateway-embeddings", EMBEDDING_CALLS);
        LateInteractions late = new LateInteractions(wire, store, postgres);
        Documents documents = new Documents(
                wire, search, others, config, new DocumentLimit(config.limits().documentRequests(), keyStore, metrics));
        Duration openAtMost = config.routing().deadline().multipliedBy(2);
        try {
            Contract contract = await(Contract.load(started, config).toCompletionStage());
            Frontend.Shared shared = new Frontend.Shared(
                    config,
                    contract,
                    room,
                    queries,
                    new QueryDesk(
                            exchanges,
                            new Idempotency(keyStore),
                            store,
                            postgres,
                            late,
                            traffic,
                            config.limits().streamBacklog()),
                    new InteractionHandler(exchanges, store, postgres, openAtMost),
                    new FeedbackHandler(wire, store, postgres, late, openAtMost),
                    new KnowledgeHandler(wire, search, others, config, documents),
                    new DocumentsHandler(search, others, documents),
                    new SourcesHandler(wire, search),
                    new GapsHandler(search, config),
                    new EmbeddingsHandler(search, embeddings, room),
                    new GarbageHandler(search, others, config.knowledge().garbageAfter()),
                    new SessionHandler(search, others),
                    new OperationsHandler(
                            config,
                            around,
                            new Endpoints(around.endpoints()),
                            backends,
                            traffic,
                            metrics,
                            others,
                            keyStore,
                            this),
                    new Connections(metrics),
                    actual -> port = actual);
            await(started.deployVerticle(
                            () -> new Frontend(shared),
                            new DeploymentOptions().setInstances(loops).setThreadingModel(ThreadingModel.EVENT_LOOP))
                    .toCompletionStage());
        } catch (CompletionException e) {
            close();
            throw refused(e.getCause() == null ? e : e.getCause());
        }
        started.setPeriodic(SWEEP_MS, timer -> exchanges.sweep(System.currentTimeMillis()));
        wire.open(partition, new Wire.Reader() {
                    @Override
                    public void reply(Reply reply) {
                        exchanges.deliver(reply);
                    }

                    @Override
                    public boolean awaits(String interactionId) {
                        return exchanges.awaits(interactionId);
                    }

                    @Override
                    public void completed(Completion completion) {
                        exchanges.completed(completion);
                    }

                    @Override
                    public void handled() {
                        exchanges.handled();
                    }

                    @Override
                    public void state(BackendStatus state) {
                        backends.learn(state);
                    }
                })
                .thenRun(() -> {
                    exchanges.listening();
                    ready = true;
                    LOG.info("the gateway reads partition {} of replies", partition);
                });
    }

    private IllegalStateException refused(Throwable cause) {
        return cause instanceof BindException
                ? new IllegalStateException(
                        "port " + config.listen().port() + " is taken on "
                                + config.listen().host() + ": stop what listens there, or choose another with --port",
                        cause)
                : new IllegalStateException("the gateway cannot start: " + cause.getMessage(), cause);
    }

    private static <T> T await(CompletionStage<T> stage) {
        return stage.toCompletableFuture().join();
    }

    /** The port that is listened on; 0 before {@link #start}. */
    public int port() {
        return port;
    }

    /**
     * Sends a synthetic query through the log that neither searches nor asks a model.
     *
     * @return its interaction id when its answer is back; fails when it got none, or the gateway is not ready
     */
    public CompletableFuture<String> probe() {
        CompletableFuture<String> done = new CompletableFuture<>();
        LoopInbox inbox = own;
        if (inbox == null) {
            done.completeExceptionally(new IllegalStateException("the gateway is not started"));
            return done;
        }
        Query query = queries.probe();
        Client client = outcome -> {
            switch (outcome) {
                case Outcome.Answered answered -> done.complete(query.getInteractionId());
                case Outcome.Failed failed -> done.completeExceptionally(failed.problem());
            }
        };
        try {
            exchanges.open(query, client, inbox);
        } catch (Problem problem) {
            done.completeExceptionally(problem);
        }
        return done;
    }

    @Override
    public boolean isReady() {
        return ready;
    }

    @Override
    public Map<String, String> details() {
        Map<String, String> details = new TreeMap<>();
        if (!ready) {
            details.put("log", "not read yet");
        }
        KeyStore known = keys;
        if (known != null && !known.isUp()) {
            details.put("redis", "down: idempotency keys and limits are known to this process only");
        }
        if (!store.isUp()) {
            details.put("postgres", "down: interactions cannot be shown");
        }
        return details;
    }

    @Override
    public void close() {
        ready = false;
        exchanges.stop();
        Vertx running = vertx;
        if (running != null) {
            try {
                running.close().toCompletionStage().toCompletableFuture().get(CLOSE_SECONDS, TimeUnit.SECONDS);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            } catch (java.util.concurrent.ExecutionException | TimeoutException e) {
                LOG.warn("the HTTP server did not close in time", e);
            }
        }
        wire.close();
        KeyStore known = keys;
        if (known != null) {
            known.close();
        }
        store.close();
    }
}
