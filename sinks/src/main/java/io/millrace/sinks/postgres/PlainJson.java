package io.millrace.sinks.postgres;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.io.SegmentedStringWriter;
import com.fasterxml.jackson.core.util.BufferRecycler;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.avro.Schema;
import org.apache.avro.generic.IndexedRecord;
import org.jspecify.annotations.Nullable;

/**
 * Avro values as plain JSON: the field names of the schema, unions without their branch names (which Avro's own JSON encoding adds
 * and nobody wants to write in SQL), no bytes fields, no NUL characters (PostgreSQL's text cannot hold them).
 */
final class PlainJson {
    private static final JsonFactory FACTORY = new JsonFactory();
    private static final Map<Schema, List<Schema.Field>> FIELDS = new ConcurrentHashMap<>();

    private PlainJson() {}

    /** A record as a JSON object. */
    static String of(IndexedRecord value) {
        return write(value);
    }

    /** A map of strings as a JSON object. */
    static String of(Map<String, String> value) {
        return write(value);
    }

    /** A list of strings as a JSON array. */
    static String of(List<String> value) {
        return write(value);
    }

    /** The text without NUL characters; mostly the same instance. */
    static String withoutNul(String text) {
        return text.indexOf('\0') < 0 ? text : text.replace("\0", "");
    }

    private static String write(Object value) {
        try (SegmentedStringWriter out = new SegmentedStringWriter(new BufferRecycler());
                JsonGenerator json = FACTORY.createGenerator(out)) {
            write(json, value);
            json.flush();
            return out.getAndClear();
        } catch (IOException e) {
            throw new IllegalStateException("a string cannot fail to be written", e);
        }
    }

    private static void write(JsonGenerator json, @Nullable Object value) throws IOException {
        switch (value) {
            case null -> json.writeNull();
            case String text -> json.writeString(withoutNul(text));
            case Integer number -> json.writeNumber(number);
            case Long number -> json.writeNumber(number);
            // NaN and the infinities are quoted: JSON has no numbers for them
            case Double number -> json.writeNumber(number);
            case Float number -> json.writeNumber(number);
            case Boolean truth -> json.writeBoolean(truth);
            case IndexedRecord inner -> {
                json.writeStartObject();
                for (Schema.Field field : FIELDS.computeIfAbsent(inner.getSchema(), PlainJson::plainFields)) {
                    json.writeFieldName(field.name());
                    write(json, inner.get(field.pos()));
                }
                json.writeEndObject();
            }
            case Collection<?> items -> {
                json.writeStartArray();
                for (Object item : items) {
                    write(json, item);
                }
                json.writeEndArray();
            }
            case Map<?, ?> entries -> {
                json.writeStartObject();
                for (Map.Entry<?, ?> entry : entries.entrySet()) {
                    json.writeFieldName(withoutNul(String.valueOf(entry.getKey())));
                    write(json, entry.getValue());
                }
                json.writeEndObject();
            }
            default -> json.writeString(withoutNul(value.toString()));
        }
    }

    private static List<Schema.Field> plainFields(Schema schema) {
        List<Schema.Field> fields = new ArrayList<>(schema.getFields());
        fields.removeIf(field -> holdsBytes(field.schema()));
        return List.copyOf(fields);
    }

    private static boolean holdsBytes(Schema schema) {
        return schema.isUnion()
                ? schema.getTypes().stream().anyMatch(PlainJson::holdsBytes)
                : schema.getType() == Schema.Type.BYTES;
    }
}
