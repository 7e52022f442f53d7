package io.millrace.config;

import io.millrace.log.LogSettings;
import java.time.Duration;
import java.util.List;
import java.util.regex.Pattern;

/** Every scalar key, once: name, default, range, one line of documentation. Backends and models are maps, see {@link ConfigLoader}. */
public final class Settings {
    private static final Duration MS_50 = Duration.ofMillis(50);
    private static final Duration S_1 = Duration.ofSeconds(1);
    private static final Duration M_1 = Duration.ofMinutes(1);
    private static final Duration YEARS_10 = Duration.ofDays(3_650);

    private static final Pattern HTTP = Pattern.compile("https?://[^\\s/?#]+([/?#]\\S*)?");
    private static final String BROKER = "(\\[[0-9a-fA-F:]+]|[^\\s,:\\[\\]]+):\\d{1,5}";
    private static final Pattern BROKERS = Pattern.compile(BROKER + "(\\s*,\\s*" + BROKER + ")*");
    /** A topic's name has at most 249 characters, a source's and a backend's name come after it. */
    private static final Pattern PREFIXES = Pattern.compile("[a-zA-Z0-9._-]{0,60}");

    /** What a model wants before a text; a line break is part of one, too. */
    private static final Pattern BEFORE_TEXT = Pattern.compile("(?s).{0,200}");

    private static final Pattern JDBC = Pattern.compile("jdbc:postgresql:\\S+");
    private static final Pattern REDIS_URL = Pattern.compile("rediss?(-sentinel|-socket)?://\\S+");

