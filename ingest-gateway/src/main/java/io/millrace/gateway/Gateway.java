package io.millrace.gateway;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.micrometer.core.instrument.Gauge;
import io.micrometer.core.instrument.Timer;
import io.micrometer.prometheusmetrics.PrometheusMeterRegistry;
import io.millrace.config.MillraceConfig;
import io.millrace.id.Ids;
import io.millrace.log.Log;
import io.millrace.log.LogRecord;
import io.millrace.log.LogTail;
import io.millrace.log.Topics;
import io.millrace.log.Vocabulary.CommandKind;
import io.millrace.log.Vocabulary.ReplyKind;
import io.millrace.schema.Answer;
import io.millrace.schema.BackendStatus;
import io.millrace.schema.Command;
import io.millrace.schema.Envelope;
import io.millrace.schema.Failure;
import io.millrace.schema.Feedback;
import io.millrace.schema.Hit;
import io.millrace.schema.Query;
import io.millrace.schema.RawDocument;
import io.millrace.schema.Reply;
import io.millrace.service.Service;
import io.vertx.core.Vertx;
import io.vertx.core.VertxOptions;
import io.vertx.core.http.HttpServer;
import io.vertx.core.http.HttpServerOptions;
import io.vertx.core.http.HttpServerResponse;
import io.vertx.ext.web.Router;
import io.vertx.ext.web.RoutingContext;
import io.vertx.ext.web.handler.BodyHandler;
import java.net.BindException;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.sql.SQLException;
import java.time.Duration;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.BiFunction;
import java.util.function.Supplier;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The gateway: requests become queries on the log, replies come back on one partition of {@code replies}.
 *
 * <p>A query counts as accepted when the log has acknowledged it, and not before. A client that goes away sends a cancel; the
 * interaction ends in the log all the same, and can be read by its id.
 */
public final class Gateway implements Service {
    private static final Logger LOG = LoggerFactory.getLogger(Gateway.class);

    /** After the deadline: the ledger's grace, in which a final sent just before may still arrive. */
    private static final long GRACE_MS = 500;

    private static final Set<String> FEEDBACK_FIELDS = Set.of(
            "interaction_id",
            "outcome",
            "user_feedback",
            "rating",
            "note",
            "query",
            "correction",
            "original_response",
            "tags",
            "model",
            "variant");
    private static final Set<String> DOCUMENT_FIELDS = Set.of(
            "content",
            "project",
            "relative_path",
            "title",
            "content_type",
            "source_trust_level",
            "source_url",
            "collection",
            "tags",
            "metadata",
            "status",
            "checksum");
    private static final Set<String> SEARCH_FIELDS = Set.of("query", "mode", "collections", "limit", "score_threshold");

    /**
     * What the gateway is told about the rest of the process.
     *
     * @param jdbcUrl where interactions are read
     * @param config effective configuration for {@code /config}, secrets masked
     * @param services the services of this process
     * @param endpoints kafka, registry, postgres, redis
     */
    public record Surroundings(
            String jdbcUrl,
            String user,
            String password,
            Supplier<Map<String, Object>> config,
            Supplier<Collection<Service>> services,
            Map<String, String> endpoints) {
        public Surroundings {
            endpoints = Map.copyOf(endpoints);
        }
    }

    /** How an answer is written in the contract that the client spoke. */
    private interface Contract {
        void answer(Query query, HttpServerResponse response, Reply reply);
    }

    private final Log log;
    private final MillraceConfig config;
    private final SearchPort search;
    private final Surroundings around;
    private final Queries queries;
    private final Interactions interactions;
    private final String id = UUID.randomUUID().toString();
    private final int partition = Math.floorMod(id.hashCode(), Topics.REPLY_PARTITIONS);
    private final Map<String, Exchange> open = new ConcurrentHashMap<>();
    private final Map<String, CompletableFuture<Reply>> probes = new ConcurrentHashMap<>();
    private final Map<String, BackendStatus> backends = new ConcurrentHashMap<>();
    private final Map<String, AtomicLong> routes = new ConcurrentHashMap<>();
    private final AtomicLong latencySum = new AtomicLong();
    private final AtomicLong answered = new AtomicLong();
    private final LogTail<Reply> replies;
    private final LogTail<BackendStatus> statuses;
    private final Vertx vertx;
    private final Timer latency;
    private volatile int port;
    private volatile boolean closing;

