package io.millrace.gateway;

import io.millrace.config.MillraceConfig;
import io.millrace.id.Ids;
import io.millrace.log.Topics;
import io.millrace.schema.Envelope;
import io.millrace.schema.RawDocument;
import io.vertx.core.Future;
import io.vertx.core.json.JsonObject;
import io.vertx.ext.web.RoutingContext;
import io.vertx.openapi.validation.RequestParameter;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Documents of clients on their way to {@code raw.api}. */
final class Documents {
    /** Source of documents whose client names none. */
    static final String DEFAULT_PROJECT = "api";

    private static final Logger LOG = LoggerFactory.getLogger(Documents.class);
    private static final Duration PATIENCE = Duration.ofSeconds(30);
    private static final long PAUSE_MS = 100;

    private final Wire wire;
    private final SearchPort knowledge;
    private final Blocking blocking;
    private final MillraceConfig config;
    private final DocumentLimit limit;

    Documents(Wire wire, SearchPort knowledge, Blocking blocking, MillraceConfig config, DocumentLimit limit) {
        this.wire = wire;
        this.knowledge = knowledge;
        this.blocking = blocking;
        this.config = config;
        this.limit = limit;
    }

    /** Counts a request that writes, before anything is done for it; then does it, or answers 429. */
    void admit(RoutingContext context, Runnable then) {
        limit.take(envelope(context), context)
                .onSuccess(taken -> attempt(context, then))
                .onFailure(context::fail);
    }

    /** What it throws is the answer. */
    static void attempt(RoutingContext context, Runnable then) {
        try {
            then.run();
        } catch (RuntimeException e) {
            context.fail(e);
        }
    }

    /** Whether the client wants its answer when searches see what it changed. */
    static boolean isWaiting(RoutingContext context) {
        return Answers.queryParam(context, "wait")
                .map(RequestParameter::getBoolean)
                .orElse(false);
    }

    /** Says true when searches see what was written until now, or false after 30 s; nothing to a client that has gone. */
    void whenVisible(RoutingContext context, Consumer<Boolean> then) {
        await(context, knowledge.writtenUntilNow(), then, System.nanoTime() + PATIENCE.toNanos());
    }

    private void await(RoutingContext context, SearchPort.Progress progress, Consumer<Boolean> then, long untilNanos) {
        if (context.response().closed()) {
            return;
        }
        blocking.run(progress::isVisible)
                .otherwise(error -> {
                    LOG.warn("the log does not say whether documents are visible: {}", error.toString());
                    return false;
                })
                .onSuccess(visible -> {
                    if (visible || System.nanoTime() >= untilNanos) {
                        then.accept(visible);
                    } else {
                        context.vertx().setTimer(PAUSE_MS, timer -> await(context, progress, then, untilNanos));
                    }
                });
    }

    static String id(RawDocument document) {
        return Ids.content(document.getEnvelope().getTenant(), document.getSource(), document.getPath());
    }

    /**
     * A document as the client has it.
     *
     * @param at where it stands in the body, as a prefix of field names
     */
    RawDocument raw(RoutingContext context, JsonObject body, String at) {
        String content = body.getString("content");
        if (content.isBlank()) {
            throw Problem.invalid(at + "content", "content must not be empty");
        }
        String source = body.getString("project", DEFAULT_PROJECT);
        requireUndeclared(source, at + "project");
        String path = body.getString("relative_path", "");
        if (path.isBlank()) {
            path = "unnamed/" + Ids.content(content);
        }
        Envelope envelope = envelope(context);
        Map<String, String> metadata = new HashMap<>();
        body.getJsonObject("metadata", new JsonObject())
                .forEach(entry -> metadata.put(entry.getKey(), String.valueOf(entry.getValue())));
        return RawDocument.newBuilder()
                .setEnvelope(envelope)
                .setSource(source)
                .setPath(path)
                .setTitle(body.getString("title", ""))
                .setCollection(body.getString("collection", config.collections().getFirst()))
                .setContent(content)
                .setContentType(body.getString("content_type", "text/plain"))
                .setTrust(body.getString("source_trust_level", "imported"))
                .setTags(Queries.strings(body.getJsonArray("tags")))
                .setMetadata(metadata)
                .setSourceUrl(body.getString("source_url", ""))
                .setModifiedAt(envelope.getOccurredAt())
                .setLocalOnly(body.getBoolean("local_only", false))
                .build();
    }

    /** A source would delete what it does not have, and not bring back what it has. */
    void requireUndeclared(String project, String field) {
        if (SourcesHandler.all(knowledge).stream()
                .anyMatch(status -> status.getSourceId().equals(project) && status.getAddedAt() > 0)) {
            throw Problem.field(
                    409,
                    "declared_source",
                    field,
                    project + " is a knowledge source, whose documents are changed where they come from");
        }
    }

    static Envelope envelope(RoutingContext context) {
        return Envelope.newBuilder()
                .setOccurredAt(System.currentTimeMillis())
                .setTraceId(Headers.traceId(context.request()))
                .setSynthetic(Headers.flag(context.request(), Headers.SYNTHETIC))
                .build();
    }

    /** Completes when the log has all, or fails with a problem; some may be on the log then, and may be sent again. */
    Future<Void> send(RoutingContext context, List<RawDocument> documents) {
        return Acks.await(
                context,
                CompletableFuture.allOf(documents.stream()
                        .map(document -> wire.send(
                                Topics.RAW_API, document.getSource() + "/" + document.getPath(), document, () -> true))
                        .toArray(CompletableFuture[]::new)));
    }
}