    static final Setting<String> LISTEN_HOST =
            Setting.text("listen.host", "127.0.0.1", "Address to listen on; loopback, until there are keys.");
    static final Setting<Integer> LISTEN_PORT =
            Setting.integer("listen.port", 8092, 0, 65535, "Port; 0 takes a free one.");
    static final Setting<List<String>> LISTEN_HOSTS = Setting.hosts(
            "listen.hosts",
            "Names that a request's header Host may have beside localhost, loopback addresses and listen.host; a reverse proxy's.");
    static final Setting<String> KAFKA = Setting.text(
            "kafka.bootstrap-servers", "", "host:port,…", BROKERS, "Brokers; empty starts one in this process.");
    static final Setting<String> PREFIX = Setting.text(
            "kafka.prefix",
            "millrace.",
            "up to 60 letters, digits, dots and dashes",
            PREFIXES,
            "Put before every topic name and, with dashes, every group id.");
    static final Setting<Integer> PARTITIONS = Setting.integer(
            "kafka.partitions",
            LogSettings.DEFAULT_PARTITIONS,
            1,
            512,
            "Partitions of all topics keyed by interaction id; fixed when they are created.");
    static final Setting<Integer> REPLICATION =
            Setting.integer("kafka.replication", 1, 1, 9, "Replication factor of the topics.");
    static final Setting<Duration> RETENTION_SHORT = Setting.duration(
            "retention.short",
            "1h",
            Duration.ofMinutes(10),
            Duration.ofDays(30),
            "How long ticks, replies and work for backends stay; at least routing.deadline.");
    static final Setting<Duration> RETENTION_DAYS = Setting.duration(
            "retention.days",
            "7d",
            Duration.ofHours(1),
            YEARS_10,
            "How long queries, evidence, completions, raw documents and telemetry stay; at least retention.short.");
    static final Setting<Duration> RETENTION_LONG = Setting.duration(
            "retention.long",
            "400d",
            Duration.ofDays(1),
            YEARS_10,
            "How long what the archive keeps stays in the log as well; at least retention.days.");
    static final Setting<String> REGISTRY = Setting.text(
            "registry.url",
            "",
            "an http or https URL",
            HTTP,
            "Schema registry with Confluent's REST API; empty starts one.");
    static final Setting<String> REGISTRY_USER = Setting.text(
            "registry.user", "", "User of that URL, for Basic authentication; the URL may hold both instead.");
    static final Setting<String> REGISTRY_PASSWORD_ENV =
            Setting.text("registry.password-env", "", "Variable that holds the password of that user.");
    static final Setting<String> POSTGRES =
            Setting.text("postgres.url", "", "jdbc:postgresql:…", JDBC, "Database; empty starts a server.");
    static final Setting<String> POSTGRES_USER = Setting.text("postgres.user", "millrace", "User of that URL.");
    static final Setting<String> POSTGRES_PASSWORD_ENV =
            Setting.text("postgres.password-env", "", "Variable that holds the password of that URL.");
    static final Setting<String> REDIS =
            Setting.text("redis.url", "", "redis://… or rediss://…", REDIS_URL, "Server; empty starts one.");
    static final Setting<Double> LOCAL =
            Setting.number("routing.local", 0.85, 0.30, 0.95, "Confidence from which the local model answers alone.");
    static final Setting<Double> FALLBACK = Setting.number(
            "routing.fallback",
            0.70,
            0.0,
            0.90,
            "Confidence from which it answers first and is judged; at most local − 0.05.");
    static final Setting<Double> QUALITY_BAR =
            Setting.number("routing.quality-bar", 0.80, 0, 1, "AnswerQuality that a judged answer must reach.");
    static final Setting<Double> REMOTE_MARGIN =
            Setting.number("routing.remote-margin", 0, 0, 1, "How much better remote must be expected to be.");
    static final Setting<Double> REMOTE_PRIOR =
            Setting.number("routing.remote-prior", 0.80, 0, 1, "P(remote answer is accepted) until it is learned.");
    static final Setting<Duration> DEADLINE = Setting.duration(
            "routing.deadline", "120s", S_1, Duration.ofHours(1), "From acceptance to the last moment for an answer.");
    static final Setting<Duration> LEASE = Setting.duration(
            "routing.lease-timeout", "5s", Duration.ofSeconds(4), M_1, "Silence after which a worker counts as lost.");
    static final Setting<Integer> ATTEMPTS =
            Setting.integer("routing.max-attempts", 4, 1, 10, "Attempts per interaction.");
    static final Setting<Integer> LIMIT = Setting.integer("retrieval.limit", 5, 1, 50, "Most hits.");
    static final Setting<Integer> CONTEXT_TOKENS =
            Setting.integer("retrieval.context-tokens", 1500, 64, 32768, "Budget of the context block.");
    static final Setting<Double> MIN_CONTEXT = Setting.number(
            "retrieval.min-context-score", 0.35, 0, 1, "Context goes into the prompt from this context score on.");
    static final Setting<Integer> RETRIEVALS =
            Setting.integer("retrieval.concurrency", 256, 1, 4096, "Queries in work at once.");
    static final Setting<Duration> RETRIEVAL_TIMEOUT = Setting.duration(
            "retrieval.timeout", "3s", MS_50, Duration.ofSeconds(30), "After which a query goes on without evidence.");
    static final Setting<Double> DIVERSITY = Setting.number(
            "retrieval.diversity", 0.1, 0, 1, "How much unlikeness to other passages counts for context; 0: nothing.");
    static final Setting<String> TREE = Setting.word(
            "retrieval.tree",
            List.of("off", "on"),
            "on: auto reads what stands around the hits of questions of eight words or more.");
    static final Setting<Duration> DECAY_FIRST = Setting.duration(
            "retrieval.decay-first", "90d", Duration.ZERO, YEARS_10, "Age from which a score is cut a first time.");
    static final Setting<Double> DECAY_FIRST_LOSS =
            Setting.number("retrieval.decay-first-loss", 0.10, 0, 1, "What that takes of it.");
    static final Setting<Duration> DECAY_SECOND = Setting.duration(
            "retrieval.decay-second", "180d", Duration.ZERO, YEARS_10, "Age from which it is cut more.");
    static final Setting<Double> DECAY_SECOND_LOSS =
            Setting.number("retrieval.decay-second-loss", 0.25, 0, 1, "What that takes in all.");
    static final Setting<String> RERANK_URL = Setting.url(
            "retrieval.rerank-url", "Cross-encoder with Jina's or Cohere's POST /rerank, up to its path; empty: none.");
    static final Setting<String> RERANK_MODEL = Setting.text("retrieval.rerank-model", "", "Model name sent to it.");
    static final Setting<String> RERANK_KEY_ENV =
            Setting.text("retrieval.rerank-key-env", "", "Variable that holds its bearer token.");
    static final Setting<Duration> RERANK_TIMEOUT = Setting.duration(
            "retrieval.rerank-timeout", "1s", MS_50, Duration.ofSeconds(30), "After which hits keep their order.");
    static final Setting<String> EXPAND_URL = Setting.url(
            "retrieval.expand-url",
            "OpenAI-compatible POST /v1/chat/completions, up to its path, that rewords questions whose first search is not convincing; empty: none.");
    static final Setting<String> EXPAND_MODEL = Setting.text("retrieval.expand-model", "", "Model name sent to it.");
    static final Setting<String> EXPAND_KEY_ENV =
            Setting.text("retrieval.expand-key-env", "", "Variable that holds its bearer token.");
    static final Setting<Duration> EXPAND_TIMEOUT = Setting.duration(
            "retrieval.expand-timeout", "4s", MS_50, Duration.ofSeconds(4), "After which the question stays as it is.");
    static final Setting<String> INDEX =
            Setting.word("knowledge.index", List.of("lucene", "qdrant"), "lucene: embedded; qdrant: the server below.");
    static final Setting<String> QDRANT_URL = Setting.url(
            "knowledge.qdrant-url",
            "Qdrant's gRPC port, as http://127.0.0.1:6334; https for TLS. Qdrant 1.15 or later.");
    static final Setting<String> QDRANT_KEY_ENV =
            Setting.text("knowledge.qdrant-key-env", "", "Variable that holds its API key.");
    static final Setting<String> QDRANT_PREFIX =
            Setting.text("knowledge.qdrant-prefix", "", "Put before the names of the collections there.");
    static final Setting<String> EMBEDDING_URL = Setting.url(
            "knowledge.embedding-url",
            "OpenAI-compatible POST /v1/embeddings, up to its path; empty: all-MiniLM-L6-v2 in this process.");
    static final Setting<String> EMBEDDING_MODEL = Setting.text(
            "knowledge.embedding-model", "", "Model name sent to it; another name embeds everything anew.");
    static final Setting<Integer> EMBEDDING_DIMENSIONS = Setting.integer(
            "knowledge.embedding-dimensions",
            384,
            1,
            MillraceConfig.Embedding.MOST_DIMENSIONS,
            "Length of that model's vectors.");
    static final Setting<String> EMBEDDING_KEY_ENV =
            Setting.text("knowledge.embedding-key-env", "", "Variable that holds its bearer token.");
    static final Setting<Duration> EMBEDDING_TIMEOUT = Setting.duration(
            "knowledge.embedding-timeout",
            "10s",
            MS_50,
            Duration.ofMinutes(5),
            "For one answer; a question waits for half of retrieval.timeout at most.");
    static final Setting<String> EMBEDDING_QUERY_PREFIX = Setting.text(
            "knowledge.embedding-query-prefix",
            "",
            "at most 200 characters",
            BEFORE_TEXT,
            "Put before questions as it is, a space at its end included, as that model was trained; another one embeds everything anew.");
    static final Setting<String> EMBEDDING_PASSAGE_PREFIX = Setting.text(
            "knowledge.embedding-passage-prefix",
            "",
            "at most 200 characters",
            BEFORE_TEXT,
            "Put before passages; another one embeds everything anew.");
    static final Setting<Boolean> EMBEDDING_REMOTE = Setting.flag(
            "knowledge.embedding-remote",
            false,
            "Whether it may be on another machine, to which all texts then go, those that are local_only included.");
    static final Setting<Duration> SETTLE_AFTER = Setting.duration(
            "knowledge.settle-after",
            "10s",
            Duration.ofMillis(100),
            Duration.ofDays(1),
            "How long no passage comes before the embedded index merges its segments, so that searches take less time.");
    static final Setting<Duration> GARBAGE_EVERY = Setting.duration(
            "knowledge.gc-every", "7d", S_1, YEARS_10, "How often documents of no use are looked for and deleted.");
    static final Setting<Duration> GARBAGE_AFTER = Setting.duration(
            "knowledge.gc-after",
            "180d",
            Duration.ZERO,
            YEARS_10,
            "How long a document that nobody uses stays unchanged before it is of no use.");
    static final Setting<Duration> CACHE_TTL = Setting.duration(
            "cache.ttl", "24h", S_1, Duration.ofDays(30), "How long the response cache keeps an answer.");
    static final Setting<Duration> CACHE_TIMEOUT = Setting.duration(
            "cache.timeout",
            "100ms",
            Duration.ofMillis(10),
            Duration.ofSeconds(5),
            "How long a look into a cache may take; a slower Redis is left alone for a second, and the query goes on without."
                    + " Sessions wait as long, and 300ms at least.");
    static final Setting<Double> VARIANT_B = Setting.number(
            "cache.variant-b",
            0.0,
            0.0,
            1.0,
            "Share of sessions, else of keys, whose queries are variant b of an experiment, the others a; 0: no experiment.");
    static final Setting<Boolean> CACHE_SEMANTIC = Setting.flag(
            "cache.semantic.enabled",
            true,
            "Whether a query that allows caching may get the answer to a question of the same meaning.");
    static final Setting<Double> CACHE_MAX_ERROR = Setting.number(
            "cache.semantic.max-error",
            0.02,
            0.001,
            0.2,
            "Bound of the share of questions with another meaning that are answered so.");
    static final Setting<String> CACHE_MODEL = Setting.text(
            "cache.semantic.model",
            "",
            "File of a verdict learned with millrace eval cache --write; empty: the one that comes with the product.");
    static final Setting<Integer> QUEUE = Setting.integer(
            "dispatch.queue",
            10,
            1,
            1000,
            "Attempts that wait while a backend's deployments are busy; more are refused.");
    static final Setting<Duration> HEARTBEAT = Setting.duration(
            "dispatch.heartbeat", "1s", Duration.ofMillis(200), S_1, "How often a worker renews its lease.");
    static final Setting<Duration> PROBE = Setting.duration(
            "dispatch.probe", "500ms", Duration.ofMillis(100), M_1, "How often a local deployment is probed.");
    static final Setting<Integer> BREAKER = Setting.integer(
            "dispatch.breaker-failures", 5, 1, 100, "Failures in a row that open a deployment's circuit.");
    static final Setting<Duration> BREAKER_OPEN =
            Setting.duration("dispatch.breaker-open", "30s", S_1, Duration.ofMinutes(10), "How long it stays open.");
    static final Setting<Long> BODY = Setting.size("limits.body", "16MiB", 1024, 64L << 20, "Largest request body.");
    static final Setting<Integer> QUERY_CHARS =
            Setting.integer("limits.query-chars", 4096, 1, 1_000_000, "Longest query of /query and /route.");
    static final Setting<Integer> DOCUMENT_CHARS =
            Setting.integer("limits.document-chars", 51_200, 1, 10_000_000, "Longest document through the API.");
    static final Setting<Integer> DOCUMENT_REQUESTS = Setting.integer(
            "limits.document-requests",
            100,
            1,
            1_000_000,
            "Requests a minute that add or delete documents, by tenant and principal; more get 429. A batch is one.");
    static final Setting<Integer> IN_FLIGHT = Setting.integer(
            "limits.in-flight", 4096, 1, 100_000, "Queries without an answer that a gateway holds; more get 503.");
    static final Setting<Integer> BACKLOG = Setting.integer(
            "limits.stream-backlog", 1024, 16, 100_000, "Pieces held for a slow reader before it is closed.");
    static final Setting<Duration> REQUEST_TIME = Setting.duration(
            "limits.request-time",
            "2m",
            S_1,
            Duration.ofHours(1),
            "From a request's first byte to its last; its head has 10 s of it. Slower ones get 408.");
    static final Setting<String> CONNECT = Setting.text(
            "connect.url",
            "",
            "an http or https URL",
            HTTP,
            "Kafka Connect cluster with our connectors; empty starts a worker with the first source.");
    static final Setting<String> CONNECT_PLUGINS = Setting.text(
            "connect.plugins",
            "",
            "Folder of further connectors for our worker, one folder each; empty: connectors in the data folder.");
    static final Setting<Long> FREE_DISK = Setting.size(
            "limits.free-disk",
            "1GiB",
            1 << 20,
            1L << 40,
            "What must be free on the data folder's disk for a start, and for taking more.");
    static final Setting<List<String>> COLLECTIONS =
            Setting.names("collections", MillraceConfig.DEFAULT_COLLECTIONS, "Names of the knowledge collections.");

