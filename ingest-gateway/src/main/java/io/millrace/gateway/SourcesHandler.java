package io.millrace.gateway;

import io.millrace.id.Ids;
import io.millrace.log.Topics;
import io.millrace.schema.Command;
import io.millrace.schema.Envelope;
import io.millrace.schema.SourceReport;
import io.millrace.schema.SourceStatus;
import io.vertx.core.json.JsonArray;
import io.vertx.core.json.JsonObject;
import io.vertx.ext.web.RoutingContext;
import java.time.Instant;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/** {@code GET /sources} and {@code POST /sources/{id}/sync}. */
final class SourcesHandler {
    private static final String ID = "source_id";
    /** Kind of the status that tells what is wrong with the declaration. */
    static final String FILE = "file";

    private final Wire wire;
    private final SearchPort knowledge;

    SourcesHandler(Wire wire, SearchPort knowledge) {
        this.wire = wire;
        this.knowledge = knowledge;
    }

    /** Of no source it can be said that it is not there before the log was read. */
    static List<SourceStatus> all(SearchPort knowledge) {
        return knowledge
                .sources()
                .orElseThrow(
                        () -> Problem.unavailable("starting", "the knowledge sources are not read from the log yet"));
    }

    /** Whether a path is one that takes no body. */
    static boolean isSync(@Nullable String path) {
        return path != null && path.startsWith("/sources/") && path.endsWith("/sync");
    }

    void list(RoutingContext context) {
        List<SourceStatus> all = all(knowledge);
        JsonArray sources = new JsonArray();
        all.stream()
                .filter(status -> !status.getKind().equals(FILE))
                .sorted(Comparator.comparing(SourceStatus::getSourceId))
                .forEach(status -> sources.add(json(status)));
        JsonArray errors = new JsonArray();
        all.stream()
                .filter(status -> status.getKind().equals(FILE))
                .flatMap(status -> status.getError().lines())
                .forEach(errors::add);
        Answers.json(context, 200, new JsonObject().put("sources", sources).put("errors", errors));
    }

    void sync(RoutingContext context) {
        String id = Answers.pathParam(context, ID);
        SourceStatus known = all(knowledge).stream()
                .filter(status ->
                        status.getSourceId().equals(id) && !status.getKind().equals(FILE))
                .findFirst()
                .orElseThrow(() -> Problem.field(404, "source_not_found", ID, "there is no source " + id));
        if (known.getState().equals("disabled") || known.getState().equals("removing")) {
            throw Problem.field(409, "source_" + known.getState(), ID, "the source " + id + " is " + known.getState());
        }
        long now = System.currentTimeMillis();
        Command command = Command.newBuilder()
                .setEnvelope(Envelope.newBuilder()
                        .setOccurredAt(now)
                        .setTraceId(Headers.traceId(context.request()))
                        .build())
                .setCommandId(Ids.next())
                .setKind("sync")
                .setTarget("source:" + id)
                .build();
        Acks.await(context, wire.send(Topics.COMMANDS, command.getTarget(), command, () -> true))
                .onSuccess(nothing -> Answers.json(
                        context,
                        202,
                        new JsonObject()
                                .put("status", "accepted")
                                .put("source", id)
                                .put("asked_at", time(now))))
                .onFailure(context::fail);
    }

    private static JsonObject json(SourceStatus status) {
        return new JsonObject()
                .put("id", status.getSourceId())
                .put("type", status.getKind())
                .put("location", status.getLocation())
                .put("collection", status.getCollection())
                .put("trust", status.getTrust())
                .put("local_only", status.getLocalOnly())
                .put("state", status.getState())
                .put("error", status.getError().isEmpty() ? null : status.getError())
                .put(
                        "documents",
                        new JsonObject()
                                .put("total", status.getDocuments())
                                .put("searchable", status.getSearchable())
                                .put("quarantined", status.getQuarantined()))
                .put("lag", status.getLag())
                .put("failures", reasons(status.getFailures()))
                .put("scan", scan(status.getScan()))
                .put("updated_at", time(status.getEnvelope().getOccurredAt()));
    }

    private static @Nullable JsonObject scan(@Nullable SourceReport scan) {
        return scan == null
                ? null
                : new JsonObject()
                        .put("state", scan.getState())
                        .put("found", scan.getFound())
                        .put("sent", scan.getSent())
                        .put("deleted", scan.getDeleted())
                        .put("skipped", scan.getSkipped())
                        .put("skips", reasons(scan.getSkips()))
                        .put("started_at", time(scan.getStartedAt()))
                        .put("ended_at", time(scan.getEndedAt()))
                        .put("next_at", time(scan.getNextAt()));
    }

    /** By path, in order. */
    private static JsonObject reasons(Map<String, String> reasons) {
        JsonObject json = new JsonObject();
        new TreeMap<>(reasons).forEach(json::put);
        return json;
    }

    private static @Nullable String time(long millis) {
        return millis == 0 ? null : Instant.ofEpochMilli(millis).toString();
    }
}
