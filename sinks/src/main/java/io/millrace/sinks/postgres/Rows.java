package io.millrace.sinks.postgres;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.millrace.id.Ids;
import io.millrace.schema.Decision;
import io.millrace.schema.Document;
import io.millrace.schema.Feedback;
import io.millrace.schema.Interaction;
import io.millrace.schema.TelemetryEvent;
import java.nio.ByteBuffer;
import java.sql.Timestamp;
import java.time.Instant;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.apache.avro.Schema;
import org.apache.avro.generic.IndexedRecord;
import org.jspecify.annotations.Nullable;

/** How values become rows: one table each, columns in order, and the record itself as JSON. Pure. */
final class Rows {
    private static final ObjectMapper JSON = new ObjectMapper();

    private Rows() {}

    /** A column: its name, its SQL array type, and whether it is part of the key. */
    record Column(String name, String type, boolean key) {}

    /**
     * A table.
     *
     * @param partitionedBy timestamp column it is partitioned by month of, or empty
     */
    record Table(String name, String partitionedBy, List<Column> columns) {
        /** One plan whatever the batch size: every column is one array. */
        String upsert() {
            StringBuilder sql = new StringBuilder("INSERT INTO ").append(name).append(" (");
            sql.append(String.join(", ", columns.stream().map(Column::name).toList())).append(") SELECT * FROM unnest(");
            sql.append(String.join(", ", columns.stream().map(c -> "?::" + c.type + "[]").toList()));
            sql.append(") ON CONFLICT (");
            sql.append(String.join(", ", columns.stream().filter(Column::key).map(Column::name).toList()));
            sql.append(") DO UPDATE SET ");
            sql.append(String.join(
                    ", ", columns.stream().filter(c -> !c.key).map(c -> c.name + " = EXCLUDED." + c.name).toList()));
            return sql.toString();
        }
    }

    static final Table INTERACTIONS = new Table(
            "interactions",
            "accepted_at",
            List.of(
                    key("interaction_id", "uuid"),
                    key("accepted_at", "timestamptz"),
                    col("ended_at", "timestamptz"),
                    col("outcome", "text"),
                    col("api", "text"),
                    col("model", "text"),
                    col("route", "text"),
                    col("backend", "text"),
                    col("deployment", "text"),
                    col("reason", "text"),
                    col("failure_reason", "text"),
                    col("confidence", "float8"),
                    col("confidence_kind", "text"),
                    col("context_score", "float8"),
                    col("latency_ms", "float8"),
                    col("tokens_in", "int4"),
                    col("tokens_out", "int4"),
                    col("cost_usd", "float8"),
                    col("tenant", "text"),
                    col("principal", "text"),
                    col("synthetic", "bool"),
                    col("query_text", "text"),
                    col("answer_text", "text"),
                    col("record", "jsonb")));
    static final Table DECISIONS = new Table(
            "decisions",
            "accepted_at",
            List.of(
                    key("interaction_id", "uuid"),
                    key("attempt", "int4"),
                    key("accepted_at", "timestamptz"),
                    col("decided_at", "timestamptz"),
                    col("route", "text"),
                    col("backend", "text"),
                    col("deployment", "text"),
                    col("reason", "text"),
                    col("confidence", "float8"),
                    col("record", "jsonb")));
    static final Table FEEDBACK = new Table(
            "feedback",
            "",
            List.of(
                    key("feedback_id", "uuid"),
                    col("interaction_id", "text"),
                    col("created_at", "timestamptz"),
                    col("rating", "int4"),
                    col("outcome", "text"),
                    col("note", "text"),
                    col("correction", "text"),
                    col("record", "jsonb")));
    static final Table TELEMETRY = new Table(
            "telemetry",
            "created_at",
            List.of(
                    key("event_id", "text"),
                    key("created_at", "timestamptz"),
                    col("source", "text"),
                    col("event_type", "text"),
                    col("interaction_id", "text"),
                    col("record", "jsonb")));
    static final Table DOCUMENTS = new Table(
            "documents",
            "",
            List.of(
                    key("document_id", "text"),
                    col("source", "text"),
                    col("path", "text"),
                    col("title", "text"),
                    col("collection", "text"),
                    col("checksum", "text"),
                    col("trust", "text"),
                    col("quarantined", "bool"),
                    col("size", "int4"),
                    col("modified_at", "timestamptz"),
                    col("updated_at", "timestamptz"),
                    col("metadata", "jsonb")));

