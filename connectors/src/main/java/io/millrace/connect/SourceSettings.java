package io.millrace.connect;

import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.common.config.AbstractConfig;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.common.config.ConfigDef.Importance;
import org.apache.kafka.common.config.ConfigDef.Range;

/**
 * The settings of our connectors. Each connector takes all of them and reads those that are its own. Lists are a line each: addresses
 * and globs have commas in them.
 */
final class SourceSettings {
    static final String SOURCE = "source";
    static final String TOPIC = "topic";
    static final String COLLECTION = "collection";
    static final String TAGS = "tags";
    static final String METADATA = "metadata";
    static final String TRUST = "trust";
    static final String LOCAL_ONLY = "local.only";
    static final String SCHEDULE = "schedule.ms";
    static final String FETCH = "fetch";
    static final String EXCLUDE = "exclude";
    static final String MAX_BYTES = "max.bytes";
    static final String MAX_DOCUMENTS = "max.documents";
    static final String DEFINITION = "definition";
    static final String LOCATION = "location";
    static final String BRANCH = "branch";
    static final String WORK = "work.dir";
    static final String DEPTH = "depth";
    static final String ALLOW = "allow";

    static final ConfigDef DEFINED = new ConfigDef()
            .define(SOURCE, ConfigDef.Type.STRING, Importance.HIGH, "Id of the source.")
            .define(TOPIC, ConfigDef.Type.STRING, Importance.HIGH, "Topic of its documents.")
            .define(LOCATION, ConfigDef.Type.STRING, Importance.HIGH, "Folder, repository, or pages and feeds.")
            .define(COLLECTION, ConfigDef.Type.STRING, Importance.HIGH, "Collection of its documents.")
            .define(TAGS, ConfigDef.Type.STRING, "", Importance.LOW, "Tags of its documents.")
            .define(METADATA, ConfigDef.Type.STRING, "", Importance.LOW, "Of its documents: lines of key=value.")
            .define(TRUST, ConfigDef.Type.STRING, "imported", Importance.MEDIUM, "trusted, imported or generated.")
            .define(
                    LOCAL_ONLY,
                    ConfigDef.Type.BOOLEAN,
                    false,
                    Importance.MEDIUM,
                    "Whether its text may not leave the machine.")
            .define(
                    SCHEDULE,
                    ConfigDef.Type.LONG,
                    300_000L,
                    Range.atLeast(200),
                    Importance.MEDIUM,
                    "Milliseconds between scans.")
            .define(FETCH, ConfigDef.Type.STRING, "", Importance.MEDIUM, "Globs of paths to take; empty takes all.")
            .define(EXCLUDE, ConfigDef.Type.STRING, "", Importance.MEDIUM, "Globs of paths to leave out.")
            // the worker has 256 MB: a document is held as bytes, as base64 and as JSON at once
            .define(
                    MAX_BYTES,
                    ConfigDef.Type.INT,
                    8 << 20,
                    Range.between(1, 16 << 20),
                    Importance.LOW,
                    "Largest document, bytes.")
            .define(
                    MAX_DOCUMENTS,
                    ConfigDef.Type.INT,
                    100_000,
                    Range.atLeast(1),
                    Importance.LOW,
                    "Most documents of a scan.")
            .define(
                    DEFINITION,
                    ConfigDef.Type.STRING,
                    "",
                    Importance.LOW,
                    "Changes when all documents have to be sent again.")
            .define(
                    BRANCH,
                    ConfigDef.Type.STRING,
                    "",
                    Importance.LOW,
                    "Branch of a repository; empty takes its default.")
            .define(WORK, ConfigDef.Type.STRING, "", Importance.LOW, "Folder for clones.")
            .define(
                    DEPTH,
                    ConfigDef.Type.INT,
                    0,
                    Range.between(0, 10),
                    Importance.LOW,
                    "How far links of pages are followed.")
            .define(ALLOW, ConfigDef.Type.STRING, "", Importance.LOW, "Hosts that may have private addresses.");

    private final AbstractConfig config;
    private final Patterns patterns;

    SourceSettings(Map<String, String> values) {
        config = new AbstractConfig(DEFINED, values, false);
        patterns = new Patterns(lines(FETCH), lines(EXCLUDE));
    }

    private List<String> lines(String key) {
        return config.getString(key).lines().filter(line -> !line.isBlank()).toList();
    }

    String source() {
        return config.getString(SOURCE);
    }

    String topic() {
        return config.getString(TOPIC);
    }

    List<String> locations() {
        return lines(LOCATION);
    }

    String location() {
        return locations().getFirst();
    }

    /** The location for people, without the user and password of a URL. */
    String shown() {
        return location().replaceAll("://[^@/]*@", "://");
    }

    String collection() {
        return config.getString(COLLECTION);
    }

    Map<String, String> metadata() {
        return pairs(config.getString(METADATA));
    }

    /** Lines of {@code key=value}. */
    static Map<String, String> pairs(String lines) {
        Map<String, String> pairs = new TreeMap<>();
        lines.lines().filter(line -> line.contains("=")).forEach(line -> {
            int at = line.indexOf('=');
            pairs.put(line.substring(0, at), line.substring(at + 1));
        });
        return pairs;
    }

    List<String> tags() {
        return lines(TAGS);
    }

    String trust() {
        return config.getString(TRUST);
    }

    boolean localOnly() {
        return config.getBoolean(LOCAL_ONLY);
    }

    long scheduleMs() {
        return config.getLong(SCHEDULE);
    }

    Patterns patterns() {
        return patterns;
    }

    int maxBytes() {
        return config.getInt(MAX_BYTES);
    }

    int maxDocuments() {
        return config.getInt(MAX_DOCUMENTS);
    }

    String definition() {
        return config.getString(DEFINITION);
    }

    String branch() {
        return config.getString(BRANCH);
    }

    String work() {
        return config.getString(WORK);
    }

    int depth() {
        return config.getInt(DEPTH);
    }

    List<String> allow() {
        return lines(ALLOW);
    }
}
