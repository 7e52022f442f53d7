package io.millrace.log;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.apache.avro.Schema;
import org.apache.avro.SchemaCompatibility;
import org.apache.avro.SchemaCompatibility.Incompatibility;
import org.apache.avro.SchemaNormalization;

/**
 * FULL_TRANSITIVE compatibility of the present schemas with every release, by Avro's own rules of resolution; and of the applications'
 * states, which must not change under the same application id.
 */
final class Compatibility {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final String SUFFIX = ".avsc";

    /** Property of a schema that is no topic's, but the state of an application: its id. */
    static final String APPLICATION = "application";

    private final Path releases;

    /** @param releases a folder with a folder for each release, which holds {@code <topic>.avsc} */
    Compatibility(Path releases) {
        this.releases = releases;
    }

    /** Versions that are there, in the order of their names. */
    List<String> versions() throws IOException {
        try (Stream<Path> folders = Files.list(releases)) {
            return folders.filter(Files::isDirectory)
                    .map(folder -> String.valueOf(folder.getFileName()))
                    .sorted()
                    .toList();
        }
    }

    /** The schemas of a release, by topic. */
    Map<String, Schema> release(String version) throws IOException {
        Map<String, Schema> schemas = new TreeMap<>();
        try (Stream<Path> files = Files.list(releases.resolve(version))) {
            for (Path file : files.toList()) {
                String name = String.valueOf(file.getFileName());
                if (!name.endsWith(SUFFIX)) {
                    throw new IOException(file + " is no schema");
                }
                String topic = name.substring(0, name.length() - SUFFIX.length());
                schemas.put(topic, new Schema.Parser().parse(Files.readString(file)));
            }
        }
        if (schemas.isEmpty()) {
            throw new IOException(releases.resolve(version) + " holds no schemas");
        }
        return schemas;
    }

    /** What does not fit, one line each. */
    List<String> problems(Map<String, Schema> present) throws IOException {
        List<String> problems = new ArrayList<>();
        for (String version : versions()) {
            release(version)
                    .forEach((topic, released) ->
                            problems.addAll(problems(version + " " + topic, released, present.get(topic))));
        }
        return problems;
    }

    private static List<String> problems(
            String name, Schema released, @org.jspecify.annotations.Nullable Schema present) {
        String application = released.getProp(APPLICATION);
        if (application != null) {
            return stateProblems(name, application, released, present);
        }
        if (present == null) {
            return List.of(name + ": the topic was released and is gone");
        }
        List<String> problems = new ArrayList<>();
        incompatibilities(present, released)
                .forEach(each -> problems.add(name + ": what it wrote cannot be read now: " + told(each)));
        incompatibilities(released, present)
                .forEach(each -> problems.add(name + ": it cannot read what is written now: " + told(each)));
        return problems;
    }

    /** Stores write no schema id, so what a release left in a changelog can be read with the very same schema only. */
    private static List<String> stateProblems(
            String name, String application, Schema released, @org.jspecify.annotations.Nullable Schema present) {
        boolean other = present == null || !application.equals(present.getProp(APPLICATION));
        return other || SchemaNormalization.toParsingForm(released).equals(SchemaNormalization.toParsingForm(present))
                ? List.of()
                : List.of(name + ": the state of " + application
                        + " has changed: give the application another id, here and in its topology");
    }

    private static List<Incompatibility> incompatibilities(Schema reader, Schema writer) {
        return SchemaCompatibility.checkReaderWriterCompatibility(reader, writer)
                .getResult()
                .getIncompatibilities();
    }

    private static String told(Incompatibility each) {
        return each.getType() + " at " + each.getLocation() + ": " + each.getMessage();
    }

    /**
     * Adds a release.
     *
     * @throws IllegalArgumentException when it is there, is no version, or what is present does not fit to an earlier one
     */
    void write(String version, Map<String, Schema> present) throws IOException {
        if (!version.matches("\\d+\\.\\d+\\.\\d+(-[a-z0-9.]+)?")) {
            throw new IllegalArgumentException("'" + version + "' is no version such as 0.1.0");
        }
        Path folder = releases.resolve(version);
        if (Files.exists(folder)) {
            throw new IllegalArgumentException(version + " was released already: " + folder);
        }
        Collection<String> problems = problems(present);
        if (!problems.isEmpty()) {
            throw new IllegalArgumentException(String.join("\n", problems));
        }
        Files.createDirectories(folder);
        for (Map.Entry<String, Schema> each : present.entrySet()) {
            Files.writeString(
                    folder.resolve(each.getKey() + SUFFIX),
                    JSON.readTree(each.getValue().toString()).toPrettyString() + "\n");
        }
    }
}
