package io.millrace.gateway;

import io.millrace.config.MillraceConfig;
import io.millrace.id.Ids;
import io.millrace.log.Topics;
import io.millrace.schema.Envelope;
import io.millrace.schema.Hit;
import io.millrace.schema.RawDocument;
import io.millrace.schema.TelemetryEvent;
import io.millrace.text.Sanitizer;
import io.vertx.core.json.JsonArray;
import io.vertx.core.json.JsonObject;
import io.vertx.ext.web.RoutingContext;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** {@code POST /documents} and {@code POST /search}. */
final class KnowledgeHandler {
    private static final Logger LOG = LoggerFactory.getLogger(KnowledgeHandler.class);

    private final Wire wire;
    private final SearchPort search;
    private final Blocking blocking;
    private final MillraceConfig config;
    private final Documents documents;

    KnowledgeHandler(Wire wire, SearchPort search, Blocking blocking, MillraceConfig config, Documents documents) {
        this.wire = wire;
        this.search = search;
        this.blocking = blocking;
        this.config = config;
        this.documents = documents;
    }

    void add(RoutingContext context) {
        documents.admit(context, () -> admitted(context));
    }

    private void admitted(RoutingContext context) {
        RawDocument document = documents.raw(context, Answers.body(context), "");
        String id = Documents.id(document);
        documents
                .send(context, List.of(document))
                .onSuccess(nothing -> {
                    if (Documents.isWaiting(context)) {
                        documents.whenVisible(
                                context, visible -> added(context, id, document.getCollection(), visible));
                    } else {
                        added(context, id, document.getCollection(), false);
                    }
                })
                .onFailure(context::fail);
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
                .onSuccess(found -> {
                    Answers.json(
                            context,
                            200,
                            new JsonObject()
                                    .put("query", query)
                                    .put("search_mode", found.mode())
                                    .put("results", Face.items(found.hits(), Hit::getScore, ""))
                                    .put("total", found.hits().size())
                                    .put("context_score", found.contextScore())
                                    .put("degraded", new JsonArray(found.degraded()))
                                    .put("latency_ms", Math.round((System.nanoTime() - started) / 1e6)));
                    tellUse(context, found.hits());
                })
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

    /** What searches find is of use, and not collected as garbage. Behind the answer, and for the answer's sake never an error. */
    private void tellUse(RoutingContext context, List<Hit> hits) {
        if (hits.isEmpty() || Headers.flag(context.request(), Headers.SYNTHETIC)) {
            return;
        }
        TelemetryEvent event = TelemetryEvent.newBuilder()
                .setEnvelope(Envelope.newBuilder()
                        .setOccurredAt(System.currentTimeMillis())
                        .setTraceId(Headers.traceId(context.request()))
                        .build())
                .setEventId(Ids.next())
                .setSource("millrace")
                .setEventType("documents_found")
                .setAttributes(Map.of(
                        "documents",
                        hits.stream().map(Hit::getDocumentId).distinct().collect(Collectors.joining(" "))))
                .build();
        wire.send(Topics.TELEMETRY, event.getSource(), event, () -> true).exceptionally(error -> {
            LOG.warn("the use of documents could not be told: {}", error.toString());
            return null;
        });
    }
}
