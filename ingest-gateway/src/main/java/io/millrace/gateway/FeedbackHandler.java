package io.millrace.gateway;

import io.millrace.gateway.InteractionStore.Found;
import io.millrace.id.Ids;
import io.millrace.log.Topics;
import io.millrace.schema.Envelope;
import io.millrace.schema.Feedback;
import io.millrace.text.Redactor;
import io.millrace.text.Sanitizer;
import io.vertx.core.Future;
import io.vertx.core.json.JsonArray;
import io.vertx.core.json.JsonObject;
import io.vertx.ext.web.RoutingContext;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;

/** {@code POST /feedback/{id}} and {@code POST /feedback}. */
final class FeedbackHandler {
    private static final String ID = "interaction_id";

    /** Clocks of gateways may differ by this. */
    private static final Duration AHEAD = Duration.ofMinutes(1);

    private final Wire wire;
    private final InteractionStore store;
    private final Blocking blocking;
    private final LateInteractions late;
    private final Duration openAtMost;

    /** @param openAtMost after which an id of which nothing is known will not become known */
    FeedbackHandler(Wire wire, InteractionStore store, Blocking blocking, LateInteractions late, Duration openAtMost) {
        this.wire = wire;
        this.store = store;
        this.blocking = blocking;
        this.late = late;
        this.openAtMost = openAtMost;
    }

    void rate(RoutingContext context) {
        String id = requireId(ID, Answers.pathParam(context, ID));
        JsonObject body = Answers.body(context);
        write(
                context,
                id,
                Feedback.newBuilder()
                        .setRating(body.getInteger("rating"))
                        .setNote(text(body, "note"))
                        .setQuery(text(body, "query")));
    }

    /** Both forms of the predecessor: the outcome of an interaction, or a correction with or without one. */
    void give(RoutingContext context) {
        JsonObject body = Answers.body(context);
        boolean named = body.containsKey(ID);
        String id = named ? requireId(ID, body.getString(ID)) : "";
        boolean outcome = named && (body.containsKey("outcome") || body.containsKey("user_feedback"));
        boolean correction = body.containsKey("correction")
                || body.containsKey("rating")
                || body.containsKey("note")
                || !body.getJsonArray("tags", new JsonArray()).isEmpty();
        if (!outcome && !(correction && (named || body.containsKey("query")))) {
            throw Problem.field(
                    400,
                    "missing_feedback_fields",
                    named ? "outcome" : missing(body, correction),
                    "give interaction_id with outcome or user_feedback, or query (or interaction_id) with correction, rating, note or tags");
        }
        Integer rating = body.getInteger("rating");
        Integer vote = body.getInteger("user_feedback");
        if (rating != null && vote != null && !rating.equals(vote)) {
            throw Problem.invalid(
                    "user_feedback", "user_feedback is " + vote + " and rating " + rating + ": give one of them");
        }
        List<String> tags = new ArrayList<>(Queries.strings(body.getJsonArray("tags")));
        for (String label : List.of("model", "variant")) {
            if (body.containsKey(label)) {
                tags.add(label + ":" + body.getString(label));
            }
        }
        write(
                context,
                id,
                Feedback.newBuilder()
                        .setRating(rating == null ? vote : rating)
                        .setOutcome(body.getString("outcome", ""))
                        .setNote(text(body, "note"))
                        .setCorrection(text(body, "correction"))
                        .setQuery(text(body, "query"))
                        .setOriginalResponse(text(body, "original_response"))
                        .setTags(tags));
    }

    /** What was said of no interaction lacks what it is about. */
    private static String missing(JsonObject body, boolean correction) {
        if (correction) {
            return "query";
        }
        return body.containsKey("outcome") || body.containsKey("user_feedback") ? ID : "outcome";
    }

    /** Feedback is kept for as long as interactions, and as they are: without secrets. */
    private static String text(JsonObject body, String field) {
        return Redactor.redact(Sanitizer.sanitize(body.getString(field, "")));
    }

    private void write(RoutingContext context, String interactionId, Feedback.Builder feedback) {
        String feedbackId = Ids.next();
        Feedback value = feedback.setEnvelope(Envelope.newBuilder()
                        .setOccurredAt(System.currentTimeMillis())
                        .setTraceId(Headers.traceId(context.request()))
                        .setSynthetic(Headers.flag(context.request(), Headers.SYNTHETIC))
                        .build())
                .setFeedbackId(feedbackId)
                .setInteractionId(interactionId)
                .build();
        String key = interactionId.isEmpty() ? feedbackId : interactionId;
        requireKnown(interactionId)
                .compose(known -> Acks.await(context, wire.send(Topics.FEEDBACK, key, value, () -> true)))
                .onSuccess(nothing -> Answers.json(
                        context, 200, new JsonObject().put("status", "recorded").put("feedback_id", feedbackId)))
                .onFailure(context::fail);
    }

    /**
     * A slip in an id would be counted as somebody's opinion, and the one who has it would not hear of it. What is young may be on its way to
     * the projection; while that cannot be read all is taken.
     */
    private Future<Void> requireKnown(String id) {
        if (id.isEmpty()) {
            return Future.succeededFuture();
        }
        long age = System.currentTimeMillis() - Ids.millisOf(id);
        if (age < -AHEAD.toMillis()) {
            return Future.failedFuture(unknown());
        }
        return age < openAtMost.toMillis()
                ? Future.succeededFuture()
                : blocking.run(() -> store.find(id))
                        .recover(unreadable -> Future.succeededFuture(new Found.Open()))
                        .compose(found -> found instanceof Found.Unknown ? requireLate(id) : Future.succeededFuture());
    }

    private Future<Void> requireLate(String id) {
        return late.find(id, Instant.ofEpochMilli(Ids.millisOf(id)).plus(openAtMost))
                .compose(found ->
                        found instanceof Found.Unknown ? Future.failedFuture(unknown()) : Future.succeededFuture());
    }

    private static Problem unknown() {
        return Problem.field(404, "not_found", ID, "no interaction has this id");
    }

    private static String requireId(String field, String id) {
        if (!Ids.isEventId(id)) {
            throw Problem.invalid(field, field + " must be an interaction id, a UUIDv7 in lower case");
        }
        return id;
    }
}
