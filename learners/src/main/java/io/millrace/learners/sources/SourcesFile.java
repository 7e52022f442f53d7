package io.millrace.learners.sources;

import io.millrace.config.ConfigException;
import io.millrace.config.YamlFile;
import io.millrace.learners.sources.SourceDefinition.Kind;
import java.io.IOException;
import java.net.URI;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import org.yaml.snakeyaml.DumperOptions.FlowStyle;
import org.yaml.snakeyaml.nodes.MappingNode;
import org.yaml.snakeyaml.nodes.Node;
import org.yaml.snakeyaml.nodes.NodeTuple;
import org.yaml.snakeyaml.nodes.ScalarNode;
import org.yaml.snakeyaml.nodes.SequenceNode;
import org.yaml.snakeyaml.nodes.Tag;

/**
 * {@code knowledge-sources.yaml}: a list under {@code sources}. All errors are found before it gives up, each with its line. People
 * write it, and {@code millrace sources add} and {@code remove} change only the lines of one entry, so that comments stay.
 *
 * <p>Only an empty list says that there is no source. An editor empties a file before it writes it, and all documents would go and come
 * again when that counted.
 */
public final class SourcesFile {
    /** Name of the file in the data folder. */
    public static final String NAME = "knowledge-sources.yaml";

    private static final Pattern ID = Pattern.compile("[a-z0-9][a-z0-9.-]{0,99}");
    /** 0 to 1, as the database reads it, too. */
    private static final Pattern RATE = Pattern.compile("0(\\.\\d{1,12})?|1(\\.0{1,12})?");

    private static final Pattern DURATION = Pattern.compile("(\\d{1,9})(ms|s|m|h|d)");
    private static final Set<String> TRUST = Set.of("trusted", "imported", "generated");
    private static final Set<String> FIELDS =
            Set.of("path", "content", "title", "content_type", "source_url", "modified_at");
    private static final Map<Kind, Set<String>> OWN_KEYS = Map.of(
            Kind.GIT, Set.of("url", "branch", "fetch", "exclude", "max_documents", "max_bytes", "schedule"),
            Kind.URL,
                    Set.of(
                            "url",
                            "urls",
                            "depth",
                            "allow",
                            "fetch",
                            "exclude",
                            "max_documents",
                            "max_bytes",
                            "schedule"),
            Kind.LOCAL_DIR, Set.of("path", "fetch", "exclude", "max_documents", "max_bytes", "schedule"),
            Kind.CONNECTOR, Set.of("class", "config", "fields"));
    private static final Set<String> KEYS =
            Set.of("id", "type", "collection", "tags", "metadata", "enabled", "trust", "local_only");

    private static final String SUCCESS_RATE = "success_rate";

    /** What searches filter by: declared for a whole source, or a field of a connector's record. */
    private static final Set<String> METADATA_FIELDS =
            Set.of("language", "version", "framework", "category", SUCCESS_RATE);

    private static final int MAX_BYTES = 16 << 20;

    /** All paths of a source are one record, of 32 MiB at most: 125 bytes each. */
    private static final int MAX_DOCUMENTS = 200_000;

    /** How errors about a file without sources end. */
    static final String TO_HAVE_NONE = "write `sources: []` to have none";

    private final Path file;
    private final List<String> collections;
    /** Whether errors say in which line they are; those of an entry that is in no file name its settings only. */
    private final boolean placed;

    private final List<String> errors = new ArrayList<>();

    private SourcesFile(Path file, List<String> collections, boolean placed) {
        this.file = file;
        this.collections = collections;
        this.placed = placed;
    }

    /**
     * Reads a file; no file is no source.
     *
     * @param collections the configured ones
     * @throws ConfigException with every error
     */
    public static List<SourceDefinition> read(Path file, List<String> collections) {
        try {
            return Files.exists(file) ? parse(file, Files.readString(file), collections) : List.of();
        } catch (IOException e) {
            throw new ConfigException(List.of(file + ": cannot be read: " + e.getMessage()));
        }
    }

