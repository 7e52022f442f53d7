package io.millrace.sinks.postgres;

import io.millrace.log.Topics;
import io.millrace.schema.Decision;
import io.millrace.schema.Document;
import io.millrace.schema.Feedback;
import io.millrace.schema.Interaction;
import io.millrace.schema.TelemetryEvent;
import java.nio.charset.StandardCharsets;
import java.util.List;

/** The projections of this sink; their tables are in {@code db/migration}. */
final class Projections {
    static final Projection<Interaction> INTERACTIONS = Projection.of(Topics.INTERACTIONS, "interactions")
            .eventId("interaction_id", Interaction::getInteractionId)
            .month("accepted_at", Interaction::getInteractionId)
            .timeIfKnown("ended_at", Interaction::getEndedAt)
            .text("outcome", Interaction::getOutcome)
            .text("route", Interaction::getRoute)
            .text("backend", Interaction::getBackend)
            .text("deployment", Interaction::getDeployment)
            .text("reason", Interaction::getReason)
            .number("confidence", Interaction::getConfidence)
            .text("confidence_kind", Interaction::getConfidenceKind)
            .number("context_score", Interaction::getContextScore)
            .number("latency_ms", Interaction::getLatencyMs)
            .integer("tokens_in", Interaction::getTokensIn)
            .integer("tokens_out", Interaction::getTokensOut)
            .number("cost_usd", Interaction::getCostUsd)
            .text("tenant", i -> i.getEnvelope().getTenant())
            .text("principal", i -> i.getEnvelope().getPrincipal())
            .truth("synthetic", i -> i.getEnvelope().getSynthetic())
            .text("api", Interaction::getApi)
            .text("model", Interaction::getModel)
            .text("query_text", Interaction::getQueryText)
            .text("answer_text", i -> i.getAnswer() == null ? "" : i.getAnswer().getText())
            .text(
                    "failure_reason",
                    i -> i.getFailure() == null ? null : i.getFailure().getReason())
            .record()
            .build();

    static final Projection<Decision> DECISIONS = Projection.of(Topics.DECISIONS, "decisions")
            .eventId("interaction_id", Decision::getInteractionId)
            .key("attempt", Projection.Type.INT, Decision::getAttempt)
            .month("accepted_at", Decision::getInteractionId)
            .time("decided_at", d -> d.getEnvelope().getOccurredAt())
            .text("route", Decision::getRoute)
            .text("backend", Decision::getBackend)
            .text("deployment", Decision::getDeployment)
            .text("reason", Decision::getReason)
            .number("confidence", Decision::getConfidence)
            .truth("synthetic", d -> d.getEnvelope().getSynthetic())
            .record()
            .build();

    static final Projection<Feedback> FEEDBACK = Projection.of(Topics.FEEDBACK, "feedback")
            .eventId("feedback_id", Feedback::getFeedbackId)
            .reference("interaction_id", Feedback::getInteractionId)
            .integer("rating", Feedback::getRating)
            .text("outcome", Feedback::getOutcome)
            .text("note", Feedback::getNote)
            .text("correction", Feedback::getCorrection)
            .time("created_at", f -> f.getEnvelope().getOccurredAt())
            .record()
            .build();

    static final Projection<TelemetryEvent> TELEMETRY = Projection.of(Topics.TELEMETRY, "telemetry")
            .eventId("event_id", TelemetryEvent::getEventId)
            .month("created_at", TelemetryEvent::getEventId)
            .text("source", TelemetryEvent::getSource)
            .text("event_type", TelemetryEvent::getEventType)
            .reference("interaction_id", TelemetryEvent::getInteractionId)
            .map("attributes", TelemetryEvent::getAttributes)
            .build();

    static final Projection<Document> DOCUMENTS = Projection.of(Topics.DOCUMENTS, "documents")
            .key("document_id", Projection.Type.TEXT, Document::getDocumentId)
            .text("source", Document::getSource)
            .text("path", Document::getPath)
            .text("title", Document::getTitle)
            .text("collection", Document::getCollection)
            .text("checksum", Document::getChecksum)
            .text("trust", Document::getTrust)
            .truth("quarantined", Document::getQuarantined)
            .integer("size", d -> d.getContent().getBytes(StandardCharsets.UTF_8).length)
            .timeIfKnown("modified_at", Document::getModifiedAt)
            .time("updated_at", d -> d.getEnvelope().getOccurredAt())
            .map("metadata", Document::getMetadata)
            .list("tags", Document::getTags)
            .buildDeletable();

    static final List<Projection<?>> ALL = List.of(INTERACTIONS, DECISIONS, FEEDBACK, TELEMETRY, DOCUMENTS);

    private Projections() {}
}
