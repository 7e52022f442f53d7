package io.millrace.gateway;

import io.millrace.id.Ids;
import io.millrace.schema.Envelope;
import io.millrace.schema.Query;
import io.vertx.core.json.DecodeException;
import io.vertx.core.json.JsonArray;
import io.vertx.core.json.JsonObject;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import org.apache.avro.Schema.Field;
import org.apache.avro.specific.SpecificData;
import org.jspecify.annotations.Nullable;

/** How idempotency keys are kept in Redis: with the interaction that a key stands for, and what was asked. */
public final class IdempotencyKeys {
    /** How long a key means its first interaction. */
    public static final Duration KEPT = Duration.ofDays(1);

    private static final String PREFIX = "millrace:idempotency:";

    private static final int MOST_ORDERED_CHARS = 65_536;

    /** Of this interaction, gateway or moment and not of what was asked, or taken into account otherwise. */
    private static final Set<String> OWN =
            Set.of("envelope", "interaction_id", "gateway_id", "reply_partition", "deadline_at", "body");

    /**
     * What a key stands for.
     *
     * @param id of the interaction
     * @param request hash of what was asked; empty where it is not known, as with keys of earlier versions
     */
    record Holder(String id, String request) {
        static Holder of(Query query) {
            return new Holder(query.getInteractionId(), hash(query));
        }

        static Holder parse(String value) {
            int space = value.indexOf(' ');
            return space < 0
                    ? new Holder(value, "")
                    : new Holder(value.substring(0, space), value.substring(space + 1));
        }

        boolean isOf(Holder other) {
            return request.isEmpty() || other.request.isEmpty() || request.equals(other.request);
        }

        @Override
        public String toString() {
            return request.isEmpty() ? id : id + " " + request;
        }
    }

    private IdempotencyKeys() {}

    /** Redis key of a query that came with an idempotency key. */
    public static Optional<String> redisKey(Query query) {
        return query.getIdempotencyKey().isEmpty() ? Optional.empty() : Optional.of(redisKey(of(query)));
    }

    /** What Redis keeps under {@link #redisKey(Query)}: the interaction id, a space, and a hash of what was asked. */
    public static String value(Query query) {
        return Holder.of(query).toString();
    }

    /** Whose key it is, and which. */
    static String of(Query query) {
        return Ids.content(
                query.getEnvelope().getTenant(), query.getEnvelope().getPrincipal(), query.getIdempotencyKey());
    }

    static String redisKey(String key) {
        return PREFIX + key;
    }

    /**
     * Hash of all that was asked, since an answer may depend on any of it and a list of fields would miss the next one. The same at any
     * gateway; and by any version, since a field that is as it is by default does not count.
     */
    private static String hash(Query query) {
        Envelope envelope = query.getEnvelope();
        List<String> parts = new ArrayList<>(List.of(
                String.valueOf(envelope.getSynthetic()),
                String.valueOf(query.getDeadlineAt() - envelope.getOccurredAt()),
                ordered(query.getBody())));
        for (Field field : query.getSchema().getFields()) {
            String value = text(query.get(field.pos()));
            if (!OWN.contains(field.name())
                    && !value.equals(text(SpecificData.get().getDefaultValue(field)))) {
                parts.add(field.name());
                parts.add(value);
            }
        }
        return Ids.content(parts.toArray(String[]::new));
    }

    private static String text(@Nullable Object value) {
        return SpecificData.get().toString(value instanceof Map<?, ?> map ? new TreeMap<>(map) : value);
    }

    /**
     * The order of fields does not count: a client that builds its request again may have another. It does in a body so long that reading
     * it would hold up the event loop; who repeats that sends the same bytes.
     */
    private static String ordered(String json) {
        if (json.length() > MOST_ORDERED_CHARS) {
            return json;
        }
        try {
            return ordered(new JsonObject(json)).toString();
        } catch (DecodeException e) {
            // a number of a thousand digits in a field that nobody read so far
            return json;
        }
    }

    private static Object ordered(Object value) {
        return switch (value) {
            case JsonObject object -> {
                Map<String, @Nullable Object> fields = new TreeMap<>();
                object.forEach(field -> fields.put(field.getKey(), orderedOrNull(field.getValue())));
                yield new JsonObject(fields);
            }
            case JsonArray array -> {
                List<@Nullable Object> values = new ArrayList<>();
                array.forEach(each -> values.add(orderedOrNull(each)));
                yield new JsonArray(values);
            }
            default -> value;
        };
    }

    private static @Nullable Object orderedOrNull(@Nullable Object value) {
        return value == null ? null : ordered(value);
    }
}
