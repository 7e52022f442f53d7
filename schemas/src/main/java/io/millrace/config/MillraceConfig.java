package io.millrace.config;

import io.millrace.log.LogSettings;
import io.millrace.log.Topics;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Matcher;

/**
 * The effective configuration of a process, checked. What may stand in
 * {@code millrace.yaml}, with ranges and defaults, is in {@code docs/configuration.md}.
 *
 * @param backends by name; the built-in backend is not among them
 * @param models what a client may name as model, by name; aliases resolved by {@link #model}
 * @param collections names of the knowledge collections
 */
public record MillraceConfig(
        Listen listen,
        Kafka kafka,
        Retention retention,
        Registry registry,
        Postgres postgres,
        Redis redis,
        Map<String, Backend> backends,
        Map<String, ModelPolicy> models,
        Routing routing,
        Retrieval retrieval,
        Knowledge knowledge,
        Cache cache,
        Dispatch dispatch,
        Limits limits,
        List<String> collections,
        Connect connect) {

    /** The collections of the seeds. */
    public static final List<String> DEFAULT_COLLECTIONS = List.of(
            "codebase-context",
            "skills-patterns",
            "error-solutions",
            "interaction-history",
            "best-practices",
            "nixos-docs");

    public MillraceConfig {
        backends = Map.copyOf(backends);
        models = Map.copyOf(models);
        collections = List.copyOf(collections);
    }

    /**
     * @param host loopback until keys exist
     * @param port 0 for a free one
     * @param hosts lower-case names that clients may ask for beside localhost, loopback addresses and the host
     */
    public record Listen(String host, int port, List<String> hosts) {
        public Listen {
            hosts = List.copyOf(hosts);
        }
    }

    /** @param bootstrapServers empty: the embedded broker */
    public record Kafka(String bootstrapServers, String prefix, int partitions, int replication) {}

    /**
     * How long records stay in topics that are not compacted.
     *
     * @param brief 10 min..30 d, at least the deadline of queries
     * @param days 1 h..10 years, at least {@code brief}
     * @param lasting of what is archived, 1 d..10 years, at least {@code days}
     */
    public record Retention(Duration brief, Duration days, Duration lasting) {
        public static final Retention DEFAULT =
                new Retention(Duration.ofHours(1), Duration.ofDays(7), Duration.ofDays(400));
    }

    /**
     * @param url empty: the embedded registry; may hold user and password
     * @param user empty: none, or the URL's
     */
    public record Registry(String url, String user, Secret password) {
        /** The URL with user and password. */
        public String address() {
            return user.isEmpty()
                    ? url
                    : url.replaceFirst(
                            "://",
                            Matcher.quoteReplacement("://" + encoded(user) + ":" + encoded(password.value()) + "@"));
        }

        private static String encoded(String word) {
            return URLEncoder.encode(word, StandardCharsets.UTF_8).replace("+", "%20");
        }
    }

    /** @param url JDBC URL; empty: the embedded server */
    public record Postgres(String url, String user, Secret password) {}

    /** @param url a {@code redis:} URL; empty: the embedded server */
    public record Redis(String url) {}

    /**
     * Kafka Connect, which reads the knowledge sources.
     *
     * @param url REST API of a cluster that has our connectors; empty: a worker of our own
     * @param plugins folder of further connectors for that worker; empty: {@code connectors} in the data folder
     */
    public record Connect(String url, String plugins) {}

    /** Whether a backend's requests leave the machine or the site. */
    public enum Locality {
        LOCAL,
        REMOTE
    }

    /** What a deployment speaks. */
    public enum Kind {
        /** llama-server: OpenAI API with /health, /props and /slots. */
        LLAMA_CPP,
        /** Anything with /v1/chat/completions. */
        OPENAI
    }

    /** @param deployments in order of preference, at least one */
    public record Backend(String name, Locality locality, Kind kind, List<Deployment> deployments) {
        public Backend {
            deployments = List.copyOf(deployments);
        }
    }

    /**
     * A model behind a URL.
     *
     * @param name unique among all deployments
     * @param url base URL; requests go to {@code /v1/chat/completions} below it, a trailing {@code /v1} is accepted
     * @param model model name sent upstream; empty: the server's own
     * @param key bearer token, or none
     * @param inputPrice dollars per million prompt tokens
     * @param outputPrice dollars per million completion tokens
     * @param contextLength tokens; 0: ask the server, or unknown
     * @param capabilities of json, tools, vision
     * @param concurrency requests at once per process
     * @param timeout until the end of the answer
     */
    public record Deployment(
            String name,
            String url,
            String model,
            Secret key,
            double inputPrice,
            double outputPrice,
            int contextLength,
            Set<String> capabilities,
            int concurrency,
            Duration timeout) {
        public Deployment {
            capabilities = Set.copyOf(capabilities);
        }

        /** {@link #url} without a trailing slash or {@code /v1}. */
        public String base() {
            String trimmed = url.endsWith("/") ? url.substring(0, url.length() - 1) : url;
            return trimmed.endsWith("/v1") ? trimmed.substring(0, trimmed.length() - 3) : trimmed;
        }
    }

    /**
     * What a model name means.
     *
     * @param backend forced backend or locality ({@code local}, {@code remote}); empty: the router decides
     * @param retrieval off, auto, keyword, semantic, hybrid or tree
     * @param addContext whether retrieved context goes into the prompt of requests without tools
     * @param localOnly may not leave the machine
     * @param aliases other names of it
     */
    public record ModelPolicy(
            String name,
            String backend,
            String retrieval,
            boolean addContext,
            boolean localOnly,
            List<String> aliases) {
        public ModelPolicy {
            aliases = List.copyOf(aliases);
        }
    }

    /**
     * @param local confidence at or above which the local model answers alone, 0.30..0.95
     * @param fallback confidence at or above which it answers first and is judged, at most local - 0.05
     * @param qualityBar AnswerQuality that a judged answer must reach, 0..1
     * @param remoteMargin how much better P(remote) must be than P(local), 0..1
     * @param remotePrior P(remote answer is accepted) until it is learned, 0..1
     * @param deadline from acceptance to the last moment for an answer, 1 s..1 h
     * @param leaseTimeout silence after which a worker counts as lost, 2 s..60 s
     * @param maxAttempts attempts per interaction, 1..10
     */
    public record Routing(
            double local,
            double fallback,
            double qualityBar,
            double remoteMargin,
            double remotePrior,
            Duration deadline,
            Duration leaseTimeout,
            int maxAttempts) {}

    /**
     * @param limit most hits, 1..50
     * @param contextTokens budget of the context block, 64..32768
     * @param minContextScore context is added only at or above it, 0..1
     * @param concurrency queries in work at once, 1..4096
     * @param timeout after which a query goes on without evidence, 50 ms..30 s
     * @param diversity weight of unlikeness among the passages of a context, 0..1
     * @param tree whether auto takes tree for long questions
     */
    public record Retrieval(
            int limit,
            int contextTokens,
            double minContextScore,
            int concurrency,
            Duration timeout,
            double diversity,
            boolean tree,
            Decay decay,
            Rerank rerank,
            Expansion expansion) {}

    /**
     * What age takes of a score.
     *
     * @param second at least {@code first}
     * @param firstLoss 0..1
     * @param secondLoss 0..1, in all
     */
    public record Decay(Duration first, double firstLoss, Duration second, double secondLoss) {}

    /**
     * A cross-encoder.
     *
     * @param url with its path, as {@code https://api.example.com/v1/rerank}; empty: none
     */
    public record Rerank(String url, String model, Secret key, Duration timeout) {}

    /**
     * A model that rewords questions.
     *
     * @param url of its chat completions, with the path; empty: none
     * @param timeout at most 4 s
     */
    public record Expansion(String url, String model, Secret key, Duration timeout) {}

    /**
     * Where passages are searched.
     *
     * @param qdrantUrl of a Qdrant server's gRPC port; empty: the embedded index
     * @param embedding what makes vectors
     * @param settleAfter quiet after which the embedded index merges its segments, 100 ms..1 day
     * @param garbageEvery between two collections of documents of no use, 1 s..10 years
     * @param garbageAfter how long an unused document stays unchanged before it is of no use, 0..10 years
     */
    public record Knowledge(
            String qdrantUrl,
            Secret qdrantKey,
            String qdrantPrefix,
            Embedding embedding,
            Duration settleAfter,
            Duration garbageEvery,
            Duration garbageAfter) {}

    /**
     * An embedding model on a server.
     *
     * @param url of its embeddings, with the path; empty: the model in this process, and nothing else counts
     * @param dimensions length of its vectors, 1..{@value #MOST_DIMENSIONS}
     * @param timeout of one answer, 50 ms..5 min
     * @param queryPrefix put before questions, as some models were trained; 0..200 characters
     * @param passagePrefix put before passages; 0..200 characters
     */
    public record Embedding(
            String url,
            String model,
            int dimensions,
            Secret key,
            Duration timeout,
            String queryPrefix,
            String passagePrefix) {
        /** As many as the indexes take. */
        public static final int MOST_DIMENSIONS = 4_096;
    }

    /**
     * @param ttl how long the response cache keeps an answer, 1 s..30 d
     * @param timeout how long a look into a cache may take, 10 ms..5 s
     * @param variantB share of sessions, else of keys, whose queries are variant b of an experiment, 0..1; 0 for no experiment
     * @param semantic whether answers to questions of the same meaning are served too
     * @param maxError bound of the share of questions with another meaning that are served, 0.001..0.2
     * @param model file of a verdict learned on other pairs; empty for the one that comes with the product
     */
    public record Cache(
            Duration ttl, Duration timeout, double variantB, boolean semantic, double maxError, String model) {}

    /**
     * @param queue records a worker holds while its deployments are busy or loading, 1..1000
     * @param heartbeat how often a worker renews its lease, 200 ms..10 s
     * @param probe how often deployments are probed, 100 ms..60 s
     * @param breakerFailures consecutive failures that open a deployment's circuit, 1..100
     * @param breakerOpen how long it stays open, 1 s..10 min
     */
    public record Dispatch(int queue, Duration heartbeat, Duration probe, int breakerFailures, Duration breakerOpen) {}

    /**
     * @param bodyBytes largest request body
     * @param queryChars longest {@code query} of /query and /route, characters
     * @param documentChars longest document through the API, characters
     * @param documentRequests requests a minute that write documents, by tenant and principal
     * @param inFlight accepted queries of a gateway without an answer; more get 503
     * @param streamBacklog events held for a slow reader before it is closed
     * @param requestTime from a request's first byte to its last, 1 s..1 h; of it 10 s at most for its head
     * @param freeDiskBytes what must be free on the disk of a data folder for a start, and for taking more
     */
    public record Limits(
            long bodyBytes,
            int queryChars,
            int documentChars,
            int documentRequests,
            int inFlight,
            int streamBacklog,
            Duration requestTime,
            long freeDiskBytes) {}

    /** The log of this configuration; {@code bootstrap} is where the broker really is. */
    public LogSettings log(String bootstrap) {
        return new LogSettings(
                bootstrap,
                kafka.prefix(),
                kafka.partitions(),
                (short) kafka.replication(),
                new LogSettings.Retention(
                        retention.brief(),
                        retention.days(),
                        retention.lasting(),
                        kafka.bootstrapServers().isEmpty()));
    }

    /** The policy behind a model name or alias; a backend's own name is one too. */
    public Optional<ModelPolicy> model(String name) {
        ModelPolicy policy = models.get(name);
        if (policy != null) {
            return Optional.of(policy);
        }
        if (backends.containsKey(name) || name.equals("extractive")) {
            return Optional.of(new ModelPolicy(name, name, "auto", true, false, List.of()));
        }
        return models.values().stream()
                .filter(candidate -> candidate.aliases().contains(name))
                .findFirst();
    }

    /** The deployment with this name. */
    public Optional<Deployment> deployment(String name) {
        return backends.values().stream()
                .flatMap(backend -> backend.deployments().stream())
                .filter(deployment -> deployment.name().equals(name))
                .findFirst();
    }

    /** Every default, with no backend configured: extractive answers. */
    public static MillraceConfig defaults() {
        Map<String, ModelPolicy> models = new TreeMap<>();
        models.put("millrace", new ModelPolicy("millrace", "", "auto", true, false, List.of()));
        models.put("millrace/local", new ModelPolicy("millrace/local", "local", "auto", true, true, List.of()));
        models.put("millrace/remote", new ModelPolicy("millrace/remote", "remote", "auto", true, false, List.of()));
        return new MillraceConfig(
                new Listen("127.0.0.1", 8092, List.of()),
                new Kafka("", LogSettings.DEFAULT_PREFIX, LogSettings.DEFAULT_PARTITIONS, 1),
                Retention.DEFAULT,
                new Registry("", "", Secret.NONE),
                new Postgres("", "millrace", Secret.NONE),
                new Redis(""),
                Map.of(),
                models,
                new Routing(0.85, 0.70, 0.80, 0.0, 0.80, Duration.ofSeconds(120), Duration.ofSeconds(5), 4),
                new Retrieval(
                        5,
                        1500,
                        0.35,
                        256,
                        Duration.ofSeconds(3),
                        0.1,
                        false,
                        new Decay(Duration.ofDays(90), 0.10, Duration.ofDays(180), 0.25),
                        new Rerank("", "", Secret.NONE, Duration.ofSeconds(1)),
                        new Expansion("", "", Secret.NONE, Duration.ofSeconds(4))),
                new Knowledge(
                        "",
                        Secret.NONE,
                        "",
                        new Embedding("", "", 384, Secret.NONE, Duration.ofSeconds(10), "", ""),
                        Duration.ofSeconds(10),
                        Duration.ofDays(7),
                        Duration.ofDays(180)),
                new Cache(Duration.ofDays(1), Duration.ofMillis(100), 0, true, 0.02, ""),
                new Dispatch(10, Duration.ofSeconds(1), Duration.ofMillis(500), 5, Duration.ofSeconds(30)),
                new Limits(16L * 1024 * 1024, 4_096, 51_200, 100, 4_096, 1_024, Duration.ofMinutes(2), 1L << 30),
                DEFAULT_COLLECTIONS,
                new Connect("", ""));
    }

    /** Names of all backends that have a work topic. */
    public List<String> dispatchable() {
        List<String> names = new java.util.ArrayList<>(backends.keySet());
        names.add(Topics.BUILTIN);
        names.sort(null);
        return List.copyOf(names);
    }
}