    public Gateway(Log log, MillraceConfig config, SearchPort search, Surroundings around) {
        this.log = log;
        this.config = config;
        this.search = search;
        this.around = around;
        this.queries = new Queries(config);
        this.interactions = new Interactions(around.jdbcUrl(), around.user(), around.password());
        this.replies =
                new LogTail<>("replies", Topics.REPLIES, LogTail.From.END, List.of(partition), log, this::onReply);
        this.statuses =
                new LogTail<>("gateway-backends", Topics.BACKEND_STATUS, LogTail.From.BEGINNING, log, this::onStatus);
        this.vertx = Vertx.vertx(new VertxOptions().setEventLoopPoolSize(2).setWorkerPoolSize(8));
        this.latency = Timer.builder("hybrid.request.latency")
                .publishPercentileHistogram()
                .register(log.metrics());
        Gauge.builder("millrace.gateway.in.flight", open, Map::size).register(log.metrics());
    }

    @Override
    public String name() {
        return "gateway";
    }

    /** The port that is listened on. */
    public int port() {
        return port;
    }

    @Override
    public void start() {
        requireLoopback(config.listen().host());
        replies.start();
        statuses.start();
        for (var topic : List.of(Topics.QUERIES, Topics.FEEDBACK, Topics.COMMANDS, Topics.RAW_API)) {
            log.producer().prepare(topic);
        }
        HttpServerOptions options = new HttpServerOptions()
                .setHost(config.listen().host())
                .setPort(config.listen().port())
                .setMaxHeaderSize(32 * 1024)
                .setIdleTimeout((int) config.routing().deadline().toSeconds() + 60)
                .setCompressionSupported(false);
        HttpServer server = vertx.createHttpServer(options).requestHandler(router());
        try {
            port = server.listen()
                    .toCompletionStage()
                    .toCompletableFuture()
                    .get(10, TimeUnit.SECONDS)
                    .actualPort();
        } catch (ExecutionException e) {
            if (e.getCause() instanceof BindException) {
                throw new IllegalStateException(
                        "port " + config.listen().port() + " is taken on "
                                + config.listen().host() + ": stop what listens there, or choose another with --port",
                        e);
            }
            throw new IllegalStateException("the gateway cannot listen: " + e.getCause(), e);
        } catch (TimeoutException e) {
            throw new IllegalStateException("the gateway cannot listen", e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted", e);
        }
    }

    private static void requireLoopback(String host) {
        try {
            if (!InetAddress.getByName(host).isLoopbackAddress()) {
                throw new IllegalStateException("listen.host " + host
                        + " is not a loopback address; there are no keys yet, so anybody could ask");
            }
        } catch (UnknownHostException e) {
            throw new IllegalStateException("listen.host " + host + " is no address", e);
        }
    }

    @Override
    public boolean isReady() {
        return port != 0
                && !closing
                && replies.caughtUp().isDone()
                && !replies.caughtUp().isCompletedExceptionally();
    }

    /** Sends a synthetic query through the log; completes with its id when the final is back. */
    public CompletableFuture<String> probe() {
        Query query = addressed(queries.probe());
        CompletableFuture<Reply> reply = new CompletableFuture<>();
        probes.put(query.getInteractionId(), reply);
        return log.producer()
                .send(Topics.QUERIES, query.getInteractionId(), query)
                .thenCompose(sent -> reply)
                .thenApply(Reply::getInteractionId)
                .whenComplete((done, error) -> probes.remove(query.getInteractionId()));
    }

    private Router router() {
        Router router = Router.router(vertx);
        router.route()
                .handler(BodyHandler.create(false).setBodyLimit(config.limits().bodyBytes()));
        for (String prefix : List.of("", "/hybrid", "/aidb")) {
            router.post(prefix + "/v1/chat/completions")
                    .handler(ctx -> ask(ctx, queries::chat, (query, response, reply) -> openAi(response, reply)));
            router.get(prefix + "/v1/models").handler(this::models);
            router.post(prefix + "/query").handler(ctx -> ask(ctx, queries::query, this::queryContract));
            router.post(prefix + "/route")
                    .handler(ctx ->
                            ask(ctx, queries::route, (query, response, reply) -> routeContract(response, reply)));
            router.get(prefix + "/interactions/:id").handler(this::interaction);
            router.post(prefix + "/feedback/:id").handler(this::rate);
            router.post(prefix + "/feedback").handler(this::feedback);
            router.post(prefix + "/documents").handler(this::document);
            router.post(prefix + "/search").handler(this::search);
            router.get(prefix + "/health").handler(this::health);
            router.get(prefix + "/health/detailed").handler(this::health);
            router.get(prefix + "/health/live").handler(ctx -> json(ctx, 200, object().put("status", "alive")));
            router.get(prefix + "/health/ready").handler(this::ready);
            router.get(prefix + "/health/startup").handler(this::ready);
            router.get(prefix + "/status").handler(this::status);
            router.get(prefix + "/stats").handler(this::stats);
            router.get(prefix + "/config")
                    .handler(ctx -> json(
                            ctx, 200, Fields.JSON.valueToTree(around.config().get())));
        }
        router.get("/metrics").handler(this::metrics);
        router.route().failureHandler(this::failed);
        router.errorHandler(
                404,
                ctx -> problem(
                        ctx,
                        new ApiException(
                                404,
                                "not_found",
                                "",
                                "there is nothing at " + ctx.request().path())));
        router.errorHandler(
                405,
                ctx -> problem(
                        ctx,
                        new ApiException(
                                405,
                                "method_not_allowed",
                                "",
                                ctx.request().method() + " is not possible at "
                                        + ctx.request().path())));
        return router;
    }

    private void ask(RoutingContext ctx, BiFunction<String, UnaryOperator<String>, Query> make, Contract write) {
        if (closing || open.size() >= config.limits().inFlight()) {
            throw new ApiException(503, "overloaded", "", "too many queries are in flight", 1);
        }
        Query query = addressed(make.apply(
                body(ctx),
                name -> Optional.ofNullable(ctx.request().getHeader(name)).orElse("")));
        String interaction = query.getInteractionId();
        boolean async = Optional.ofNullable(ctx.request().getHeader("Prefer"))
                .orElse("")
                .contains("respond-async");
        Exchange exchange = null;
        if (!async) {
            exchange = new Exchange(
                    query,
                    ctx.response(),
                    ctx.vertx().getOrCreateContext(),
                    config.limits().streamBacklog(),
                    (response, reply) -> write.answer(query, response, reply),
                    this::ended);
            open.put(interaction, exchange);
            long patience = query.getDeadlineAt() - System.currentTimeMillis() + GRACE_MS;
            vertx.setTimer(Math.max(1, patience), timer -> expire(interaction));
        }
        var context = ctx.vertx().getOrCreateContext();
        log.producer()
                .send(Topics.QUERIES, interaction, query)
                .whenComplete((sent, error) -> context.runOnContext(v -> {
                    if (error != null) {
                        LOG.warn("a query could not be accepted: {}", error.toString());
                        open.remove(interaction);
                        problem(
                                ctx,
                                new ApiException(503, "log_unavailable", "", "the log does not take queries now", 2));
                    } else if (async) {
                        ctx.response().putHeader("Location", "/interactions/" + interaction);
                        json(
                                ctx,
                                202,
                                object().put("interaction_id", interaction).put("status", "accepted"));
                    }
                }));
    }

    private Query addressed(Query query) {
        return Query.newBuilder(query)
                .setGatewayId(id)
                .setReplyPartition(partition)
                .build();
    }

    private void onReply(LogRecord<Reply> record) {
        Reply reply = record.value();
        if (reply == null || !reply.getGatewayId().equals(id)) {
            return;
        }
        CompletableFuture<Reply> probe = probes.get(reply.getInteractionId());
        if (probe != null && !reply.getKind().equals(ReplyKind.DELTA)) {
            probe.complete(reply);
            return;
        }
        Exchange exchange = open.get(reply.getInteractionId());
        if (exchange != null) {
            if (!reply.getKind().equals(ReplyKind.DELTA)) {
                count(exchange.query(), reply);
            }
            exchange.accept(reply);
        }
    }

    private void count(Query query, Reply reply) {
        long took = System.currentTimeMillis() - query.getEnvelope().getOccurredAt();
        latency.record(took, TimeUnit.MILLISECONDS);
        latencySum.addAndGet(took);
        answered.incrementAndGet();
        routes.computeIfAbsent(reply.getRoute(), r -> new AtomicLong()).incrementAndGet();
        log.metrics()
                .counter("hybrid.route.decisions", "route", reply.getRoute(), "kind", reply.getKind())
                .increment();
    }

    private void ended(Exchange exchange, boolean gone) {
        String interaction = exchange.query().getInteractionId();
        if (open.remove(interaction) == null || !gone) {
            return;
        }
        Command cancel = Command.newBuilder()
                .setEnvelope(Envelope.newBuilder(exchange.query().getEnvelope())
                        .setOccurredAt(System.currentTimeMillis())
                        .build())
                .setCommandId(Ids.next())
                .setKind(CommandKind.CANCEL)
                .setTarget(interaction)
                .build();
        log.producer().send(Topics.COMMANDS, interaction, cancel);
    }

    private void expire(String interaction) {
        Exchange exchange = open.get(interaction);
        if (exchange != null) {
            exchange.fail(Failure.newBuilder()
                    .setReason("deadline_exceeded")
                    .setMessage("no answer before the deadline; the interaction is at /interactions/" + interaction)
                    .setHttpStatus(504)
                    .build());
        }
    }

    private void onStatus(LogRecord<BackendStatus> record) {
        BackendStatus status = record.value();
        if (status == null) {
            backends.remove(record.key());
        } else {
            backends.put(record.key(), status);
        }
    }

    // ---- answers in the shape of each contract

    private void openAi(HttpServerResponse response, Reply reply) {
        response.putHeader("Content-Type", "application/json");
        Answer answer = reply.getAnswer();
        if (reply.getKind().equals(ReplyKind.FINAL) && answer != null) {
            response.end(Exchange.completion(reply, answer, System.currentTimeMillis()));
        } else {
            Failure failure = Exchange.failure(reply);
            failureHead(response, failure).end(Exchange.openAiError(failure));
        }
    }

    private void queryContract(Query query, HttpServerResponse response, Reply reply) {
        Answer answer = reply.getAnswer();
        if (answer == null) {
            Failure failure = Exchange.failure(reply);
            problem(
                    failureHead(response, failure),
                    failure.getHttpStatus(),
                    failure.getReason(),
                    "",
                    failure.getMessage());
            return;
        }
        String mode = query.getRetrieval().equals("auto") ? "hybrid" : query.getRetrieval();
        ObjectNode body = object().put("route", mode)
                .put("backend", locality(reply))
                .put("response", answer.getText())
                .put("latency_ms", System.currentTimeMillis() - Ids.millisOf(reply.getInteractionId()))
                .put("interaction_id", reply.getInteractionId());
        body.set("decision", decision(reply));
        ObjectNode results = body.putObject("results");
        ArrayNode combined = results.putArray("combined_results");
        ArrayNode semantic = results.putArray("semantic_results");
        ArrayNode keyword = results.putArray("keyword_results");
        Set<String> collections = new HashSet<>();
        for (Hit hit : reply.getHits()) {
            combined.add(item(hit, hit.getScore(), hit.getUnit()));
            if (hit.getCosine() != null) {
                semantic.add(item(hit, hit.getCosine(), "cosine"));
            }
            if (hit.getBm25() != null) {
                keyword.add(item(hit, hit.getBm25(), "bm25"));
            }
            collections.add(hit.getCollection());
        }
        results.set(
                "collections",
                Fields.JSON.valueToTree(collections.stream().sorted().toList()));
        response.putHeader("Content-Type", "application/json").end(body.toString());
    }

    private void routeContract(HttpServerResponse response, Reply reply) {
        Answer answer = reply.getAnswer();
        if (answer == null) {
            Failure failure = Exchange.failure(reply);
            problem(
                    failureHead(response, failure),
                    failure.getHttpStatus(),
                    failure.getReason(),
                    "",
                    failure.getMessage());
            return;
        }
        ObjectNode body = object().put("response", answer.getText())
                .put("route", reply.getRoute())
                .put("confidence", reply.getConfidence())
                .put("confidence_kind", reply.getConfidenceKind())
                .put("latency_ms", System.currentTimeMillis() - Ids.millisOf(reply.getInteractionId()))
                .put("cost", answer.getCostUsd())
                .put("cached", !reply.getCachedKind().isEmpty())
                .putNull("value_score")
                .put("learned", false)
                .put("interaction_id", reply.getInteractionId());
        body.set("decision", decision(reply));
        response.putHeader("Content-Type", "application/json").end(body.toString());
    }

    /** local or remote: whether the answer left the machine. */
    private String locality(Reply reply) {
        var backend = config.backends().get(reply.getBackend());
        return backend != null && backend.locality() == MillraceConfig.Locality.REMOTE ? "remote" : "local";
    }

    private static ObjectNode decision(Reply reply) {
        return object().put("route", reply.getRoute())
                .put("reason", reply.getReason())
                .put("backend", reply.getBackend())
                .put("deployment", reply.getDeployment())
                .put("confidence", reply.getConfidence())
                .put("confidence_kind", reply.getConfidenceKind())
                .put("context_score", reply.getContextScore())
                .put("attempt", reply.getAttempt())
                .put("context_added", reply.getContextAdded())
                .put("cached", reply.getCachedKind());
    }

    private static ObjectNode item(Hit hit, double score, String unit) {
        ObjectNode item = object().put("collection", hit.getCollection())
                .put("id", hit.getPassageId())
                .put("score", score)
                .put("unit", unit)
                .put("source", hit.getPath());
        item.putObject("payload")
                .put("title", hit.getTitle())
                .put("path", hit.getPath())
                .put("content", hit.getText())
                .put("chunk_index", hit.getChunkIndex())
                .put("trust", hit.getTrust());
        ArrayNode sources = item.putArray("sources");
        if (hit.getCosine() != null) {
            sources.add("semantic");
        }
        if (hit.getBm25() != null) {
            sources.add("keyword");
        }
        return item;
    }

    // ---- the rest

    private void models(RoutingContext ctx) {
        ObjectNode body = object().put("object", "list");
        ArrayNode data = body.putArray("data");
        Set<String> names = new java.util.TreeSet<>(config.models().keySet());
        config.models().values().forEach(model -> names.addAll(model.aliases()));
        names.addAll(config.backends().keySet());
        names.add("extractive");
        names.forEach(name -> data.addObject()
                .put("id", name)
                .put("object", "model")
                .put("created", 0)
                .put("owned_by", "millrace"));
        json(ctx, 200, body);
    }

    private void interaction(RoutingContext ctx) {
        String interaction = eventId(ctx.pathParam("id"));
        String wait = Optional.ofNullable(ctx.request().getParam("wait")).orElse("0");
        if (!wait.matches("\\d{1,3}")) {
            throw ApiException.field("wait", "must be seconds, 0 to 999");
        }
        long until = System.currentTimeMillis() + Math.min(60, Integer.parseInt(wait)) * 1000L;
        blocking(ctx, () -> {
            try {
                Optional<ObjectNode> found = interactions.find(interaction);
                while (found.isEmpty() && System.currentTimeMillis() < until) {
                    Thread.sleep(50);
                    found = interactions.find(interaction);
                }
                if (found.isPresent()) {
                    ObjectNode body = found.get();
                    return () -> json(ctx, 200, body);
                }
            } catch (SQLException e) {
                throw new ApiException(503, "postgres_unavailable", "", "the database does not answer", 2);
            }
            boolean recent = open.containsKey(interaction)
                    || System.currentTimeMillis() - Ids.millisOf(interaction)
                            < config.routing().deadline().toMillis();
            if (recent) {
                return () -> json(
                        ctx, 202, object().put("interaction_id", interaction).put("status", "in_progress"));
            }
            throw new ApiException(404, "not_found", "id", "id: there is no interaction " + interaction);
        });
    }

    private void rate(RoutingContext ctx) {
        String interaction = eventId(ctx.pathParam("id"));
        Fields fields = Fields.parse(body(ctx)).only(Set.of("rating", "note", "query"));
        int rating = fields.integer("rating", 0, -1, 1);
        if (rating == 0) {
            throw ApiException.field("rating", "is required and must be 1 or -1");
        }
        record(
                ctx,
                "recorded",
                feedback(interaction)
                        .setRating(rating)
                        .setNote(fields.string("note", "", 1_000))
                        .setQuery(fields.string("query", "", 500)));
    }

    private void feedback(RoutingContext ctx) {
        Fields fields = Fields.parse(body(ctx)).only(FEEDBACK_FIELDS);
        boolean byOutcome = fields.has("outcome");
        if (!byOutcome && !fields.has("rating") && !fields.has("correction")) {
            throw new ApiException(
                    400, "missing_feedback_fields", "outcome", "outcome: outcome, rating or correction is required");
        }
        String interaction = fields.string("interaction_id", "", 100);
        if (byOutcome || !interaction.isEmpty()) {
            eventId(interaction);
        } else {
            fields.required("query", 500);
        }
        String field = byOutcome ? "user_feedback" : "rating";
        record(
                ctx,
                byOutcome ? "updated" : "recorded",
                feedback(interaction)
                        .setRating(fields.has(field) ? fields.integer(field, 0, -1, 1) : null)
                        .setOutcome(
                                byOutcome ? fields.oneOf("outcome", "", Set.of("success", "partial", "failure")) : "")
                        .setNote(fields.string("note", "", 1_000))
                        .setCorrection(fields.string("correction", "", 50_000))
                        .setOriginalResponse(fields.string("original_response", "", 50_000))
                        .setQuery(fields.string("query", "", 500))
                        .setTags(fields.strings("tags", 50)));
    }

    private static Feedback.Builder feedback(String interaction) {
        return Feedback.newBuilder()
                .setEnvelope(Envelope.newBuilder()
                        .setOccurredAt(System.currentTimeMillis())
                        .build())
                .setFeedbackId(Ids.next())
                .setInteractionId(interaction);
    }

    private void record(RoutingContext ctx, String status, Feedback.Builder builder) {
        Feedback feedback = builder.build();
        String key = feedback.getInteractionId().isEmpty() ? feedback.getFeedbackId() : feedback.getInteractionId();
        acknowledged(
                ctx,
                log.producer().send(Topics.FEEDBACK, key, feedback),
                () -> json(ctx, 200, object().put("status", status).put("feedback_id", feedback.getFeedbackId())));
    }

    private void document(RoutingContext ctx) {
        Fields fields = Fields.parse(body(ctx)).only(DOCUMENT_FIELDS);
        String content = fields.required("content", config.limits().documentChars());
        if (content.indexOf('\0') >= 0) {
            throw ApiException.field("content", "must not hold NUL characters");
        }
        String collection = fields.string("collection", "codebase-context", 100);
        queries.known(collection);
        String source = fields.string("project", "api", 200);
        String path = fields.string("relative_path", "", 1_000);
        RawDocument raw = RawDocument.newBuilder()
                .setEnvelope(Envelope.newBuilder()
                        .setOccurredAt(System.currentTimeMillis())
                        .build())
                .setSource(source)
                .setPath(path.isEmpty() ? "inline/" + Ids.checksum(content).substring(0, 16) : path)
                .setTitle(fields.string("title", "", 500))
                .setCollection(collection)
                .setContent(content)
                .setContentType(fields.string("content_type", "text/markdown", 100))
                .setTrust(fields.oneOf("source_trust_level", "imported", Set.of("trusted", "imported", "generated")))
                .setSourceUrl(fields.string("source_url", "", 2_000))
                .setTags(fields.strings("tags", 50))
                .setMetadata(fields.map("metadata"))
                .build();
        String document = Ids.content(raw.getEnvelope().getTenant(), source, raw.getPath());
        boolean wait = "true".equals(ctx.request().getParam("wait"));
        acknowledged(ctx, log.producer().send(Topics.RAW_API, source + "/" + raw.getPath(), raw), () -> {
            ObjectNode answer = object().put("status", "accepted")
                    .put("document_id", document)
                    .put("message", "on its way to the index");
            if (!wait) {
                json(ctx, 202, answer);
                return;
            }
            blocking(ctx, () -> {
                long until = System.currentTimeMillis() + Duration.ofSeconds(30).toMillis();
                boolean visible = search.isVisible(document);
                while (!visible && System.currentTimeMillis() < until) {
                    Thread.sleep(50);
                    visible = search.isVisible(document);
                }
                boolean done = visible;
                return () -> json(
                        ctx, done ? 200 : 202, done ? answer.put("status", "ok").put("message", "searchable") : answer);
            });
        });
    }

    private void search(RoutingContext ctx) {
        Fields fields = Fields.parse(body(ctx)).only(SEARCH_FIELDS);
        String text = fields.required("query", config.limits().queryChars());
        String asked = fields.oneOf("mode", "auto", Set.of("auto", "keyword", "semantic", "hybrid"));
        String mode = asked.equals("auto") ? "hybrid" : asked;
        List<String> collections = fields.strings("collections", 100);
        collections.forEach(queries::known);
        int limit = fields.integer("limit", config.retrieval().limit(), 1, 100);
        double threshold = fields.number("score_threshold", 0, -1, 1);
        blocking(ctx, () -> {
            List<Hit> hits = search.search(text, mode, collections, limit, threshold);
            ObjectNode body =
                    object().put("query", text).put("search_mode", mode).put("total", hits.size());
            ArrayNode results = body.putArray("results");
            hits.forEach(hit -> results.add(item(hit, hit.getScore(), hit.getUnit())));
            return () -> json(ctx, 200, body);
        });
    }

    private void health(RoutingContext ctx) {
        ObjectNode body = object();
        boolean ready = true;
        boolean degraded = false;
        ObjectNode services = object();
        for (Service service : around.services().get()) {
            Map<String, String> details = service.details();
            ready &= service.isReady();
            degraded |= !details.isEmpty();
            ObjectNode node = services.putObject(service.name()).put("ready", service.isReady());
            if (!details.isEmpty()) {
                node.set("details", Fields.JSON.valueToTree(new TreeMap<>(details)));
            }
        }
        body.put("status", !ready ? "unhealthy" : degraded ? "degraded" : "healthy")
                .put("service", "millrace");
        body.set("services", services);
        body.set("collections", Fields.JSON.valueToTree(config.collections()));
        json(ctx, 200, body);
    }

    private void ready(RoutingContext ctx) {
        boolean ready = around.services().get().stream().allMatch(Service::isReady);
        json(ctx, ready ? 200 : 503, object().put("status", ready ? "ready" : "starting"));
    }

    private void status(RoutingContext ctx) {
        blocking(ctx, () -> {
            ObjectNode body = object().put("service", "millrace");
            body.set("endpoints", Fields.JSON.valueToTree(new TreeMap<>(around.endpoints())));
            ObjectNode services = body.putObject("services");
            around.services().get().forEach(service -> services.put(service.name(), service.isReady()));
            body.put("postgres_up", interactions.isUp());
            ObjectNode routing = body.putObject("routing");
            routing.put("local", config.routing().local())
                    .put("fallback", config.routing().fallback())
                    .put("quality_bar", config.routing().qualityBar())
                    .put("threshold", config.routing().fallback());
            ArrayNode all = body.putArray("backends");
            new TreeMap<>(backends).values().forEach(status -> all.add(backend(status)));
            backends.values().stream()
                    .filter(status -> status.getLocality().equals("local"))
                    .findFirst()
                    .ifPresent(status -> body.set(
                            "local_llm",
                            backend(status)
                                    .put("model_name", status.getModel())
                                    .put("queue_max", config.dispatch().queue())));
            return () -> json(ctx, 200, body);
        });
    }

    private static ObjectNode backend(BackendStatus status) {
        return object().put("deployment", status.getDeployment())
                .put("backend", status.getBackend())
                .put("locality", status.getLocality())
                .put("status", status.getHealthy() ? "healthy" : status.getLoading() ? "loading" : "unhealthy")
                .put("healthy", status.getHealthy())
                .put("loading", status.getLoading())
                .put("progress", status.getProgress())
                .put("model", status.getModel())
                .put("queue_depth", status.getQueueDepth())
                .put("error", status.getError());
    }

    private void stats(RoutingContext ctx) {
        long total = answered.get();
        long local = routed("local") + routed("local_with_fallback");
        long remote = routed("remote");
        ObjectNode body =
                object().put("total_queries", total).put("local_route", local).put("remote_route", remote);
        // no data is null and not 0 %
        body.put("local_percentage", local + remote == 0 ? null : 100.0 * local / (local + remote));
        body.put("average_latency_ms", total == 0 ? null : (double) latencySum.get() / total);
        body.putNull("total_cost_saved").putNull("patterns_learned");
        ObjectNode byRoute = body.putObject("routes");
        new TreeMap<>(routes).forEach((route, count) -> byRoute.put(route, count.get()));
        body.put("in_flight", open.size());
        json(ctx, 200, body);
    }

    private long routed(String route) {
        AtomicLong count = routes.get(route);
        return count == null ? 0 : count.get();
    }

    private void metrics(RoutingContext ctx) {
        String text = log.metrics() instanceof PrometheusMeterRegistry prometheus ? prometheus.scrape() : "";
        ctx.response()
                .putHeader("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                .end(text);
    }

    // ---- plumbing

    private static String eventId(@Nullable String id) {
        if (id == null || !Ids.isEventId(id)) {
            throw ApiException.field("interaction_id", "is not the id of an interaction");
        }
        return id;
    }

    private static String body(RoutingContext ctx) {
        var buffer = ctx.body().buffer();
        if (buffer == null || buffer.length() == 0) {
            throw ApiException.field("body", "is required");
        }
        return Fields.text(buffer.getBytes());
    }

    private void acknowledged(RoutingContext ctx, CompletableFuture<?> sent, Runnable then) {
        var context = ctx.vertx().getOrCreateContext();
        sent.whenComplete((done, error) -> context.runOnContext(v -> {
            if (error == null) {
                then.run();
            } else {
                problem(ctx, new ApiException(503, "log_unavailable", "", "the log does not take records now", 2));
            }
        }));
    }

    /** Runs something that blocks on a virtual thread, and what it returns on the event loop. */
    private void blocking(RoutingContext ctx, Callable<Runnable> work) {
        var context = ctx.vertx().getOrCreateContext();
        Thread.startVirtualThread(() -> {
            try {
                Runnable answer = work.call();
                context.runOnContext(v -> answer.run());
            } catch (Exception e) {
                context.runOnContext(v -> ctx.fail(e));
            }
        });
    }

    private void failed(RoutingContext ctx) {
        Throwable failure = ctx.failure();
        if (failure instanceof ApiException known) {
            problem(ctx, known);
        } else if (ctx.statusCode() == 413) {
            problem(
                    ctx,
                    new ApiException(
                            413,
                            "too_large",
                            "body",
                            "body: is larger than " + config.limits().bodyBytes() + " bytes"));
        } else if (ctx.statusCode() >= 400 && ctx.statusCode() < 500) {
            problem(ctx, new ApiException(ctx.statusCode(), "invalid_request", "", "the request is malformed"));
        } else {
            LOG.error("{} {} failed", ctx.request().method(), ctx.request().path(), failure);
            problem(ctx, new ApiException(503, "unavailable", "", "this cannot be answered now", 1));
        }
    }

    private static void problem(RoutingContext ctx, ApiException error) {
        HttpServerResponse response = ctx.response();
        if (response.ended() || response.headWritten()) {
            return;
        }
        if (error.retryAfterSeconds() > 0) {
            response.putHeader("Retry-After", String.valueOf(error.retryAfterSeconds()));
        }
        String path = ctx.request().path();
        if (path != null && path.contains("/v1/")) {
            ObjectNode body = object();
            body.putObject("error")
                    .put("message", error.text())
                    .put("type", error.status() >= 500 ? "server_error" : "invalid_request_error")
                    .put("code", error.code())
                    .put("param", error.field().isEmpty() ? null : error.field());
            response.setStatusCode(error.status())
                    .putHeader("Content-Type", "application/json")
                    .end(body.toString());
        } else {
            problem(response, error.status(), error.code(), error.field(), error.text());
        }
    }

    private static void problem(HttpServerResponse response, int status, String code, String field, String detail) {
        ObjectNode body = object().put("type", "about:blank")
                .put("title", code)
                .put("status", status)
                .put("detail", detail);
        if (!field.isEmpty()) {
            body.put("field", field);
        }
        response.setStatusCode(status)
                .putHeader("Content-Type", "application/problem+json")
                .end(body.toString());
    }

    private static HttpServerResponse failureHead(HttpServerResponse response, Failure failure) {
        int status = failure.getHttpStatus() < 400 || failure.getHttpStatus() > 599 ? 502 : failure.getHttpStatus();
        if (failure.getRetryAfterMs() > 0) {
            response.putHeader("Retry-After", String.valueOf((failure.getRetryAfterMs() + 999) / 1000));
        }
        return response.setStatusCode(status);
    }

    private static void json(RoutingContext ctx, int status, com.fasterxml.jackson.databind.JsonNode body) {
        if (!ctx.response().ended()) {
            ctx.response()
                    .setStatusCode(status)
                    .putHeader("Content-Type", "application/json")
                    .end(body.toString());
        }
    }

    private static ObjectNode object() {
        return Fields.JSON.createObjectNode();
    }

    @Override
    public void close() {
        closing = true;
        open.values()
                .forEach(exchange -> exchange.fail(Failure.newBuilder()
                        .setReason("stopping")
                        .setMessage("the gateway stops; the interaction goes on in the log")
                        .setHttpStatus(503)
                        .setRetryAfterMs(5_000)
                        .build()));
        try {
            vertx.close().toCompletionStage().toCompletableFuture().get(3, TimeUnit.SECONDS);
        } catch (ExecutionException | TimeoutException e) {
            LOG.debug("the HTTP server did not close in time", e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        replies.close();
        statuses.close();
        interactions.close();
    }
}