    /** The same for a text that would be the file. */
    public static List<SourceDefinition> parse(Path file, String text, List<String> collections) {
        return read(new SourcesFile(file, collections, true), text);
    }

    /** The same for an entry that is not in the file yet. */
    public static SourceDefinition check(Path file, Map<String, Object> entry, List<String> collections) {
        return read(new SourcesFile(file, collections, false), with("", entry)).getFirst();
    }

    private static List<SourceDefinition> read(SourcesFile reader, String text) {
        List<SourceDefinition> sources = reader.sources(text);
        if (!reader.errors.isEmpty()) {
            throw new ConfigException(reader.errors);
        }
        return sources;
    }

    /** The lines of an entry. */
    public static String lines(Map<String, Object> entry) {
        StringBuilder lines = new StringBuilder();
        String lead = "  - ";
        for (Map.Entry<String, Object> each : entry.entrySet()) {
            lines.append(lead)
                    .append(each.getKey())
                    .append(": ")
                    .append(value(each.getValue()))
                    .append('\n');
            lead = "    ";
        }
        return lines.toString();
    }

    /** The text of a file with one more entry. */
    public static String with(String text, Map<String, Object> entry) {
        boolean fresh = text.isBlank() || text.lines().noneMatch(line -> line.startsWith("sources:"));
        String before = text.isEmpty() || text.endsWith("\n") ? text : text + "\n";
        // an empty list that people, or remove, left
        before = before.replaceAll("(?m)^sources:[ \\t]*\\[[ \\t]*]([ \\t]*(?:#.*)?)$", "sources:$1");
        return before + (fresh ? "sources:\n" : "") + lines(entry);
    }

    private static String value(Object value) {
        return switch (value) {
            case Map<?, ?> map ->
                map.entrySet().stream()
                        .map(each -> key(String.valueOf(each.getKey())) + ": " + quoted(each.getValue()))
                        .collect(Collectors.joining(", ", "{", "}"));
            case List<?> list ->
                "[" + String.join(", ", list.stream().map(SourcesFile::quoted).toList()) + "]";
            case Boolean bool -> bool.toString();
            case Number number -> number.toString();
            default -> quoted(value);
        };
    }

    private static String key(String key) {
        return key.matches("[a-z][a-z0-9_]*") ? key : quoted(key);
    }

    private static String quoted(Object value) {
        StringBuilder quoted = new StringBuilder("\"");
        value.toString().chars().forEach(each -> {
            if (each < 0x20 || each == 0x7f) {
                quoted.append(String.format(Locale.ROOT, "\\x%02x", each));
            } else {
                quoted.append(each == '\\' || each == '"' ? "\\" : "").append((char) each);
            }
        });
        return quoted.append('"').toString();
    }

    /** The text of a file without an entry. */
    public static String without(String text, SourceDefinition source) {
        List<String> lines = new ArrayList<>(text.lines().toList());
        lines.subList(source.firstLine() - 1, source.lastLine()).clear();
        boolean empty = lines.stream().noneMatch(line -> line.stripLeading().startsWith("- "));
        String rest = String.join("\n", lines) + "\n";
        return empty ? rest.replaceAll("(?m)^sources:([ \\t]*(?:#.*)?)$", "sources: []$1") : rest;
    }

