package io.millrace.gateway;

import io.millrace.config.MillraceConfig;
import io.millrace.id.Ids;
import io.millrace.log.Topics;
import io.millrace.schema.Envelope;
import io.millrace.schema.Hit;
import io.millrace.schema.RawDocument;
import io.millrace.text.Sanitizer;
import io.vertx.core.json.JsonArray;
import io.vertx.core.json.JsonObject;
import io.vertx.ext.web.RoutingContext;
import io.vertx.openapi.validation.RequestParameter;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** {@code POST /documents} and {@code POST /search}. */
final class KnowledgeHandler {
    private static final Logger LOG = LoggerFactory.getLogger(KnowledgeHandler.class);
    private static final Duration PATIENCE = Duration.ofSeconds(30);
    private static final long PAUSE_MS = 100;

    private final Wire wire;
    private final SearchPort search;
    private final Blocking blocking;
    private final MillraceConfig config;

    KnowledgeHandler(Wire wire, SearchPort search, Blocking blocking, MillraceConfig config) {
        this.wire = wire;
        this.search = search;
        this.blocking = blocking;
        this.config = config;
    }

    void add(RoutingContext context) {
        JsonObject body = Answers.body(context);
        String content = body.getString("content");
        if (content.isBlank()) {
            throw Problem.invalid("content", "content must not be empty");
        }
        String source = body.getString("project", "api");
        String path = body.getString("relative_path", "");
        if (path.isBlank()) {
            path = "unnamed/" + Ids.content(content);
        }
        Envelope envelope = Envelope.newBuilder()
                .setOccurredAt(System.currentTimeMillis())
                .setTraceId(Headers.traceId(context.request()))
                .setSynthetic(Headers.flag(context.request(), Headers.SYNTHETIC))
                .build();
        String collection = body.getString("collection", config.collections().getFirst());
        Map<String, String> metadata = new HashMap<>();
        body.getJsonObject("metadata", new JsonObject())
                .forEach(entry -> metadata.put(entry.getKey(), String.valueOf(entry.getValue())));
        RawDocument document = RawDocument.newBuilder()
                .setEnvelope(envelope)
                .setSource(source)
                .setPath(path)
                .setTitle(body.getString("title", ""))
                .setCollection(collection)
                .setContent(content)
                .setContentType(body.getString("content_type", "text/plain"))
                .setTrust(body.getString("source_trust_level", "imported"))
                .setTags(Queries.strings(body.getJsonArray("tags")))
                .setMetadata(metadata)
                .setSourceUrl(body.getString("source_url", ""))
                .setModifiedAt(envelope.getOccurredAt())
                .setLocalOnly(body.getBoolean("local_only", false))
                .build();
        String id = Ids.content(envelope.getTenant(), source, path);
        boolean wait = Answers.queryParam(context, "wait")
                .map(RequestParameter::getBoolean)
                .orElse(false);
        Acks.await(context, wire.send(Topics.RAW_API, source + "/" + path, document, () -> true))
                .onSuccess(nothing -> {
                    if (wait) {
                        awaitVisible(
                                context,
                                search.writtenUntilNow(),
                                id,
                                collection,
                                System.nanoTime() + PATIENCE.toNanos());
                    } else {
                        added(context, id, collection, false);
                    }
                })
                .onFailure(context::fail);
    }

    private void awaitVisible(
            RoutingContext context, SearchPort.Progress progress, String id, String collection, long untilNanos) {
        if (context.response().closed()) {
            return;
        }
        blocking.run(progress::isVisible)
                .otherwise(error -> {
                    LOG.warn("the log does not say whether a document is visible: {}", error.toString());
                    return false;
                })
                .onSuccess(visible -> {
                    if (visible || System.nanoTime() >= untilNanos) {
                        added(context, id, collection, visible);
                    } else {
                        context.vertx()
                                .setTimer(
                                        PAUSE_MS, timer -> awaitVisible(context, progress, id, collection, untilNanos));
                    }
                });
    }

    private static void added(RoutingContext context, String id, String collection, boolean visible) {
        Answers.json(
                context,
                visible ? 200 : 202,
                new JsonObject()
                        .put("status", visible ? "ok" : "accepted")
                        .put("document_id", id)
                        .put("collection", collection)
                        .put("visible", visible)
                        .put(
                                "message",
                                visible ? "searches see the document" : "the document is on its way into the index"));
    }

    void find(RoutingContext context) {
        JsonObject body = Answers.body(context);
        String query = Sanitizer.sanitize(body.getString("query"));
        if (query.isBlank()) {
            throw Problem.invalid("query", "query must not be empty");
        }
        String mode = body.getString("mode", "hybrid");
        Filters filters = Filters.of(body);
        Filters.checkQuestion(mode, "query", query);
        SearchPort.Asked asked = new SearchPort.Asked(
                query,
                mode,
                Queries.strings(body.getJsonArray("collections")),
                filters.fields(),
                filters.tags(),
                filters.minSuccessRate(),
                body.getInteger("limit", config.retrieval().limit()),
                body.getDouble("score_threshold", 0.0),
                body.getDouble("diversity", 0.0));
        long started = System.nanoTime();
        blocking.run(() -> search.search(asked))
                .onSuccess(found -> Answers.json(
                        context,
                        200,
                        new JsonObject()
                                .put("query", query)
                                .put("search_mode", found.mode())
                                .put("results", Face.items(found.hits(), Hit::getScore, ""))
                                .put("total", found.hits().size())
                                .put("context_score", found.contextScore())
                                .put("degraded", new JsonArray(found.degraded()))
                                .put("latency_ms", Math.round((System.nanoTime() - started) / 1e6))))
                .onFailure(error -> {
                    if (error instanceof Problem) {
                        context.fail(error);
                        return;
                    }
                    LOG.warn("a search failed", error);
                    context.fail(
                            asked.mode().equals("sql")
                                    ? Problem.unavailable("postgres_unavailable", "the database does not answer now")
                                    : Problem.unavailable("index_unavailable", "the index cannot be searched now"));
                });
    }
}
