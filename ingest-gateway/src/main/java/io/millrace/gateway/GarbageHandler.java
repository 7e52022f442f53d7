package io.millrace.gateway;

import io.vertx.core.json.JsonArray;
import io.vertx.core.json.JsonObject;
import io.vertx.ext.web.RoutingContext;
import java.time.Duration;
import java.time.Instant;
import java.util.TreeMap;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** {@code POST /gc}. */
final class GarbageHandler {
    private static final Logger LOG = LoggerFactory.getLogger(GarbageHandler.class);

    private final SearchPort knowledge;
    private final Blocking blocking;
    private final Duration unused;

    /** @param unused how long an unused document stays unchanged before it is of no use, when a client does not say */
    GarbageHandler(SearchPort knowledge, Blocking blocking, Duration unused) {
        this.knowledge = knowledge;
        this.unused = unused;
        this.blocking = blocking;
    }

    void collect(RoutingContext context) {
        JsonObject body = Answers.body(context);
        boolean dryRun = body.getBoolean("dry_run", false);
        Instant since = Instant.now()
                .minus(
                        body.containsKey("older_than_days")
                                ? Duration.ofDays(body.getInteger("older_than_days"))
                                : unused);
        blocking.run(() -> knowledge.collectGarbage(since, dryRun))
                .onSuccess(garbage -> Answers.json(context, 200, json(garbage, dryRun)))
                .onFailure(error -> {
                    LOG.warn("documents of no use could not be looked for: {}", error.toString());
                    context.fail(
                            error instanceof SearchPort.BehindException
                                    ? Problem.unavailable(
                                            "projection_behind",
                                            "the store of usage is behind the log and may not have all of it yet")
                                    : Problem.unavailable("postgres_unavailable", "usage cannot be looked up now"));
                });
    }

    private static JsonObject json(SearchPort.Garbage garbage, boolean dryRun) {
        JsonObject collections = new JsonObject();
        new TreeMap<>(garbage.byCollection()).forEach(collections::put);
        JsonArray documents = new JsonArray();
        garbage.first()
                .forEach(unused -> documents.add(new JsonObject()
                        .put("document_id", unused.documentId())
                        .put("source", unused.source())
                        .put("path", unused.path())
                        .put("collection", unused.collection())
                        .put("reason", unused.reason())));
        return new JsonObject()
                .put("status", "ok")
                .put("dry_run", dryRun)
                .put("collections", collections)
                .put("total_candidates", garbage.total())
                .put("total_deleted", dryRun ? 0 : garbage.total())
                .put("documents", documents);
    }
}
