package io.millrace.gateway;

import io.millrace.schema.Envelope;
import io.vertx.core.json.JsonArray;
import io.vertx.core.json.JsonObject;
import io.vertx.ext.web.RoutingContext;
import java.util.TreeMap;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** {@code GET} and {@code DELETE /session/{session_id}}, in the predecessor's shape. */
final class SessionHandler {
    private static final Logger LOG = LoggerFactory.getLogger(SessionHandler.class);
    private static final String ID = "session_id";

    private final SearchPort knowledge;
    private final Blocking blocking;

    SessionHandler(SearchPort knowledge, Blocking blocking) {
        this.knowledge = knowledge;
        this.blocking = blocking;
    }

    void show(RoutingContext context) {
        SearchPort.SessionName name = name(context);
        blocking.run(() -> knowledge.session(name))
                .onSuccess(found -> found.ifPresentOrElse(
                        session -> Answers.json(context, 200, json(name.id(), session)),
                        () -> context.fail(Problem.field(404, "session_not_found", ID, "session not found"))))
                .onFailure(error -> failed(context, error));
    }

    /** Whether or not there was one. */
    void clear(RoutingContext context) {
        SearchPort.SessionName name = name(context);
        blocking.run(() -> {
                    knowledge.clearSession(name);
                    return name;
                })
                .onSuccess(cleared -> Answers.json(
                        context, 200, new JsonObject().put("status", "cleared").put(ID, cleared.id())))
                .onFailure(error -> failed(context, error));
    }

    /** A session belongs to who asks: another one's of the same name is another session. */
    private static SearchPort.SessionName name(RoutingContext context) {
        Envelope who = Documents.envelope(context);
        return new SearchPort.SessionName(who.getTenant(), who.getPrincipal(), Answers.pathParam(context, ID));
    }

    private static JsonObject json(String id, SearchPort.Session session) {
        JsonObject metadata = new JsonObject();
        new TreeMap<>(session.metadata()).forEach(metadata::put);
        return new JsonObject()
                .put(ID, id)
                .put("created_at", session.createdAt().toString())
                .put("last_accessed", session.lastAccessed().toString())
                .put("turn_count", session.turns())
                .put("total_queries", session.turns())
                .put("total_context_items_sent", session.passagesSent())
                .put("total_tokens_sent", session.tokensSent())
                .put("queries", new JsonArray(session.queries()))
                .put("metadata", metadata);
    }

    private static void failed(RoutingContext context, Throwable error) {
        if (error instanceof Problem) {
            context.fail(error);
            return;
        }
        LOG.warn("a session could not be looked up: {}", error.toString());
        context.fail(Problem.unavailable("redis_unavailable", "the sessions are not known now"));
    }
}