    private List<SourceDefinition> sources(String text) {
        List<SourceDefinition> sources = new ArrayList<>();
        int before = errors.size();
        Node root = YamlFile.read(file, text, errors::add).orElse(null);
        if (root == null) {
            if (errors.size() == before) {
                errors.add(file + ": is empty: " + TO_HAVE_NONE);
            }
            return sources;
        }
        if (!(root instanceof MappingNode top) || top.getValue().isEmpty()) {
            errors.add(file + ":1: must hold the key sources: " + TO_HAVE_NONE);
            return sources;
        }
        for (NodeTuple tuple : top.getValue()) {
            String key = scalar(tuple.getKeyNode());
            if (!key.equals("sources")) {
                error(tuple.getKeyNode(), key + " is no key of this file; there is sources");
            } else if (tuple.getValueNode() instanceof SequenceNode list) {
                entries(list, sources);
            } else {
                error(tuple.getKeyNode(), "sources must be a list: " + TO_HAVE_NONE);
            }
        }
        return sources;
    }

    private void entries(SequenceNode list, List<SourceDefinition> sources) {
        Set<String> ids = new HashSet<>();
        for (Node node : list.getValue()) {
            if (node instanceof MappingNode entry) {
                int before = errors.size();
                SourceDefinition source = new Entry(entry).read();
                if (source != null && !ids.add(source.id())) {
                    error(entry, "id " + source.id() + " is used twice");
                }
                if (source != null && errors.size() == before) {
                    sources.add(source);
                }
            } else {
                error(node, "a source must hold keys and values");
            }
        }
    }

    private void error(Node at, String message) {
        errors.add((placed ? YamlFile.at(file, at) + ": " : "") + message);
    }

    private static String scalar(Node node) {
        return node instanceof ScalarNode scalar ? scalar.getValue() : "";
    }

    /** One entry of the list. */
    private final class Entry {
        private final MappingNode node;
        private final Map<String, Node> keys = new LinkedHashMap<>();

        Entry(MappingNode node) {
            this.node = node;
            node.getValue().forEach(tuple -> keys.put(scalar(tuple.getKeyNode()), tuple.getValueNode()));
        }

        @Nullable
        SourceDefinition read() {
            String type = text("type", "");
            Kind kind = null;
            for (Kind each : Kind.values()) {
                if (each.word().equals(type)) {
                    kind = each;
                }
            }
            if (kind == null) {
                wrong(
                        "type",
                        (type.isEmpty() ? "type is missing" : "there is no type " + type)
                                + "; there are git, url, local_dir, connector");
                return null;
            }
            unknown(kind);
            String id = text("id", "");
            if (!ID.matcher(id).matches() || id.equals("api")) {
                wrong(
                        "id",
                        "id " + id + " must be lower-case letters, digits, dots and dashes, at most 100, and not api");
            }
            String collection = text("collection", "codebase-context");
            if (!collections.contains(collection)) {
                wrong(
                        "collection",
                        "there is no collection " + collection + "; there are " + String.join(", ", collections));
            }
            String trust = text("trust", "imported");
            if (!TRUST.contains(trust)) {
                wrong("trust", "trust is " + trust + "; it may be trusted, imported or generated");
            }
            List<String> fetch = globs("fetch");
            List<String> exclude = globs("exclude");
            return new SourceDefinition(
                    id,
                    kind,
                    locations(kind),
                    fetch,
                    exclude,
                    collection,
                    texts("tags"),
                    metadata(),
                    schedule(kind),
                    truth("enabled", true),
                    trust,
                    truth("local_only", false),
                    text("branch", ""),
                    number("depth", 0, 0, 10),
                    number("max_documents", kind == Kind.URL ? 1_000 : 100_000, 1, MAX_DOCUMENTS),
                    number("max_bytes", 8 << 20, 1, MAX_BYTES),
                    texts("allow"),
                    map("config"),
                    fields(kind),
                    node.getStartMark().getLine() + 1,
                    lastLine());
        }

        private void unknown(Kind kind) {
            Set<String> known = new TreeSet<>(KEYS);
            known.addAll(OWN_KEYS.getOrDefault(kind, Set.of()));
            node.getValue().forEach(tuple -> {
                String key = scalar(tuple.getKeyNode());
                if (!known.contains(key)) {
                    error(tuple.getKeyNode(), key + " is no key of a " + kind.word() + " source; there are " + known);
                }
            });
        }