    /** All of them, in the order in which they are documented. */
    public static final List<Setting<?>> ALL = List.of(
            LISTEN_HOST,
            LISTEN_PORT,
            LISTEN_HOSTS,
            KAFKA,
            PREFIX,
            PARTITIONS,
            REPLICATION,
            RETENTION_SHORT,
            RETENTION_DAYS,
            RETENTION_LONG,
            REGISTRY,
            REGISTRY_USER,
            REGISTRY_PASSWORD_ENV,
            POSTGRES,
            POSTGRES_USER,
            POSTGRES_PASSWORD_ENV,
            REDIS,
            LOCAL,
            FALLBACK,
            QUALITY_BAR,
            REMOTE_MARGIN,
            REMOTE_PRIOR,
            DEADLINE,
            LEASE,
            ATTEMPTS,
            LIMIT,
            CONTEXT_TOKENS,
            MIN_CONTEXT,
            RETRIEVALS,
            RETRIEVAL_TIMEOUT,
            DIVERSITY,
            TREE,
            DECAY_FIRST,
            DECAY_FIRST_LOSS,
            DECAY_SECOND,
            DECAY_SECOND_LOSS,
            RERANK_URL,
            RERANK_MODEL,
            RERANK_KEY_ENV,
            RERANK_TIMEOUT,
            EXPAND_URL,
            EXPAND_MODEL,
            EXPAND_KEY_ENV,
            EXPAND_TIMEOUT,
            INDEX,
            QDRANT_URL,
            QDRANT_KEY_ENV,
            QDRANT_PREFIX,
            EMBEDDING_URL,
            EMBEDDING_MODEL,
            EMBEDDING_DIMENSIONS,
            EMBEDDING_KEY_ENV,
            EMBEDDING_TIMEOUT,
            EMBEDDING_QUERY_PREFIX,
            EMBEDDING_PASSAGE_PREFIX,
            EMBEDDING_REMOTE,
            SETTLE_AFTER,
            GARBAGE_EVERY,
            GARBAGE_AFTER,
            CACHE_TTL,
            CACHE_TIMEOUT,
            VARIANT_B,
            CACHE_SEMANTIC,
            CACHE_MAX_ERROR,
            CACHE_MODEL,
            QUEUE,
            HEARTBEAT,
            PROBE,
            BREAKER,
            BREAKER_OPEN,
            BODY,
            QUERY_CHARS,
            DOCUMENT_CHARS,
            DOCUMENT_REQUESTS,
            IN_FLIGHT,
            BACKLOG,
            REQUEST_TIME,
            FREE_DISK,
            COLLECTIONS,
            CONNECT,
            CONNECT_PLUGINS);

    private Settings() {}

    /** The table of the documentation. */
    public static String markdown() {
        StringBuilder table = new StringBuilder("| key | default | range | what |\n|---|---|---|---|\n");
        ALL.forEach(setting -> table.append("| `%s` | %s | %s | %s |%n"
                .formatted(
                        setting.key(),
                        setting.fallback().isEmpty() ? "" : "`" + setting.fallback() + "`",
                        setting.range(),
                        setting.doc())
                .replace("\r\n", "\n")));
        return table.toString();
    }
}
