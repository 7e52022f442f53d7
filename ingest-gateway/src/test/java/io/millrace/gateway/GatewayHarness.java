package io.millrace.gateway;

import io.micrometer.prometheusmetrics.PrometheusConfig;
import io.micrometer.prometheusmetrics.PrometheusMeterRegistry;
import io.millrace.config.MillraceConfig;
import io.millrace.config.MillraceConfig.Backend;
import io.millrace.config.MillraceConfig.Deployment;
import io.millrace.config.MillraceConfig.Kind;
import io.millrace.config.MillraceConfig.Limits;
import io.millrace.config.MillraceConfig.Listen;
import io.millrace.config.MillraceConfig.Locality;
import io.millrace.config.MillraceConfig.ModelPolicy;
import io.millrace.config.MillraceConfig.Routing;
import io.millrace.config.Secret;
import io.millrace.schema.Hit;
import io.millrace.schema.QueryGap;
import io.millrace.schema.SourceStatus;
import io.vertx.core.json.JsonObject;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.time.Instant;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;
import org.awaitility.Awaitility;

/** A gateway on a real HTTP server, with a log and an index in memory. */
final class GatewayHarness implements AutoCloseable {
    static final String CHAT = "/v1/chat/completions";
    static final int IN_FLIGHT = 3;

    /** For what takes milliseconds, or a minute where the machine stands still. */
    static final Duration PATIENCE = Duration.ofSeconds(60);

    static {
        Awaitility.setDefaultTimeout(PATIENCE);
    }

    private static final Gateway.Surroundings AROUND = new Gateway.Surroundings(
            "jdbc:postgresql://127.0.0.1:1/none",
            "nobody",
            "",
            () -> Map.of("listen.port", Map.of("value", 8092, "origin", "default")),
            List::of,
            Map.of("kafka", "127.0.0.1:1", "postgres", "jdbc:postgresql://127.0.0.1:1/none", "redis", ""));

    final FakeWire wire = new FakeWire();
    final AtomicBoolean visible = new AtomicBoolean();
    /** The statuses of sources are not read yet. */
    final AtomicBoolean starting = new AtomicBoolean();

    final java.util.List<SearchPort.Asked> searched = new java.util.concurrent.CopyOnWriteArrayList<>();

    @FunctionalInterface
    interface FakeEmbedder {
        SearchPort.Embedded embed(List<String> texts) throws SearchPort.RefusedTextsException;
    }

    /** Vectors that have the length of the text, and three tokens for each. */
    volatile FakeEmbedder embedder = texts -> new SearchPort.Embedded(
            texts.stream().map(text -> new float[] {text.length(), 0.1f}).toList(), 3L * texts.size());

    /** By the ids of documents. */
    final Map<String, SearchPort.Place> places = new java.util.concurrent.ConcurrentHashMap<>();

