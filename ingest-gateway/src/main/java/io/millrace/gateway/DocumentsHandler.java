package io.millrace.gateway;

import io.millrace.schema.RawDocument;
import io.vertx.core.Future;
import io.vertx.core.json.JsonArray;
import io.vertx.core.json.JsonObject;
import io.vertx.ext.web.RoutingContext;
import io.vertx.openapi.validation.RequestParameter;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** {@code POST /documents/batch}, {@code GET /documents} and {@code DELETE /documents}. */
final class DocumentsHandler {
    private static final Logger LOG = LoggerFactory.getLogger(DocumentsHandler.class);
    /** Documents in a batch, as the contract has it. */
    static final int MOST = 1_000;

    private static final int DEFAULT_LIMIT = 100;
    private static final String ID = "id";
    private static final String PROJECT = "project";
    private static final String PATH = "relative_path";

    private final SearchPort knowledge;
    private final Blocking blocking;
    private final Documents documents;

    DocumentsHandler(SearchPort knowledge, Blocking blocking, Documents documents) {
        this.knowledge = knowledge;
        this.blocking = blocking;
        this.documents = documents;
    }

    /** All or, when one of them is wrong, none. */
    void addAll(RoutingContext context) {
        documents.admit(context, () -> addAdmitted(context));
    }

    private void addAdmitted(RoutingContext context) {
        JsonArray bodies = Answers.body(context).getJsonArray("documents");
        List<RawDocument> batch = new ArrayList<>();
        Set<String> ids = new LinkedHashSet<>();
        for (int i = 0; i < bodies.size(); i++) {
            RawDocument document = documents.raw(context, bodies.getJsonObject(i), "documents[" + i + "].");
            if (!ids.add(Documents.id(document))) {
                throw Problem.invalid(
                        "documents[" + i + "].relative_path",
                        "documents[" + i
                                + "] has the project and path of another before it, of which it would be a newer"
                                + " version; without a path, the same content");
            }
            batch.add(document);
        }
        documents
                .send(context, batch)
                .onSuccess(nothing -> answer(context, List.copyOf(ids), "on their way into the index"))
                .onFailure(context::fail);
    }

    void delete(RoutingContext context) {
        documents.admit(context, () -> deleteAdmitted(context));
    }

    private void deleteAdmitted(RoutingContext context) {
        String id = text(context, ID, "");
        String path = text(context, PATH, "");
        if (id.isEmpty()) {
            if (path.isEmpty()) {
                throw Problem.invalid(PATH, "relative_path is required where no id is given");
            }
            deletePlace(context, text(context, PROJECT, Documents.DEFAULT_PROJECT), path);
        } else if (!path.isEmpty() || !context.queryParam(PROJECT).isEmpty()) {
            throw Problem.invalid(ID, "id says which document it is: give it without project and relative_path");
        } else {
            deleteId(context, id);
        }
    }

    private void deletePlace(RoutingContext context, String project, String path) {
        documents.requireUndeclared(project, PROJECT);
        RawDocument gone = gone(context, project, path).build();
        delete(context, gone, Documents.id(gone));
    }

    /** For who knows its path only as it is shown, with a secret in it redacted. */
    private void deleteId(RoutingContext context, String id) {
        blocking.run(() -> knowledge.place(id))
                .recover(error -> Future.failedFuture(unreadable(error)))
                .onSuccess(found -> Documents.attempt(context, () -> {
                    SearchPort.Place place =
                            found.orElseThrow(() -> Problem.field(404, "not_found", ID, "no document has this id"));
                    documents.requireUndeclared(place.source(), ID);
                    delete(
                            context,
                            gone(context, place.source(), place.path())
                                    .setDocumentId(id)
                                    .build(),
                            id);
                }))
                .onFailure(context::fail);
    }

    private static RawDocument.Builder gone(RoutingContext context, String source, String path) {
        return RawDocument.newBuilder()
                .setEnvelope(Documents.envelope(context))
                .setSource(source)
                .setPath(path)
                .setDeleted(true);
    }

    private void delete(RoutingContext context, RawDocument gone, String id) {
        documents
                .send(context, List.of(gone))
                .onSuccess(nothing -> answer(context, List.of(id), "to be deleted"))
                .onFailure(context::fail);
    }

    /** At once, or when searches see what was written. */
    private void answer(RoutingContext context, List<String> ids, String otherwise) {
        if (Documents.isWaiting(context)) {
            documents.whenVisible(context, visible -> changed(context, ids, visible, otherwise));
        } else {
            changed(context, ids, false, otherwise);
        }
    }

    private static void changed(RoutingContext context, List<String> ids, boolean done, String otherwise) {
        Answers.json(
                context,
                done ? 200 : 202,
                new JsonObject()
                        .put("status", done ? "ok" : "accepted")
                        .put("document_ids", new JsonArray(ids))
                        .put("message", ids.size() + (done ? " done" : " " + otherwise)));
    }

    void list(RoutingContext context) {
        SearchPort.Asking asking = new SearchPort.Asking(
                text(context, PROJECT, ""),
                text(context, "source_trust_level", ""),
                Answers.queryParam(context, "limit")
                        .map(RequestParameter::getInteger)
                        .orElse(DEFAULT_LIMIT),
                Answers.queryParam(context, "offset")
                        .map(RequestParameter::getInteger)
                        .orElse(0));
        blocking.run(() -> knowledge.documents(asking))
                .onSuccess(listed -> {
                    JsonArray all = new JsonArray();
                    listed.documents()
                            .forEach(document -> all.add(new JsonObject()
                                    .put("id", document.documentId())
                                    .put("project", document.source())
                                    .put("relative_path", document.path())
                                    .put("title", document.title())
                                    .put("collection", document.collection())
                                    .put("source_trust_level", document.trust())
                                    .put("status", document.quarantined() ? "quarantined" : "approved")
                                    .put("size_bytes", document.size())
                                    .put("imported_at", document.updatedAt())
                                    .put(
                                            "last_accessed_at",
                                            document.lastAccessedAt().orElse(null))
                                    .put("uses", document.uses())));
                    Answers.json(
                            context, 200, new JsonObject().put("documents", all).put("total", listed.total()));
                })
                .onFailure(error -> context.fail(unreadable(error)));
    }

    private static Throwable unreadable(Throwable error) {
        LOG.warn("documents could not be looked up: {}", error.toString());
        return error instanceof Problem
                ? error
                : Problem.unavailable("postgres_unavailable", "the documents cannot be looked up now");
    }

    private static String text(RoutingContext context, String name, String absent) {
        return Answers.queryParam(context, name)
                .map(RequestParameter::getString)
                .orElse(absent);
    }
}
