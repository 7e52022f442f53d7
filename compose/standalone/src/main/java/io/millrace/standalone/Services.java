package io.millrace.standalone;

import io.micrometer.core.instrument.binder.jvm.JvmGcMetrics;
import io.micrometer.core.instrument.binder.jvm.JvmMemoryMetrics;
import io.micrometer.prometheusmetrics.PrometheusConfig;
import io.micrometer.prometheusmetrics.PrometheusMeterRegistry;
import io.millrace.config.MillraceConfig;
import io.millrace.config.Secret;
import io.millrace.gateway.DiskSpace;
import io.millrace.gateway.Gateway;
import io.millrace.gateway.SearchPort;
import io.millrace.knowledge.Aging;
import io.millrace.knowledge.BgeEmbedder;
import io.millrace.knowledge.ContextBlock;
import io.millrace.knowledge.Embedder;
import io.millrace.knowledge.Filter;
import io.millrace.knowledge.HttpEmbedder;
import io.millrace.knowledge.HttpQueryExpander;
import io.millrace.knowledge.HttpReranker;
import io.millrace.knowledge.LuceneIndex;
import io.millrace.knowledge.MiniLmEmbedder;
import io.millrace.knowledge.QdrantIndex;
import io.millrace.knowledge.QueryExpander;
import io.millrace.knowledge.Reranker;
import io.millrace.knowledge.Searcher;
import io.millrace.knowledge.VectorIndex;
import io.millrace.knowledge.meaning.SameMeaning;
import io.millrace.learners.knowledge.DocumentTable;
import io.millrace.learners.knowledge.Normalizer;
import io.millrace.learners.knowledge.PassageWorker;
import io.millrace.learners.knowledge.SourceBook;
import io.millrace.learners.sources.ConnectWorker;
import io.millrace.learners.sources.SourceManager;
import io.millrace.log.ClientConfig;
import io.millrace.log.Codecs;
import io.millrace.log.HttpSchemaRegistry;
import io.millrace.log.Log;
import io.millrace.log.LogProducer;
import io.millrace.log.LogSettings;
import io.millrace.log.LogTable;
import io.millrace.log.TopicAdmin;
import io.millrace.log.Topics;
import io.millrace.routers.cache.CacheFeedback;
import io.millrace.routers.cache.Rejections;
import io.millrace.routers.cache.ResponseCache;
import io.millrace.routers.cache.SemanticCache;
import io.millrace.routers.clock.Clock;
import io.millrace.routers.dispatch.Cancellations;
import io.millrace.routers.dispatch.Claims;
import io.millrace.routers.dispatch.DispatchWorker;
import io.millrace.routers.prober.Prober;
import io.millrace.routers.redis.RedisValues;
import io.millrace.routers.retrieval.EmbeddingCache;
import io.millrace.routers.retrieval.RetrievalWorker;
import io.millrace.routers.retrieval.Sessions;
import io.millrace.schema.QueryGap;
import io.millrace.schema.SourceStatus;
import io.millrace.service.Service;
import io.millrace.sinks.archive.ArchiveSink;
import io.millrace.sinks.index.IndexProjection;
import io.millrace.sinks.postgres.PassageFeedback;
import io.millrace.sinks.postgres.PostgresCatalog;
import io.millrace.sinks.postgres.PostgresSink;
import io.millrace.sinks.upkeep.DocumentList;
import io.millrace.sinks.upkeep.GarbageCollector;
import io.millrace.sinks.upkeep.ProjectionBehindException;
import io.millrace.standalone.error.UserException;
import io.millrace.standalone.parts.DataFolder;
import io.millrace.standalone.parts.Endpoints;
import io.millrace.standalone.parts.Undisturbed;
import io.millrace.topology.StreamsService;
import io.millrace.topology.learning.LearningTopology;
import io.millrace.topology.ledger.LedgerTopology;
import io.millrace.topology.routing.RoutingTopology;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Consumer;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.clients.admin.ListTopicsOptions;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.common.KafkaFuture;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The services of one process, by role, and how they are put together. */
public final class Services implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(Services.class);

    /** What is lost without Redis. */
    private static final String NOT_CACHED = "answers are not cached";

    /** Groups whose members hold partitions. */
    private static final List<String> GROUPS = List.of(
            "retrieval",
            "cache-feedback",
            "normalizer",
            "normalizer-sources",
            "passages",
            "sink-postgres",
            RoutingTopology.APPLICATION,
            LedgerTopology.APPLICATION,
            LearningTopology.APPLICATION);

    /** How long what queries need may stand still while it starts. */
    private static final Duration ESSENTIAL_WITHIN = Duration.ofSeconds(60);

    /** How long a start waits for the rest. Some seconds are what they need when all is well; an outage is not waited out. */
    private static final Duration OTHERS_WITHIN = Duration.ofSeconds(20);

    /** Folder of the embedded index. */
    private static final String INDEX = "index";

    private static final int QDRANT_PORT = 6334;
    private static final Duration QDRANT_PATIENCE = Duration.ofSeconds(10);

    private final Log log;
    private final List<Service> services = new ArrayList<>();
    private final Deque<AutoCloseable> shared = new ArrayDeque<>();
    private @Nullable Gateway gateway;
    private @Nullable Searcher searcher;
    private @Nullable Texts texts;
    private @Nullable LogTable<SourceStatus> sourceStatus;
    private @Nullable Intake intake;
    private Supplier<Map<Integer, Long>> visible = Map::of;

    /**
     * Builds the services; starts nothing.
     *
     * @param folder where indexes and states are kept; each process needs one of its own
     * @param common what all processes share: the archive, which {@code rebuild} reads, and the file of the knowledge sources
     * @param view effective configuration for {@code /config}
     * @param connect where knowledge sources run
     */
    public Services(
            MillraceConfig config,
            Endpoints endpoints,
            Path folder,
            Path common,
            Set<String> roles,
            Supplier<Map<String, Object>> view,
            ConnectWorker connect) {
        LogSettings settings = config.log(endpoints.bootstrapServers());
        PrometheusMeterRegistry metrics = new PrometheusMeterRegistry(PrometheusConfig.DEFAULT);
        new JvmMemoryMetrics().bindTo(metrics);
        JvmGcMetrics collections = new JvmGcMetrics();
        collections.bindTo(metrics);
        shared.push(collections);
        Codecs codecs = new Codecs(new HttpSchemaRegistry(endpoints.registryUrl()), settings.prefix());
        LogProducer producer = new LogProducer(settings, codecs);
        shared.push(producer);
        this.log = new Log(settings, codecs, producer, metrics);
        try {
            if (roles.contains("clock")) {
                services.add(new Clock(log));
            }
            if (roles.contains("routing")) {
                services.add(StreamsService.routing(log, config, folder.resolve("streams/routing")));
            }
            if (roles.contains("ledger")) {
                services.add(StreamsService.ledger(log, folder.resolve("streams/ledger")));
            }
            if (roles.contains("learning")) {
                services.add(StreamsService.learning(log, folder.resolve("streams/learning")));
            }
            if (roles.contains("retrieval") || roles.contains("knowledge") || roles.contains("gateway")) {
                knowledge(config, endpoints, folder, common, roles, connect);
            }
            if (roles.contains("dispatch")) {
                dispatch(config, endpoints);
            }
            if (roles.contains("prober")) {
                services.add(new Prober(log, config));
            }
            if (roles.contains("postgres-sink")) {
                services.add(new PostgresSink(log, endpoints.jdbcUrl(), endpoints.user(), endpoints.password()));
            }
            if (roles.contains("archive")) {
                services.add(new ArchiveSink(log, common.resolve(DataFolder.ARCHIVE)));
            }
            if (roles.contains("gateway")) {
                gateway(config, endpoints, folder, view);
            }
        } catch (RuntimeException e) {
            close();
            throw e;
        } catch (LinkageError e) {
            // one that does not fit to this machine, or wants a hook of a JVM that is shutting down
            close();
            throw new UserException("a library cannot be loaded: " + (e.getCause() == null ? e : e.getCause()), e);
        }
    }

    private void knowledge(
            MillraceConfig config,
            Endpoints endpoints,
            Path folder,
            Path common,
            Set<String> roles,
            ConnectWorker connect) {
        // a thread a core: with half of them ingest reached three quarters of what the model can do
        MiniLmEmbedder own = new MiniLmEmbedder(Runtime.getRuntime().availableProcessors());
        shared.push(own);
        MillraceConfig.Embedding embedding = config.knowledge().embedding();
        Optional<HttpEmbedder> served = HttpEmbedder.of(embedding, HttpEmbedder.Role.PASSAGE, embedding.timeout());
        // a question has to have time left for a search of its words
        Optional<HttpEmbedder> asked = HttpEmbedder.of(
                embedding,
                HttpEmbedder.Role.QUESTION,
                config.retrieval().timeout().dividedBy(2));
        Optional<HttpEmbedder> plain = HttpEmbedder.of(embedding, HttpEmbedder.Role.PLAIN, embedding.timeout());
        plain.ifPresent(shared::push);
        served.ifPresent(shared::push);
        asked.ifPresent(shared::push);
        Embedder embedder = served.isPresent() ? served.get() : own;
        texts = plain.isPresent() ? new Texts(embedding.model(), plain.get()) : new Texts(MiniLmEmbedder.NAME, own);
        VectorIndex index = index(config, folder, embedder, QdrantIndex::open);
        searcher = new Searcher(
                index,
                asked.isPresent() ? asked.get() : own,
                config.collections(),
                options(config, endpoints, served.map(other -> own)));
        IndexProjection projection = new IndexProjection(
                log, index, embedder.fingerprint(), config.knowledge().settleAfter());
        services.add(projection);
        visible = projection::visible;
        if (roles.contains("retrieval")) {
            EmbeddingCache cache =
                    new EmbeddingCache(endpoints.redisUrl(), config.cache().timeout(), log.metrics());
            shared.push(cache);
            Sessions sessions =
                    new Sessions(endpoints.redisUrl(), config.cache().timeout());
            shared.push(sessions);
            RedisValues rated = values(config, endpoints, "ratings of cached answers wait");
            shared.push(rated);
            Rejections rejections = new Rejections(rated);
            services.add(new RetrievalWorker(
                    log,
                    config,
                    searcher,
                    cache,
                    responses(config, values(config, endpoints, NOT_CACHED), rejections),
                    similar(config, endpoints, rejections),
                    sessions,
                    expander(config.retrieval().expansion())));
            if (!endpoints.redisUrl().isEmpty()) {
                services.add(new CacheFeedback(log, rated, rejections));
            }
        }
        if (roles.contains("knowledge")) {
            DocumentTable documents = new DocumentTable(log);
            SourceBook book = new SourceBook();
            services.add(documents);
            services.add(new Normalizer(log, documents, book, config.collections()));
            services.add(new PassageWorker(log, embedder, documents));
            services.add(
                    new SourceManager(log, common, config.collections(), connect, documents, book, index::hasDocument));
            services.add(garbage(config, endpoints, index));
        }
    }

    private Optional<QueryExpander> expander(MillraceConfig.Expansion expansion) {
        if (expansion.url().isEmpty()) {
            return Optional.empty();
        }
        HttpQueryExpander made = new HttpQueryExpander(
                URI.create(expansion.url()), expansion.model(), expansion.key().value(), expansion.timeout());
        shared.push(made);
        return Optional.of(made);
    }

    /** Whether passages are on a server, and not in the data folder. */
    static boolean isOnServer(MillraceConfig config) {
        return !config.knowledge().qdrantUrl().isEmpty();
    }

    /** Drops the configured index and makes it anew, empty. */
    static VectorIndex newIndex(MillraceConfig config, DataFolder data, Embedder embedder) {
        data.delete(INDEX);
        return index(config, data.root(), embedder, QdrantIndex::anew);
    }

    @FunctionalInterface
    private interface Opening {
        QdrantIndex of(QdrantIndex.Server server, List<String> collections, int dimension, String fingerprint);
    }

    private static VectorIndex index(MillraceConfig config, Path folder, Embedder embedder, Opening onServer) {
        MillraceConfig.Knowledge knowledge = config.knowledge();
        if (!isOnServer(config)) {
            return LuceneIndex.open(folder.resolve(INDEX), embedder.fingerprint());
        }
        URI url = URI.create(knowledge.qdrantUrl());
        return onServer.of(
                new QdrantIndex.Server(
                        url.getHost(),
                        url.getPort() < 0 ? QDRANT_PORT : url.getPort(),
                        url.getScheme().equals("https"),
                        knowledge.qdrantKey().value(),
                        knowledge.qdrantPrefix(),
                        QDRANT_PATIENCE),
                config.collections(),
                embedder.dimension(),
                embedder.fingerprint());
    }

    private Searcher.Options options(MillraceConfig config, Endpoints endpoints, Optional<Embedder> judge) {
        MillraceConfig.Retrieval retrieval = config.retrieval();
        MillraceConfig.Decay decay = retrieval.decay();
        PostgresCatalog catalog = new PostgresCatalog(endpoints.jdbcUrl(), endpoints.user(), endpoints.password());
        shared.push(catalog);
        PassageFeedback feedback = new PassageFeedback(endpoints.jdbcUrl(), endpoints.user(), endpoints.password());
        services.add(feedback);
        Optional<Reranker> reranker = Optional.of(retrieval.rerank())
                .filter(rerank -> !rerank.url().isEmpty())
                .map(rerank -> {
                    HttpReranker made = new HttpReranker(
                            URI.create(rerank.url()),
                            rerank.model(),
                            rerank.key().value(),
                            rerank.timeout());
                    shared.push(made);
                    return made;
                });
        return new Searcher.Options(
                retrieval.tree(),
                new Aging(decay.first(), decay.firstLoss(), decay.second(), decay.secondLoss()),
                reranker,
                feedback,
                Optional.of(catalog),
                judge,
                false);
    }

    private static RedisValues values(MillraceConfig config, Endpoints endpoints, String what) {
        return new RedisValues(endpoints.redisUrl(), config.cache().timeout(), what);
    }

    private ResponseCache responses(MillraceConfig config, RedisValues redis, Rejections rejections) {
        ResponseCache made = new ResponseCache(
                redis, rejections, log.metrics(), config.cache().ttl());
        shared.push(made);
        return made;
    }

    private Optional<SemanticCache> similar(MillraceConfig config, Endpoints endpoints, Rejections rejections) {
        if (!config.cache().semantic()) {
            return Optional.empty();
        }
        RedisValues redis = values(config, endpoints, "questions of the same meaning are not found");
        shared.push(redis);
        // the two questions of a verdict at once
        BgeEmbedder second = new BgeEmbedder(2);
        shared.push(second);
        return Optional.of(new SemanticCache(
                redis,
                rejections,
                log.metrics(),
                config.cache().ttl(),
                verdict(config.cache().model(), second),
                second,
                config.cache().maxError()));
    }

    private static SameMeaning verdict(String file, BgeEmbedder second) {
        if (file.isEmpty()) {
            return SameMeaning.shipped();
        }
        try (InputStream in = Files.newInputStream(Path.of(file))) {
            SameMeaning read = SameMeaning.read(in);
            if (!read.second().equals(second.fingerprint())) {
                throw new IOException("it was learned with " + read.second() + " and not with " + second.fingerprint());
            }
            return read;
        } catch (IOException | InvalidPathException e) {
            throw new UserException(
                    "cache.semantic.model: " + file
                            + " cannot be read as a verdict that millrace eval cache --write made: " + e.getMessage(),
                    e);
        }
    }

    private void dispatch(MillraceConfig config, Endpoints endpoints) {
        Cancellations cancellations = new Cancellations(log);
        services.add(cancellations);
        Optional<Claims> claims =
                Optional.of(endpoints.redisUrl()).filter(url -> !url.isEmpty()).map(Claims::new);
        claims.ifPresent(shared::push);
        RedisValues redis = values(config, endpoints, NOT_CACHED);
        // it keeps answers and never looks
        ResponseCache responses = responses(config, redis, new Rejections(redis));
        config.dispatchable()
                .forEach(backend ->
                        services.add(new DispatchWorker(log, config, backend, cancellations, claims, responses)));
    }

    private void gateway(MillraceConfig config, Endpoints endpoints, Path folder, Supplier<Map<String, Object>> view) {
        Map<String, String> told = Map.of(
                "kafka", endpoints.bootstrapServers(),
                "registry", Secret.masked(endpoints.registryUrl()),
                "postgres", Secret.masked(endpoints.jdbcUrl()),
                "redis", Secret.masked(endpoints.redisUrl()));
        LogTable<SourceStatus> sources = sourceStatus();
        LogTable<QueryGap> gaps = new LogTable<>("gaps", Topics.QUERY_GAPS, log);
        services.add(gaps);
        Intake way = new Intake(log.settings(), visible);
        shared.push(way);
        intake = way;
        DiskSpace disk = new DiskSpace(folder, config.limits().freeDiskBytes());
        services.add(disk);
        Sessions sessions = new Sessions(endpoints.redisUrl(), config.cache().timeout());
        shared.push(sessions);
        Gateway made = new Gateway(
                log,
                config,
                new KnowledgeSearch(
                        Objects.requireNonNull(searcher),
                        Objects.requireNonNull(texts),
                        way,
                        sources,
                        gaps,
                        garbage(config, endpoints, searcher.index()),
                        sessions,
                        new DocumentList(endpoints.jdbcUrl(), endpoints.user(), endpoints.password())),
                new Gateway.Surroundings(
                        endpoints.jdbcUrl(),
                        endpoints.user(),
                        endpoints.password(),
                        view,
                        () -> List.copyOf(services),
                        told,
                        endpoints.redisUrl()),
                disk);
        services.add(made);
        gateway = made;
    }

    /**
     * What embeds texts of clients.
     *
     * @param name of the model, without its version
     */
    private record Texts(String name, Embedder embedder) {}

    private record KnowledgeSearch(
            Searcher searcher,
            Texts texts,
            Intake intake,
            LogTable<SourceStatus> status,
            LogTable<QueryGap> asked,
            GarbageCollector garbage,
            Sessions sessions,
            DocumentList stored)
            implements SearchPort {
        private static final int TOLD = 1_000;

        @Override
        public Garbage collectGarbage(Instant unchangedSince, boolean dryRun) throws Exception {
            List<GarbageCollector.Stale> stale;
            try {
                stale = garbage.find(unchangedSince);
            } catch (ProjectionBehindException e) {
                throw new BehindException(e);
            }
            if (!dryRun) {
                garbage.delete(stale, "asked");
            }
            return new Garbage(
                    stale.size(),
                    stale.stream()
                            .collect(Collectors.groupingBy(GarbageCollector.Stale::collection, Collectors.counting())),
                    stale.stream()
                            .limit(TOLD)
                            .map(each -> new Unused(
                                    each.documentId(), each.source(), each.path(), each.collection(), each.reason()))
                            .toList());
        }

        @Override
        public Found search(Asked asked) {
            Searcher.Result found = searcher.search(new Searcher.Request(
                    asked.text(),
                    asked.mode(),
                    new Filter(asked.collections(), asked.fields(), asked.tags(), asked.minSuccessRate()),
                    asked.limit(),
                    asked.minCosine(),
                    asked.diversity()));
            return new Found(found.mode(), found.hits(), found.contextScore().orElse(null), found.degraded());
        }

        @Override
        public EmbeddingModel embeddingModel() {
            Embedder embedder = texts.embedder();
            return new EmbeddingModel(texts.name(), embedder.fingerprint(), embedder.dimension());
        }

        @Override
        public Embedded embed(List<String> asked) throws RefusedTextsException {
            try {
                List<float[]> vectors = texts.embedder().embed(asked);
                return new Embedded(
                        vectors, asked.stream().mapToLong(ContextBlock::tokens).sum());
            } catch (Embedder.EmbeddingException e) {
                if (e.reason() == Embedder.EmbeddingException.Reason.REFUSED) {
                    throw new RefusedTextsException(e);
                }
                throw e;
            }
        }

        @Override
        public Listed documents(Asking asking) throws Exception {
            DocumentList.Page page = stored.of(asking.source(), asking.trust(), asking.limit(), asking.offset());
            return new Listed(
                    page.total(),
                    page.rows().stream()
                            .map(row -> new Stored(
                                    row.documentId(),
                                    row.source(),
                                    row.path(),
                                    row.title(),
                                    row.collection(),
                                    row.trust(),
                                    row.quarantined(),
                                    row.size(),
                                    row.updatedAt(),
                                    row.lastAccessedAt(),
                                    row.uses()))
                            .toList());
        }

        @Override
        public Optional<Place> place(String documentId) throws Exception {
            return stored.place(documentId).map(place -> new Place(place.source(), place.path()));
        }

        @Override
        public Optional<Session> session(SessionName name) {
            return sessions.summary(name.tenant(), name.principal(), name.id())
                    .map(summary -> new Session(
                            Instant.ofEpochMilli(summary.at().first()),
                            Instant.ofEpochMilli(summary.at().last()),
                            summary.turns(),
                            summary.passages(),
                            summary.tokens(),
                            summary.queries(),
                            summary.metadata()));
        }

        @Override
        public void clearSession(SessionName name) {
            sessions.clear(name.tenant(), name.principal(), name.id());
        }

        @Override
        public Progress writtenUntilNow() {
            return intake.writtenUntilNow();
        }

        @Override
        public Optional<List<SourceStatus>> sources() {
            return status.isReady() ? Optional.of(status.all()) : Optional.empty();
        }

        @Override
        public List<QueryGap> gaps() {
            return asked.all();
        }
    }

    private LogTable<SourceStatus> sourceStatus() {
        if (sourceStatus == null) {
            sourceStatus = new LogTable<>("source-status", Topics.SOURCE_STATUS, log);
            services.add(sourceStatus);
        }
        return sourceStatus;
    }

    private GarbageCollector garbage(MillraceConfig config, Endpoints endpoints, VectorIndex index) {
        LogTable<SourceStatus> sources = sourceStatus();
        return new GarbageCollector(
                log,
                endpoints.jdbcUrl(),
                endpoints.user(),
                endpoints.password(),
                () -> sourceIds(sources),
                index,
                config.knowledge());
    }

    /** Half of them would have documents deleted that are declared. */
    private static Set<String> sourceIds(LogTable<SourceStatus> sources) {
        if (!sources.isReady()) {
            throw new IllegalStateException("the sources are not read yet");
        }
        return sources.all().stream()
                .filter(status -> status.getAddedAt() > 0)
                .map(SourceStatus::getSourceId)
                .collect(Collectors.toSet());
    }

    /** Creates what is missing of the topics, and refuses a log that is laid out otherwise. */
    static void createTopics(MillraceConfig config, Endpoints endpoints) {
        new TopicAdmin(config.log(endpoints.bootstrapServers()))
                .createAndVerify(Topics.all(config.dispatchable()))
                .forEach(LOG::warn);
    }

    /** Registers the schemas of all topics, so that nobody waits for that later. */
    public void registerSchemas(MillraceConfig config) {
        try (ExecutorService parallel = Executors.newVirtualThreadPerTaskExecutor()) {
            CompletableFuture.allOf(Topics.all(config.dispatchable()).stream()
                            .map(topic -> CompletableFuture.runAsync(
                                    () -> log.codecs().of(topic).prepare(), parallel))
                            .toArray(CompletableFuture[]::new))
                    .join();
        } catch (CompletionException e) {
            throw new UserException("the schemas cannot be registered: " + e.getMessage(), e);
        }
    }

    /**
     * Starts all, in parallel, and waits until they are ready.
     *
     * @param say receives progress, where it takes long
     */
    public void start(Consumer<String> say) {
        startAll();
        awaitEssential(say);
        awaitOthers(say);
    }

    /**
     * Starts all, in parallel, and does not wait until they are ready.
     *
     * @throws UserException when this thread is interrupted before
     */
    void startAll() {
        // to the end: what is closed while it starts would go on starting
        Undisturbed.run(() -> CompletableFuture.allOf(services.stream()
                        .map(service -> CompletableFuture.runAsync(service::start))
                        .toArray(CompletableFuture[]::new))
                .join());
    }

    /**
     * Waits until those are ready that queries need: from then on they are answered. What reads the log from its beginning may take as
     * long as it comes on.
     *
     * @param say receives progress, where it takes long
     * @throws UserException when one neither becomes ready nor comes on
     */
    void awaitEssential(Consumer<String> say) {
        List<Service> stuck = new Readiness(say)
                .await(services.stream().filter(Service::isEssential).toList(), ESSENTIAL_WITHIN);
        if (!stuck.isEmpty()) {
            throw new UserException("these did not become ready within " + ESSENTIAL_WITHIN.toSeconds() + " s: "
                    + Readiness.told(stuck));
        }
    }

    /** Waits a while for those that catch up from the log: what is not ready then becomes it later, and health says so. */
    void awaitOthers(Consumer<String> say) {
        List<Service> late = new Readiness(say)
                .await(
                        services.stream()
                                .filter(service -> !service.isEssential())
                                .toList(),
                        OTHERS_WITHIN);
        if (!late.isEmpty()) {
            LOG.warn("not ready yet, going on without: {}", Readiness.told(late));
            say.accept("not ready yet, going on without: " + Readiness.told(late));
        }
    }

    /**
     * Takes the members of our groups out of them, for the start of an instance that is the only one: what a killed run left would
     * hold its partitions until its session ends, 6 s, and Streams does not leave even when it is closed. Asked by name: a broker
     * that has just started lists no groups, and says nothing of it.
     */
    static void dismissMembers(MillraceConfig config, Endpoints endpoints) {
        LogSettings settings = config.log(endpoints.bootstrapServers());
        Map<String, Object> client = ClientConfig.admin(endpoints.bootstrapServers());
        // coordinators that are still loading are asked again
        client.put(AdminClientConfig.RETRY_BACKOFF_MS_CONFIG, 20);
        client.put(AdminClientConfig.RETRY_BACKOFF_MAX_MS_CONFIG, 100);
        try (Admin admin = Admin.create(client)) {
            if (!admin.listTopics(new ListTopicsOptions().listInternal(true))
                    .names()
                    .get(10, TimeUnit.SECONDS)
                    .contains("__consumer_offsets")) {
                return;
            }
            List<KafkaFuture<Void>> dismissed = GROUPS.stream()
                    .map(group -> admin.removeMembersFromConsumerGroup(
                                    settings.group(group), new RemoveMembersFromConsumerGroupOptions())
                            .all())
                    .toList();
            for (KafkaFuture<Void> each : dismissed) {
                try {
                    each.get(10, TimeUnit.SECONDS);
                } catch (ExecutionException e) {
                    // also when there is no such group yet; at worst its sessions have to end
                    LOG.debug("the members of an earlier run were not dismissed", e);
                }
            }
        } catch (ExecutionException | TimeoutException e) {
            LOG.warn("the members of an earlier run could not be dismissed; their sessions will end", e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new UserException("interrupted while it started", e);
        }
    }

    /** The log of this process. */
    public Log log() {
        return log;
    }

    /** The gateway, where this process has it. */
    public Optional<Gateway> gateway() {
        return Optional.ofNullable(gateway);
    }

    /**
     * Begins to follow what was written to the knowledge until now.
     *
     * @throws NullPointerException where this process has no gateway
     */
    SearchPort.Progress writtenUntilNow() {
        return Objects.requireNonNull(intake).writtenUntilNow();
    }

    /** The search, where this process has it. */
    public Optional<Searcher> searcher() {
        return Optional.ofNullable(searcher);
    }

    /** All of them. */
    public List<Service> all() {
        return List.copyOf(services);
    }

    @Override
    public void close() {
        // the gateway first, so that nothing new comes in; then the rest at once
        Optional.ofNullable(gateway).ifPresent(Gateway::close);
        try (ExecutorService parallel = Executors.newVirtualThreadPerTaskExecutor()) {
            services.stream()
                    .filter(service -> service != gateway)
                    .forEach(service -> parallel.submit(() -> {
                        try {
                            service.close();
                        } catch (RuntimeException e) {
                            LOG.warn("{} did not stop in good order", service.name(), e);
                        }
                    }));
        }
        while (!shared.isEmpty()) {
            try {
                shared.pop().close();
            } catch (Exception e) {
                LOG.warn("something did not stop in good order", e);
            }
        }
    }
}
