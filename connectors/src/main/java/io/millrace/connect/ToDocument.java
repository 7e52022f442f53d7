package io.millrace.connect;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.common.config.AbstractConfig;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.common.config.ConfigDef.Importance;
import org.apache.kafka.connect.connector.ConnectRecord;
import org.apache.kafka.connect.data.Field;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.errors.DataException;
import org.apache.kafka.connect.transforms.Transformation;
import org.jspecify.annotations.Nullable;

/**
 * Makes documents of the records of any source connector, as {@link KnowledgeTask} writes them, and puts them on the topic of the
 * source.
 *
 * <p>A field path names a value: {@code value}, {@code key}, or a field below one of them such as {@code value.page.title};
 * {@code offset} and {@code partition} are the connector's own, for records that have no name. A record without a value deletes the
 * document that its key names.
 */
public final class ToDocument<R extends ConnectRecord<R>> implements Transformation<R> {
    private static final String FIELD = "field.";
    private static final ConfigDef DEFINED = new ConfigDef()
            .define(SourceSettings.SOURCE, ConfigDef.Type.STRING, Importance.HIGH, "Id of the source.")
            .define(SourceSettings.TOPIC, ConfigDef.Type.STRING, Importance.HIGH, "Topic of its documents.")
            .define(SourceSettings.COLLECTION, ConfigDef.Type.STRING, Importance.HIGH, "Collection of its documents.")
            .define(SourceSettings.TAGS, ConfigDef.Type.STRING, "", Importance.LOW, "Tags of its documents.")
            .define(
                    SourceSettings.METADATA,
                    ConfigDef.Type.STRING,
                    "",
                    Importance.LOW,
                    "Of its documents: lines of key=value.")
            .define(
                    SourceSettings.TRUST,
                    ConfigDef.Type.STRING,
                    "imported",
                    Importance.MEDIUM,
                    "trusted, imported or generated.")
            .define(
                    SourceSettings.LOCAL_ONLY,
                    ConfigDef.Type.BOOLEAN,
                    false,
                    Importance.MEDIUM,
                    "May not leave the machine.")
            .define(
                    SourceSettings.DEFINITION,
                    ConfigDef.Type.STRING,
                    "",
                    Importance.LOW,
                    "Of the source; goes with each document.")
            .define(FIELD + "path", ConfigDef.Type.STRING, "key", Importance.HIGH, "What names the document.")
            .define(FIELD + "content", ConfigDef.Type.STRING, "value", Importance.HIGH, "Its text.")
            .define(FIELD + "title", ConfigDef.Type.STRING, "", Importance.LOW, "Its title.")
            .define(FIELD + "content_type", ConfigDef.Type.STRING, "", Importance.LOW, "Its media type.")
            .define(FIELD + "source_url", ConfigDef.Type.STRING, "", Importance.LOW, "Where a person finds it.")
            .define(
                    FIELD + "modified_at",
                    ConfigDef.Type.STRING,
                    "",
                    Importance.LOW,
                    "When it changed, epoch milliseconds.");

    /** Fields that searches filter by; what a record has in them goes before what the source says of all. */
    private static final List<String> METADATA =
            List.of("language", "version", "framework", "category", "success_rate");

    static {
        METADATA.forEach(
                name -> DEFINED.define(FIELD + name, ConfigDef.Type.STRING, "", Importance.LOW, "Its " + name + "."));
    }

    private AbstractConfig config = new AbstractConfig(new ConfigDef(), Map.of());

    @Override
    public void configure(Map<String, ?> values) {
        config = new AbstractConfig(DEFINED, values, false);
    }

    @Override
    public R apply(R record) {
        String path = text(at(record, "path"));
        Map<String, Object> document = new LinkedHashMap<>();
        if (path.isEmpty()) {
            throw new DataException("field.path (" + config.getString(FIELD + "path") + ") is empty in the record");
        }
        document.put("path", path);
        document.put(SourceSettings.DEFINITION, config.getString(SourceSettings.DEFINITION));
        if (record.value() == null) {
            document.put("type", "deleted");
        } else {
            document.put("type", "document");
            document.put("collection", config.getString(SourceSettings.COLLECTION));
            document.put("trust", config.getString(SourceSettings.TRUST));
            document.put("local_only", config.getBoolean(SourceSettings.LOCAL_ONLY));
            document.put("tags", config.getString(SourceSettings.TAGS).lines().toList());
            content(document, at(record, "content"));
            Map<String, String> metadata = SourceSettings.pairs(config.getString(SourceSettings.METADATA));
            for (String name : METADATA) {
                Object value = at(record, name);
                if (value != null) {
                    metadata.put(name, text(value));
                }
            }
            if (!metadata.isEmpty()) {
                document.put("metadata", metadata);
            }
            for (String optional : List.of("title", "content_type", "source_url")) {
                Object value = at(record, optional);
                if (value != null) {
                    document.put(optional, text(value));
                }
            }
            if (at(record, "modified_at") instanceof Number millis) {
                document.put("modified_at", millis.longValue());
            }
        }
        return record.newRecord(
                config.getString(SourceSettings.TOPIC), null, null, path, null, document, record.timestamp());
    }

    private void content(Map<String, Object> document, @Nullable Object value) {
        if (value == null) {
            throw new DataException("field.content (" + config.getString(FIELD + "content") + ") is not in the record");
        }
        if (value instanceof byte[] bytes) {
            Contents.packed("application/octet-stream", bytes, document);
        } else {
            document.put("content", text(value));
        }
    }

    private @Nullable Object at(R record, String field) {
        String path = config.getString(FIELD + field);
        if (path.isEmpty()) {
            return null;
        }
        List<String> names = new ArrayList<>(List.of(path.split("\\.")));
        Object value = switch (names.removeFirst()) {
            case "key" -> record.key();
            case "value" -> record.value();
            case "partition" -> sourceOf(record, false);
            case "offset" -> sourceOf(record, true);
            default ->
                throw new DataException(
                        "field." + field + " (" + path + ") must begin with key, value, partition or offset");
        };
        for (String name : names) {
            value = switch (value) {
                case Struct struct -> {
                    Field known = struct.schema().field(name);
                    yield known == null ? null : struct.get(known);
                }
                case Map<?, ?> map -> map.get(name);
                case null, default -> null;
            };
        }
        return value;
    }

    private static @Nullable Object sourceOf(Object record, boolean offset) {
        if (record instanceof org.apache.kafka.connect.source.SourceRecord source) {
            return offset ? source.sourceOffset() : source.sourcePartition();
        }
        return null;
    }

    private static String text(@Nullable Object value) {
        return switch (value) {
            case null -> "";
            // maps without an order of their own would name the same thing differently
            case Map<?, ?> map -> new TreeMap<Object, Object>(map).toString();
            default -> value.toString();
        };
    }

    @Override
    public ConfigDef config() {
        return DEFINED;
    }

    @Override
    public void close() {}
}