        private int lastLine() {
            // the end mark of a block is where the next one begins, after comments that are not its own
            Node last = last(node);
            int line = last.getEndMark().getLine();
            return last.getEndMark().getColumn() == 0 ? line : line + 1;
        }

        private static Node last(Node node) {
            return switch (node) {
                case MappingNode map
                when map.getFlowStyle() == FlowStyle.BLOCK && !map.getValue().isEmpty() ->
                    last(map.getValue().getLast().getValueNode());
                case SequenceNode list
                when list.getFlowStyle() == FlowStyle.BLOCK && !list.getValue().isEmpty() ->
                    last(list.getValue().getLast());
                default -> node;
            };
        }

        private List<String> locations(Kind kind) {
            return switch (kind) {
                case LOCAL_DIR -> {
                    String path = text("path", "");
                    if (path.isEmpty()) {
                        wrong("path", "path is missing: the folder");
                        yield List.of();
                    }
                    Path folder = file.toAbsolutePath().resolveSibling(path).normalize();
                    yield List.of(folder.toString());
                }
                case GIT -> {
                    String url = text("url", "");
                    if (url.isEmpty()) {
                        wrong("url", "url is missing: the repository");
                        yield List.of();
                    }
                    yield List.of(url);
                }
                case URL -> {
                    List<String> urls = new ArrayList<>(texts("urls"));
                    if (keys.containsKey("url")) {
                        urls.add(text("url", ""));
                    }
                    if (urls.isEmpty()) {
                        wrong("urls", "urls is missing: pages and feeds");
                    }
                    urls.forEach(this::checkUrl);
                    yield urls;
                }
                case CONNECTOR -> {
                    String name = text("class", "");
                    if (name.isEmpty()) {
                        wrong("class", "class is missing: the connector");
                    }
                    yield List.of(name);
                }
            };
        }

        private void checkUrl(String url) {
            try {
                URI uri = new URI(url);
                boolean http = "http".equals(uri.getScheme()) || "https".equals(uri.getScheme());
                if (!http || uri.getHost() == null) {
                    wrong("urls", url + " must begin with http:// or https:// and a host");
                }
            } catch (java.net.URISyntaxException e) {
                wrong("urls", url + " is no address: " + e.getReason());
            }
        }

        private Duration schedule(Kind kind) {
            String text = text("schedule", "");
            if (text.isEmpty()) {
                return kind.schedule();
            }
            Matcher matcher = DURATION.matcher(text);
            if (!matcher.matches()) {
                wrong("schedule", "schedule " + text + " must be a number with ms, s, m, h or d");
                return kind.schedule();
            }
            long count = Long.parseLong(matcher.group(1));
            Duration duration = switch (matcher.group(2)) {
                case "ms" -> Duration.ofMillis(count);
                case "s" -> Duration.ofSeconds(count);
                case "m" -> Duration.ofMinutes(count);
                case "h" -> Duration.ofHours(count);
                default -> Duration.ofDays(count);
            };
            if (duration.compareTo(Duration.ofMillis(200)) < 0 || duration.compareTo(Duration.ofDays(365)) > 0) {
                wrong("schedule", "schedule " + text + " must be between 200ms and 365d");
            }
            return duration;
        }

        private Map<String, String> metadata() {
            Map<String, String> metadata = map("metadata");
            metadata.forEach((name, value) -> {
                if (!METADATA_FIELDS.contains(name)) {
                    wrong(
                            "metadata",
                            "metadata." + name + " is nothing to filter by; there are "
                                    + new TreeSet<>(METADATA_FIELDS));
                } else if (name.equals(SUCCESS_RATE) && !RATE.matcher(value).matches()) {
                    wrong("metadata", "metadata." + name + " is " + value + "; it must be a number from 0 to 1");
                } else if (value.isBlank() || value.lines().count() != 1) {
                    wrong("metadata", "metadata." + name + " must be one line");
                }
            });
            return metadata;
        }