    final PrometheusMeterRegistry metrics = new PrometheusMeterRegistry(PrometheusConfig.DEFAULT);
    final Gateway gateway;
    private final HttpClient http = HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1)
            // its own would refuse, with an exception, what comes when it is closed right behind the gateway
            .executor(Thread::startVirtualThread)
            .build();

    GatewayHarness() {
        this(config(Duration.ofSeconds(20), 64));
    }

    GatewayHarness(MillraceConfig config) {
        this(config, AROUND);
    }

    GatewayHarness(MillraceConfig config, Gateway.Surroundings around) {
        this(config, around, Runtime.getRuntime().maxMemory());
    }

    GatewayHarness(MillraceConfig config, long heapBytes) {
        this(config, AROUND, heapBytes);
    }

    private GatewayHarness(MillraceConfig config, Gateway.Surroundings around, long heapBytes) {
        SearchPort search = new SearchPort() {
            @Override
            public Found search(Asked asked) {
                searched.add(asked);
                return new Found(
                        "hybrid", List.of(hit("p1", 0.7, null), hit("p2", 0.6, 3.5)), 0.9, List.of("reranker"));
            }

            @Override
            public EmbeddingModel embeddingModel() {
                return new EmbeddingModel("minilm", "minilm:1", 2);
            }

            @Override
            public Embedded embed(List<String> texts) throws RefusedTextsException {
                return embedder.embed(texts);
            }

            @Override
            public Progress writtenUntilNow() {
                return visible::get;
            }

            @Override
            public Garbage collectGarbage(Instant unchangedSince, boolean dryRun) {
                return new Garbage(0, Map.of(), List.of());
            }

            @Override
            public Listed documents(Asking asking) {
                return new Listed(0, List.of());
            }

            @Override
            public Optional<Place> place(String documentId) {
                return Optional.ofNullable(places.get(documentId));
            }

            @Override
            public Optional<Session> session(SessionName name) {
                return Optional.empty();
            }

            @Override
            public void clearSession(SessionName name) {}

            @Override
            public List<QueryGap> gaps() {
                return List.of();
            }

            @Override
            public Optional<List<SourceStatus>> sources() {
                return starting.get()
                        ? Optional.empty()
                        : Optional.of(List.of(SourceStatus.newBuilder()
                                .setSourceId("notes")
                                .setAddedAt(1)
                                .setKind("local_dir")
                                .setState("idle")
                                .build()));
            }
        };
        gateway = new Gateway(metrics, wire, config, search, around, new Room(heapBytes), PATIENCE);
        gateway.start();
    }

    static Hit hit(
            String id,
            @org.jspecify.annotations.Nullable Double cosine,
            @org.jspecify.annotations.Nullable Double bm25) {
        return Hit.newBuilder()
                .setPassageId(id)
                .setCollection("nixos-docs")
                .setPath("guide/" + id + ".md")
                .setText("text of " + id)
                .setScore(0.5)
                .setCosine(cosine)
                .setBm25(bm25)
                .build();
    }

    static MillraceConfig config(Duration deadline, int streamBacklog) {
        return config(deadline, streamBacklog, Duration.ofMinutes(2));
    }

    static MillraceConfig config(Duration deadline, int streamBacklog, Duration requestTime) {
        MillraceConfig base = MillraceConfig.defaults();
        Routing routing = base.routing();
        Map<String, ModelPolicy> models = new HashMap<>(base.models());
        models.put("gpt", new ModelPolicy("gpt", "", "off", false, false, List.of("gpt-4o")));
        return new MillraceConfig(
                new Listen("127.0.0.1", 0, List.of("router.example")),
                base.kafka(),
                base.retention(),
                base.registry(),
                base.postgres(),
                base.redis(),
                Map.of(
                        "llama",
                        backend("llama", Locality.LOCAL, 0),
                        "cloud",
                        backend("cloud", Locality.REMOTE, 100_000)),
                models,
                new Routing(
                        routing.local(),
                        routing.fallback(),
                        routing.qualityBar(),
                        routing.remoteMargin(),
                        routing.remotePrior(),
                        deadline,
                        routing.leaseTimeout(),
                        routing.maxAttempts()),
                base.retrieval(),
                base.knowledge(),
                base.cache(),
                base.dispatch(),
                new Limits(200_000, 4_096, 51_200, 100, IN_FLIGHT, streamBacklog, requestTime, 1L << 30),
                base.collections(),
                base.connect());
    }

    private static Backend backend(String name, Locality locality, double price) {
        return new Backend(
                name,
                locality,
                Kind.OPENAI,
                List.of(new Deployment(
                        name + "-1",
                        "http://127.0.0.1:9/v1",
                        "",
                        Secret.NONE,
                        price,
                        price,
                        0,
                        Set.of("json"),
                        4,
                        Duration.ofSeconds(5))));
    }

    URI uri(String path) {
        return URI.create("http://127.0.0.1:" + gateway.port() + path);
    }

    HttpResponse<String> post(String path, String body, String... headers) {
        return post(path, BodyPublishers.ofString(body), headers);
    }

    HttpResponse<String> post(String path, HttpRequest.BodyPublisher body, String... headers) {
        HttpRequest.Builder request =
                HttpRequest.newBuilder(uri(path)).POST(body).timeout(PATIENCE);
        if (headers.length > 0) {
            request.headers(headers);
        }
        if (!List.of(headers).contains("Content-Type")) {
            request.header("Content-Type", "application/json");
        }
        return send(request.build());
    }

    HttpResponse<String> get(String path) {
        return send(HttpRequest.newBuilder(uri(path)).timeout(PATIENCE).build());
    }

    HttpResponse<String> delete(String path) {
        return send(HttpRequest.newBuilder(uri(path)).DELETE().timeout(PATIENCE).build());
    }

    HttpResponse<String> send(HttpRequest request) {
        try {
            return http.send(request, BodyHandlers.ofString());
        } catch (IOException e) {
            throw new java.io.UncheckedIOException(e);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    HttpClient http() {
        return http;
    }

    static JsonObject json(HttpResponse<String> response) {
        return new JsonObject(response.body());
    }

    @Override
    public void close() {
        gateway.close();
        http.close();
    }
}