    static @Nullable Object[] row(Interaction value) {
        return new @Nullable Object[] {
            UUID.fromString(value.getInteractionId()),
            accepted(value.getInteractionId()),
            at(value.getEndedAt()),
            value.getOutcome(),
            value.getApi(),
            text(value.getModel()),
            value.getRoute(),
            value.getBackend(),
            value.getDeployment(),
            value.getReason(),
            value.getFailure() == null ? null : value.getFailure().getReason(),
            value.getConfidence(),
            value.getConfidenceKind(),
            value.getContextScore(),
            value.getLatencyMs(),
            value.getTokensIn(),
            value.getTokensOut(),
            value.getCostUsd(),
            text(value.getEnvelope().getTenant()),
            text(value.getEnvelope().getPrincipal()),
            value.getEnvelope().getSynthetic(),
            text(value.getQueryText()),
            value.getAnswer() == null ? null : text(value.getAnswer().getText()),
            json(value)
        };
    }

    static @Nullable Object[] row(Decision value) {
        return new @Nullable Object[] {
            UUID.fromString(value.getInteractionId()),
            value.getAttempt(),
            accepted(value.getInteractionId()),
            at(value.getEnvelope().getOccurredAt()),
            value.getRoute(),
            value.getBackend(),
            value.getDeployment(),
            value.getReason(),
            value.getConfidence(),
            json(value)
        };
    }

    static @Nullable Object[] row(Feedback value) {
        return new @Nullable Object[] {
            UUID.fromString(value.getFeedbackId()),
            text(value.getInteractionId()),
            at(value.getEnvelope().getOccurredAt()),
            value.getRating(),
            text(value.getOutcome()),
            text(value.getNote()),
            text(value.getCorrection()),
            json(value)
        };
    }

    static @Nullable Object[] row(TelemetryEvent value) {
        return new @Nullable Object[] {
            text(value.getEventId()),
            at(value.getEnvelope().getOccurredAt()),
            text(value.getSource()),
            text(value.getEventType()),
            text(value.getInteractionId()),
            json(value)
        };
    }

    static @Nullable Object[] row(Document value) {
        return new @Nullable Object[] {
            value.getDocumentId(),
            text(value.getSource()),
            text(value.getPath()),
            text(value.getTitle()),
            text(value.getCollection()),
            value.getChecksum(),
            text(value.getTrust()),
            value.getQuarantined(),
            value.getContent().length(),
            value.getModifiedAt() == 0 ? null : at(value.getModifiedAt()),
            at(value.getEnvelope().getOccurredAt()),
            text(JSON.valueToTree(value.getMetadata()).toString())
        };
    }

    /** A record as JSON with the names of its schema; bytes are left out: they are vectors, and the log has them. */
    static String json(IndexedRecord record) {
        return text(object(record).toString());
    }

    private static ObjectNode object(IndexedRecord record) {
        ObjectNode node = JSON.createObjectNode();
        for (Schema.Field field : record.getSchema().getFields()) {
            Object value = record.get(field.pos());
            if (!(value instanceof ByteBuffer)) {
                node.set(field.name(), node(value));
            }
        }
        return node;
    }

    private static com.fasterxml.jackson.databind.JsonNode node(@Nullable Object value) {
        return switch (value) {
            case null -> JSON.nullNode();
            case IndexedRecord record -> object(record);
            case Collection<?> list -> {
                ArrayNode array = JSON.createArrayNode();
                list.forEach(each -> array.add(node(each)));
                yield array;
            }
            case Map<?, ?> map -> {
                Map<String, Object> sorted = new LinkedHashMap<>();
                map.forEach((k, v) -> sorted.put(String.valueOf(k), v));
                yield JSON.valueToTree(sorted);
            }
            default -> JSON.valueToTree(value);
        };
    }

    /** Month partitions are chosen by the id, which holds the time of acceptance and never changes. */
    static Timestamp accepted(String interactionId) {
        return at(Ids.millisOf(interactionId));
    }

    private static Timestamp at(long millis) {
        return Timestamp.from(Instant.ofEpochMilli(millis));
    }

    /** PostgreSQL's text holds no NUL, escaped in JSON or not. */
    private static String text(String text) {
        String plain = text.indexOf('\0') < 0 ? text : text.replace("\0", "");
        return plain.contains("\\u0000") ? plain.replace("\\u0000", "") : plain;
    }

    private static Column key(String name, String type) {
        return new Column(name, type, true);
    }

    private static Column col(String name, String type) {
        return new Column(name, type, false);
    }
}
