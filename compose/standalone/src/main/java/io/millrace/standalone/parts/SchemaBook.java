package io.millrace.standalone.parts;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.millrace.config.MillraceConfig;
import io.millrace.log.SchemaRegistry;
import io.millrace.log.Topic;
import io.millrace.log.Topics;
import io.millrace.log.UndecodableException;
import io.millrace.standalone.error.UserException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collection;
import java.util.Map;
import java.util.NavigableMap;
import java.util.TreeMap;
import org.apache.avro.Schema;

/**
 * Which schema has which id, beside the log. Records name their schema by the id alone, and our registry keeps its ids in PostgreSQL: a
 * database that was lost is filled again from the log, but only by who can read it.
 */
public final class SchemaBook {
    private static final String FILE = "schemas.json";
    private static final ObjectMapper JSON = new ObjectMapper();

    private SchemaBook() {}

    /**
     * Gives a registry that has lost its schemas the same ones under the same ids. One request when it has not.
     *
     * @throws UserException when the registry gives out other ids than the log was written with
     */
    static void restore(DataFolder data, SchemaRegistry registry) {
        NavigableMap<Integer, JsonNode> known = read(data);
        if (known.isEmpty() || knows(registry, known.lastEntry())) {
            return;
        }
        known.forEach((id, entry) -> {
            int given = registry.register(entry.path("subject").asText(), schema(entry));
            if (given != id) {
                throw new UserException(
                        "the schema registry gives " + entry.path("subject").asText() + " the id "
                                + given + ", and the log was written with " + id + " ("
                                + data.root().resolve(FILE) + "): put the folder "
                                + data.root().resolve("postgres") + " back, where the registry keeps its ids");
            }
        });
    }

    private static boolean knows(SchemaRegistry registry, Map.Entry<Integer, JsonNode> entry) {
        try {
            return registry.byId(entry.getKey()).equals(schema(entry.getValue()));
        } catch (UndecodableException e) {
            return false;
        }
    }

    /** Notes the ids of all topics' schemas, where both the log and the registry are ours. */
    public static void note(DataFolder data, SchemaRegistry registry, MillraceConfig config) {
        if (config.kafka().bootstrapServers().isEmpty()
                && config.registry().url().isEmpty()) {
            note(data, registry, config.kafka().prefix(), Topics.all(config.dispatchable()));
        }
    }

    /** Notes the ids of these topics' schemas, beside those that are noted. */
    static void note(DataFolder data, SchemaRegistry registry, String prefix, Collection<Topic<?>> topics) {
        NavigableMap<Integer, JsonNode> known = read(data);
        int before = known.size();
        for (Topic<?> topic : topics) {
            String subject = topic.subject(prefix);
            known.putIfAbsent(
                    registry.register(subject, topic.schema()),
                    JSON.createObjectNode()
                            .put("subject", subject)
                            .put("schema", topic.schema().toString()));
        }
        if (known.size() > before) {
            ObjectNode book = JSON.createObjectNode();
            known.forEach((id, entry) -> book.set(String.valueOf(id), entry));
            data.write(FILE, book.toPrettyString() + "\n");
        }
    }

    private static Schema schema(JsonNode entry) {
        return new Schema.Parser().parse(entry.path("schema").asText());
    }

    private static NavigableMap<Integer, JsonNode> read(DataFolder data) {
        Path file = data.root().resolve(FILE);
        NavigableMap<Integer, JsonNode> known = new TreeMap<>();
        try {
            if (Files.exists(file)) {
                JSON.readTree(file.toFile())
                        .properties()
                        .forEach(each -> known.put(Integer.valueOf(each.getKey()), each.getValue()));
            }
        } catch (JsonProcessingException | NumberFormatException e) {
            // damaged: it is written again from the registry, which is whole as long as only this file is not
            known.clear();
        } catch (IOException e) {
            throw new UserException("the file " + file + " cannot be read: " + DataFolder.reason(e), e);
        }
        return known;
    }
}
