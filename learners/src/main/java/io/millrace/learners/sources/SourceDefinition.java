package io.millrace.learners.sources;

import io.millrace.id.Ids;
import io.millrace.log.LogSettings;
import io.millrace.log.Topics;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;

/**
 * A knowledge source as {@code knowledge-sources.yaml} declares it.
 *
 * @param id lower-case letters, digits, dots and dashes
 * @param locations folder (absolute), repository, or pages and feeds; for a connector its class
 * @param metadata of each of its documents, such as a version to filter by
 * @param schedule between two scans
 * @param config of a third-party connector
 * @param fields of a third-party connector: which of its fields become path, content, title, content_type, source_url, modified_at
 * @param firstLine of its entry in the file, from 1
 * @param lastLine of its entry, inclusive
 */
public record SourceDefinition(
        String id,
        Kind kind,
        List<String> locations,
        List<String> fetch,
        List<String> exclude,
        String collection,
        List<String> tags,
        Map<String, String> metadata,
        Duration schedule,
        boolean enabled,
        String trust,
        boolean localOnly,
        String branch,
        int depth,
        int maxDocuments,
        int maxBytes,
        List<String> allow,
        Map<String, String> config,
        Map<String, String> fields,
        int firstLine,
        int lastLine) {

    private static final String PACKAGE = "io.millrace.connect.";

    /** What reads it. */
    public enum Kind {
        GIT("GitSourceConnector", Duration.ofMinutes(5)),
        URL("UrlSourceConnector", Duration.ofHours(1)),
        LOCAL_DIR("LocalDirSourceConnector", Duration.ofSeconds(2)),
        CONNECTOR("", Duration.ofMinutes(5));

        private final String connector;
        private final Duration schedule;

        Kind(String connector, Duration schedule) {
            this.connector = connector;
            this.schedule = schedule;
        }

        /** As it is written in the file. */
        public String word() {
            return name().toLowerCase(Locale.ROOT);
        }

        /** Between two scans, where the file says nothing. */
        public Duration schedule() {
            return schedule;
        }
    }

    public SourceDefinition {
        locations = List.copyOf(locations);
        fetch = List.copyOf(fetch);
        exclude = List.copyOf(exclude);
        tags = List.copyOf(tags);
        allow = List.copyOf(allow);
        metadata = Map.copyOf(metadata);
        config = Map.copyOf(config);
        fields = Map.copyOf(fields);
    }

    /** Where it is, for people: without the user and password of a URL. */
    public String location() {
        return String.join(", ", locations).replaceAll("://[^@/]*@", "://");
    }

    /** Name of a source's connector. */
    static String connector(LogSettings log, String id) {
        return log.group("source-") + id;
    }

    /**
     * The settings of its connector.
     *
     * @param addedAt another number for a source that was removed and added again
     */
    Map<String, String> connectorConfig(LogSettings log, Path work, long addedAt) {
        Map<String, String> settings = new TreeMap<>(config);
        String at = kind == Kind.CONNECTOR ? "transforms.document." : "";
        if (kind == Kind.CONNECTOR) {
            settings.put("connector.class", locations.getFirst());
            String before = settings.getOrDefault("transforms", "");
            settings.put("transforms", before.isEmpty() ? "document" : before + ",document");
            settings.put(at + "type", PACKAGE + "ToDocument");
            fields.forEach((name, path) -> settings.put(at + "field." + name, path));
        } else {
            settings.put("connector.class", PACKAGE + kind.connector);
            settings.put("location", String.join("\n", locations));
            settings.put("schedule.ms", String.valueOf(schedule.toMillis()));
            settings.put("fetch", String.join("\n", fetch));
            settings.put("exclude", String.join("\n", exclude));
            settings.put("branch", branch);
            settings.put("depth", String.valueOf(depth));
            settings.put("max.documents", String.valueOf(maxDocuments));
            settings.put("max.bytes", String.valueOf(maxBytes));
            settings.put("allow", String.join("\n", allow));
            settings.put("work.dir", work.toString());
        }
        settings.put(at + "definition", definition(addedAt));
        settings.put("name", connector(log, id));
        settings.putIfAbsent("tasks.max", "1");
        settings.put(at + "source", id);
        settings.put(at + "topic", log.name(Topics.raw(id)));
        settings.put(at + "collection", collection);
        settings.put(at + "tags", String.join("\n", tags));
        settings.put(at + "metadata", metadataLines());
        settings.put(at + "trust", trust);
        settings.put(at + "local.only", String.valueOf(localOnly));
        settings.put("key.converter", "org.apache.kafka.connect.storage.StringConverter");
        settings.put("value.converter", "org.apache.kafka.connect.json.JsonConverter");
        settings.put("value.converter.schemas.enable", "false");
        return settings;
    }

    /**
     * What tells records of this source from those of an earlier one of the same id, and from those that were made by other rules and
     * are sent again: what Connect remembers is of one definition. A connector of others goes on where it was whatever its rules are.
     *
     * @param addedAt another number for a source that was removed and added again
     */
    String definition(long addedAt) {
        return kind == Kind.CONNECTOR ? String.valueOf(addedAt) : fingerprint() + "-" + addedAt;
    }

    private String metadataLines() {
        return new TreeMap<>(metadata)
                .entrySet().stream()
                        .map(entry -> entry.getKey() + "=" + entry.getValue())
                        .collect(Collectors.joining("\n"));
    }

    /** Changes when all documents have to be sent again. */
    private String fingerprint() {
        return Ids.content(
                collection,
                tags + (metadata.isEmpty() ? "" : metadataLines()),
                trust,
                String.valueOf(localOnly),
                fetch.toString(),
                exclude.toString(),
                branch,
                locations.toString());
    }
}
