package io.millrace.learners.knowledge;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.millrace.log.LogRecord;
import io.millrace.log.LogSettings;
import io.millrace.log.Topic;
import io.millrace.log.Topics;
import io.millrace.log.UndecodableException;
import io.millrace.schema.Envelope;
import io.millrace.schema.RawDocument;
import io.millrace.schema.SourceReport;
import io.millrace.text.Redactor;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/** Reads what Connect wrote on a {@code raw.<source>} topic. */
final class RawJson {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Set<String> TRUST = Set.of("trusted", "imported", "generated");

    private final String prefix;
    private final Set<String> collections;
    private final Map<String, Topic<RawDocument>> topics = new ConcurrentHashMap<>();

    RawJson(LogSettings log, Set<String> collections) {
        this.prefix = log.prefix() + Topics.RAW;
        this.collections = Set.copyOf(collections);
    }

    /** The topics of all sources; not the one of the API, which is Avro. */
    Pattern topics() {
        return Pattern.compile(Pattern.quote(prefix) + "(?!api$).+");
    }

    LogRecord<RawDocument> decode(ConsumerRecord<byte[], byte[]> record, String key) {
        String source = record.topic().substring(prefix.length());
        Topic<RawDocument> topic = topics.computeIfAbsent(source, Topics::raw);
        if (record.value() == null) {
            throw new UndecodableException("no value");
        }
        try {
            RawDocument raw = read(source, JSON.readTree(record.value()), record.timestamp());
            return new LogRecord<>(topic, record.partition(), record.offset(), record.timestamp(), key, raw);
        } catch (JsonProcessingException e) {
            throw new UndecodableException("not JSON: " + e.getOriginalMessage());
        } catch (IOException e) {
            throw new UndecodableException("not readable: " + e.getMessage());
        }
    }

    private RawDocument read(String source, JsonNode json, long timestamp) throws IOException {
        RawDocument.Builder raw = RawDocument.newBuilder()
                .setEnvelope(Envelope.newBuilder().setOccurredAt(timestamp).build())
                .setSource(source)
                .setDefinition(json.path("definition").asText(""));
        String type = json.path("type").asText();
        switch (type) {
            case "document" -> document(raw, json);
            case "deleted" -> raw.setPath(path(json)).setDeleted(true);
            case "manifest" -> raw.setManifest(texts(json.path("paths")));
            case "removed" -> raw.setManifest(List.of()).setDeleted(true);
            case "report" -> raw.setReport(report(json));
            default -> throw new UndecodableException("type is '" + type + "'");
        }
        return raw.build();
    }

    private void document(RawDocument.Builder raw, JsonNode json) throws IOException {
        String collection = json.path("collection").asText();
        if (!collections.contains(collection)) {
            throw new UndecodableException("there is no collection '" + collection + "'");
        }
        String trust = json.path("trust").asText("imported");
        if (!TRUST.contains(trust)) {
            throw new UndecodableException("trust is '" + trust + "'");
        }
        Map<String, String> metadata = new HashMap<>();
        json.path("metadata")
                .properties()
                .forEach(entry -> metadata.put(entry.getKey(), entry.getValue().asText()));
        raw.setPath(path(json))
                .setTitle(json.path("title").asText(""))
                .setCollection(collection)
                .setContent(json.path("content").asText(""))
                .setContentType(json.path("content_type").asText("text/plain"))
                .setTrust(trust)
                .setTags(texts(json.path("tags")))
                .setMetadata(metadata)
                .setSourceUrl(json.path("source_url").asText(""))
                .setModifiedAt(json.path("modified_at").asLong(0))
                .setLocalOnly(json.path("local_only").asBoolean(false));
        if (json.has("content_base64")) {
            raw.setBinary(ByteBuffer.wrap(json.path("content_base64").binaryValue()));
        }
    }

    private static String path(JsonNode json) {
        String path = json.path("path").asText("");
        if (path.isEmpty()) {
            throw new UndecodableException("path is missing");
        }
        return path;
    }

    private static SourceReport report(JsonNode json) {
        Map<String, String> skips = new HashMap<>();
        json.path("skips")
                .properties()
                .forEach(entry -> skips.put(
                        Redactor.redact(entry.getKey()),
                        Redactor.redact(entry.getValue().asText())));
        return SourceReport.newBuilder()
                .setState(json.path("state").asText(""))
                .setError(Redactor.redact(json.path("error").asText("")))
                .setFound(json.path("found").asInt())
                .setSent(json.path("sent").asInt())
                .setDeleted(json.path("deleted").asInt())
                .setSkipped(json.path("skipped").asInt())
                .setSkips(skips)
                .setStartedAt(json.path("started_at").asLong())
                .setEndedAt(json.path("ended_at").asLong())
                .setNextAt(json.path("next_at").asLong())
                .build();
    }

    private static List<String> texts(JsonNode array) {
        List<String> texts = new ArrayList<>();
        array.forEach(each -> texts.add(each.asText()));
        return texts;
    }
}