        private Map<String, String> fields(Kind kind) {
            Map<String, String> fields = map("fields");
            fields.forEach((name, path) -> {
                if (!FIELDS.contains(name) && !METADATA_FIELDS.contains(name)) {
                    Set<String> known = new TreeSet<>(FIELDS);
                    known.addAll(METADATA_FIELDS);
                    wrong("fields", "fields." + name + " is no field of a document; there are " + known);
                }
                if (!path.matches("(key|value|partition|offset)(\\..+)?")) {
                    wrong("fields", "fields." + name + " must begin with key, value, partition or offset");
                }
            });
            if (kind == Kind.CONNECTOR && !fields.containsKey("content")) {
                wrong("fields", "fields.content is missing: which field is the text");
            }
            return fields;
        }

        private List<String> globs(String key) {
            List<String> globs = texts(key);
            // a number or a truth is a slip of the pen: no pattern looks like one
            values(key).stream()
                    .filter(value ->
                            value instanceof ScalarNode && !value.getTag().equals(Tag.STR))
                    .forEach(value -> error(
                            value, key + ": " + scalar(value) + " is no glob; if a file has that name, quote it"));
            for (String glob : globs) {
                try {
                    FileSystems.getDefault().getPathMatcher("glob:" + glob);
                } catch (PatternSyntaxException e) {
                    wrong(key, key + ": " + glob + " is no glob: " + e.getDescription());
                }
            }
            return globs;
        }

        private void wrong(String key, String message) {
            error(keys.getOrDefault(key, node), message);
        }

        private String text(String key, String fallback) {
            Node value = keys.get(key);
            if (value == null) {
                return fallback;
            }
            if (!(value instanceof ScalarNode scalar)) {
                wrong(key, key + " must be one value");
                return fallback;
            }
            return scalar.getValue().strip();
        }

        /** One value or a list of them. */
        private List<String> texts(String key) {
            List<String> texts = new ArrayList<>();
            for (Node value : values(key)) {
                String text = scalar(value).strip();
                if (text.isEmpty() || text.lines().count() != 1) {
                    error(value, key + " must be a value, or a list of values, of a line each");
                } else {
                    texts.add(text);
                }
            }
            return texts;
        }

        private List<Node> values(String key) {
            return switch (keys.get(key)) {
                case null -> List.of();
                case SequenceNode list -> list.getValue();
                // a key whose values are commented out
                case ScalarNode none when none.getTag().equals(Tag.NULL) -> List.of();
                case Node value -> List.of(value);
            };
        }

        private boolean truth(String key, boolean fallback) {
            String text = text(key, String.valueOf(fallback));
            if (!text.equals("true") && !text.equals("false")) {
                wrong(key, key + " is " + text + "; it may be true or false");
            }
            return text.equals("true");
        }

        private int number(String key, int fallback, int least, int most) {
            String text = text(key, String.valueOf(fallback));
            try {
                int number = Integer.parseInt(text);
                if (number >= least && number <= most) {
                    return number;
                }
            } catch (NumberFormatException e) {
                // told below
            }
            wrong(key, key + " is " + text + "; it may be " + least + ".." + most);
            return fallback;
        }

        private Map<String, String> map(String key) {
            Map<String, String> map = new HashMap<>();
            if (keys.get(key) instanceof MappingNode values) {
                for (NodeTuple tuple : values.getValue()) {
                    String name = scalar(tuple.getKeyNode());
                    if (tuple.getValueNode() instanceof ScalarNode value) {
                        map.put(name, value.getValue());
                    } else {
                        error(tuple.getKeyNode(), key + "." + name + " must be one value");
                    }
                }
            } else if (keys.containsKey(key)) {
                wrong(key, key + " must hold keys and values");
            }
            return map;
        }
    }
}
