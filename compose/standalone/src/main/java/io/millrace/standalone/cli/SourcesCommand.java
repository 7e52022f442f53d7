package io.millrace.standalone.cli;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.millrace.config.ConfigLoader;
import io.millrace.learners.sources.SourceDefinition;
import io.millrace.learners.sources.SourcesFile;
import io.millrace.standalone.error.UserException;
import java.io.Console;
import java.io.IOException;
import java.net.URLEncoder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code millrace sources}. */
@Command(
        name = "sources",
        description =
                "Knowledge sources: what is answered from. They are declared in knowledge-sources.yaml in the data folder.",
        mixinStandardHelpOptions = true,
        subcommands = {
            SourcesCommand.ListCommand.class,
            SourcesCommand.AddCommand.class,
            SourcesCommand.SyncCommand.class,
            SourcesCommand.RemoveCommand.class
        })
public final class SourcesCommand implements Callable<Integer> {
    private static final Duration PATIENCE = Duration.ofMinutes(30);
    /** Within which an instance has seen what is in its file. */
    private static final Duration NOTICED = Duration.ofSeconds(10);

    private static final long LOOK_MS = 200;
    private static final int BAR = 30;
    /** Told of each source; all that is kept is in the JSON. */
    private static final int REASONS = 3;

    @Mixin
    private Instance instance = new Instance();

    @Option(names = "--json", description = "Print JSON.")
    private boolean json;

    @Override
    public Integer call() {
        return list(instance, json);
    }

    /** {@code millrace sources list}. */
    @Command(name = "list", description = "Each source and what it does.", mixinStandardHelpOptions = true)
    static final class ListCommand implements Callable<Integer> {
        @Mixin
        private Instance instance = new Instance();

        @Option(names = "--json", description = "Print the whole response.")
        private boolean json;

        @Override
        public Integer call() {
            return list(instance, json);
        }
    }

    /** {@code millrace sources add}. */
    @Command(
            name = "add",
            description = "Declare a source, and wait until what it has is searchable.",
            mixinStandardHelpOptions = true)
    static final class AddCommand implements Callable<Integer> {
        @Mixin
        private Instance instance = new Instance();

        @Parameters(
                index = "0",
                paramLabel = "ID",
                description = "Name of the source: lower-case letters, digits, dots, dashes.")
        private String id = "";

        @Parameters(
                index = "1..*",
                arity = "1..*",
                paramLabel = "LOCATION",
                description = "A folder, a git repository, or web pages and feeds.")
        private List<String> locations = List.of();

        @Option(names = "--type", description = "git, url or local_dir; guessed from the location without it.")
        private @Nullable String type;

        @Option(names = "--collection", description = "Default: codebase-context.")
        private @Nullable String collection;

        @Option(names = "--fetch", paramLabel = "GLOB", description = "Paths to take; repeatable. Default: all.")
        private List<String> fetch = new ArrayList<>();

        @Option(names = "--exclude", paramLabel = "GLOB", description = "Paths to leave out; repeatable.")
        private List<String> exclude = new ArrayList<>();

        @Option(names = "--tag", description = "Repeatable.")
        private List<String> tags = new ArrayList<>();

        @Option(
                names = "--metadata",
                paramLabel = "NAME=VALUE",
                description = "Of all its documents, to filter by: version=25.05; repeatable.")
        private Map<String, String> metadata = new LinkedHashMap<>();

        @Option(names = "--schedule", description = "How often it is read: 30s, 5m, 1h, …")
        private @Nullable String schedule;

        @Option(names = "--trust", description = "trusted, imported or generated. Default: imported.")
        private @Nullable String trust;

        @Option(names = "--local-only", description = "Queries that use it do not leave the machine.")
        private boolean localOnly;

        @Option(names = "--branch", description = "Of a repository. Default: its own.")
        private @Nullable String branch;

        @Option(names = "--depth", description = "How far links of pages are followed. Default: 0.")
        private @Nullable Integer depth;

        @Option(
                names = "--allow",
                paramLabel = "HOST",
                description = "Host of pages that may have a private address; repeatable.")
        private List<String> allow = new ArrayList<>();

        @Option(names = "--dry-run", description = "Check, print the entry, change nothing.")
        private boolean dryRun;

        @Option(names = "--no-wait", description = "Return at once.")
        private boolean noWait;

        @Option(names = "--json", description = "Print JSON.")
        private boolean json;

        @Override
        public Integer call() throws IOException, InterruptedException {
            Path file = file(instance);
            Instant asked = Instant.now();
            boolean up = isUp(instance);
            try (FileChannel alone = alone(file)) {
                Map<String, Object> entry = entry();
                SourceDefinition source = SourcesFile.check(file, entry, collections(instance));
                String after = with(entry, file, up);
                if (dryRun) {
                    dryRun(file, source, entry);
                    return 0;
                }
                replace(file, after);
                if (noWait || !up) {
                    print(json, source, "added to " + file + (noWait ? "" : "; it is read when millrace is up"));
                    return 0;
                }
            }
            return follow(instance, id, asked, json);
        }

        /** What the file says with the entry. */
        private String with(Map<String, Object> entry, Path file, boolean up) throws IOException {
            if (Files.notExists(file) && up) {
                // a new file with one entry would remove what the missing one declared
                good(Instance.good(instance.get("/sources")));
            }
            List<SourceDefinition> there = SourcesFile.read(file, collections(instance));
            String before = Files.exists(file) ? Files.readString(file) : "";
            if (there.stream().anyMatch(each -> each.id().equals(id))) {
                throw new UserException(
                        "there is a source " + id + " already: remove it first, or change its entry in " + file);
            }
            String after = SourcesFile.with(before, entry);
            SourcesFile.parse(file, after, collections(instance));
            return after;
        }

        private void dryRun(Path file, SourceDefinition source, Map<String, Object> entry) {
            String what = "would be added to " + file;
            if (json) {
                ObjectNode node = result(source, what);
                node.set("entry", Instance.JSON.valueToTree(entry));
                Terminal.line(node.toPrettyString());
            } else {
                print(false, source, what + ":");
                Terminal.line(SourcesFile.lines(entry).stripTrailing());
            }
        }

        private Map<String, Object> entry() {
            Map<String, Object> entry = new LinkedHashMap<>();
            String kind = type == null ? guess() : type;
            entry.put("id", id);
            entry.put("type", kind);
            switch (kind) {
                case "local_dir" -> entry.put("path", absolute(only()));
                // the worker that reads it runs in another folder
                case "git" -> entry.put("url", Files.isDirectory(Path.of(only())) ? absolute(only()) : only());
                default -> entry.put("urls", locations);
            }
            put(entry, "collection", collection);
            put(entry, "fetch", fetch);
            put(entry, "exclude", exclude);
            put(entry, "tags", tags);
            put(entry, "metadata", metadata.isEmpty() ? null : metadata);
            put(entry, "schedule", schedule);
            put(entry, "trust", trust);
            put(entry, "local_only", localOnly ? true : null);
            put(entry, "branch", branch);
            put(entry, "depth", depth);
            put(entry, "allow", allow);
            return entry;
        }

        private static String absolute(String folder) {
            return Path.of(folder).toAbsolutePath().normalize().toString();
        }

        private static void put(Map<String, Object> entry, String key, @Nullable Object value) {
            if (value != null && !(value instanceof List<?> list && list.isEmpty())) {
                entry.put(key, value);
            }
        }

        private String only() {
            if (locations.size() > 1) {
                throw new UserException("one location, please; only url sources have several");
            }
            return locations.getFirst();
        }

        private String guess() {
            String first = locations.getFirst();
            if (first.endsWith(".git") || first.startsWith("git@") || first.startsWith("ssh://")) {
                return "git";
            }
            if (first.startsWith("http://") || first.startsWith("https://")) {
                return "url";
            }
            Path folder = Path.of(first);
            if (!Files.isDirectory(folder)) {
                throw new UserException("there is no folder " + folder.toAbsolutePath()
                        + ", and it is no address; --type says what it is");
            }
            return "local_dir";
        }
    }

    /** What commands about one source take. */
    abstract static class OfOne implements Callable<Integer> {
        @Mixin
        Instance instance = new Instance();

        @Parameters(paramLabel = "ID")
        String id = "";

        @Option(names = "--dry-run", description = "Say what would be done, and change nothing.")
        boolean dryRun;

        @Option(names = "--json", description = "Print JSON.")
        boolean json;
    }

    /** {@code millrace sources sync}. */
    @Command(
            name = "sync",
            description = "Read a source now, and wait until it is searchable.",
            mixinStandardHelpOptions = true)
    static final class SyncCommand extends OfOne {
        @Override
        public Integer call() throws IOException, InterruptedException {
            JsonNode source = await(instance, id);
            if (dryRun) {
                Terminal.line(json ? source.toPrettyString() : "would be read: " + line(source));
                return 0;
            }
            JsonNode asked =
                    Instance.good(instance.post("/sources/" + URLEncoder.encode(id, StandardCharsets.UTF_8) + "/sync"));
            return follow(instance, id, Instant.parse(asked.path("asked_at").asText()), json);
        }
    }

    /** {@code millrace sources remove}. */
    @Command(name = "remove", description = "Remove a source with its documents.", mixinStandardHelpOptions = true)
    static final class RemoveCommand extends OfOne {
        @Override
        public Integer call() throws IOException, InterruptedException {
            Path file = file(instance);
            boolean up = isUp(instance);
            SourceDefinition source;
            long documents;
            try (FileChannel alone = alone(file)) {
                List<SourceDefinition> there = SourcesFile.read(file, collections(instance));
                source = there.stream()
                        .filter(each -> each.id().equals(id))
                        .findFirst()
                        .orElseThrow(() -> new UserException("there is no source " + id + " in " + file));
                String after = SourcesFile.without(Files.readString(file), source);
                if (SourcesFile.parse(file, after, collections(instance)).size() != there.size() - 1) {
                    throw new UserException(
                            "the entry of " + id + " shares its lines with others; take it out of " + file);
                }
                documents = up
                        ? find(Instance.good(instance.get("/sources")), id)
                                .map(status -> status.at("/documents/total").asLong())
                                .orElse(0L)
                        : 0;
                if (dryRun) {
                    print(json, source, "would be removed with " + documents + " documents");
                    return 0;
                }
                replace(file, after);
            }
            if (up) {
                awaitGone(instance, id, PATIENCE);
            }
            print(
                    json,
                    source,
                    up ? "removed with " + documents + " documents" : "removed; its documents go when millrace is up");
            return 0;
        }
    }

    /**
     * Waits until a source that is declared no more has gone with its documents.
     *
     * @throws UserException when it has not by then, or its file cannot be read
     */
    static void awaitGone(Instance instance, String id, Duration patience) throws InterruptedException {
        long began = System.nanoTime();
        while (true) {
            JsonNode all = Instance.good(instance.get("/sources"));
            if (find(all, id).isEmpty()) {
                return;
            }
            Duration waited = Duration.ofNanos(System.nanoTime() - began);
            boolean late = waited.compareTo(patience) > 0;
            if (late || waited.compareTo(NOTICED) > 0) {
                good(all);
            }
            if (late) {
                throw new UserException(id + " is declared no more, but its documents are not gone after "
                        + patience.toMinutes() + " minutes; see millrace sources list");
            }
            Thread.sleep(LOOK_MS);
        }
    }

    private static Path file(Instance instance) throws IOException {
        Path folder = instance.data().folder();
        Files.createDirectories(folder);
        return folder.resolve(SourcesFile.NAME);
    }

    private static List<String> collections(Instance instance) {
        return ConfigLoader.load(instance.data().configFile(), System.getenv(), Map.of())
                .config()
                .collections();
    }

    /** Whether it can be asked; one that starts has nobody yet who answers, and reads the file soon. */
    private static boolean isUp(Instance instance) {
        return instance.run().filter(run -> !run.path("url").asText().isEmpty()).isPresent();
    }

    /** Waits until no other command changes the file: of two at once one would take the other's change back. */
    private static FileChannel alone(Path file) throws IOException {
        FileChannel channel = FileChannel.open(
                file.resolveSibling("." + file.getFileName() + ".lock"),
                StandardOpenOption.CREATE,
                StandardOpenOption.WRITE);
        channel.lock();
        return channel;
    }

    /** A link stays one, and who may read the file does not change. */
    private static void replace(Path file, String text) throws IOException {
        Path at = Files.exists(file) ? file.toRealPath() : file;
        Path fresh = at.resolveSibling(at.getFileName() + ".new");
        Files.writeString(fresh, text);
        if (Files.exists(at)) {
            Files.setPosixFilePermissions(fresh, Files.getPosixFilePermissions(at));
        }
        Files.move(fresh, at, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    }

    private static void print(boolean json, SourceDefinition source, String what) {
        if (json) {
            Terminal.line(result(source, what).toPrettyString());
        } else {
            Terminal.line("%s (%s %s): %s".formatted(source.id(), source.kind().word(), source.location(), what));
        }
    }

    private static ObjectNode result(SourceDefinition source, String what) {
        return Instance.JSON
                .createObjectNode()
                .put("id", source.id())
                .put("type", source.kind().word())
                .put("location", source.location())
                .put("collection", source.collection())
                .put("result", what);
    }

    private static int list(Instance instance, boolean json) {
        JsonNode all = Instance.good(instance.get("/sources"));
        boolean failed = !all.path("errors").isEmpty();
        for (JsonNode source : all.path("sources")) {
            failed |= source.path("state").asText().equals("failed");
        }
        if (json) {
            Terminal.line(all.toPrettyString());
            return failed ? 1 : 0;
        }
        if (all.path("sources").isEmpty()) {
            Terminal.line("no sources; add one with millrace sources add ID LOCATION");
        }
        all.path("sources").forEach(source -> told(source).forEach(Terminal::line));
        all.path("errors").forEach(error -> Terminal.line(Terminal.inLine(error.asText())));
        return failed ? 1 : 0;
    }

    private static String line(JsonNode source) {
        StringBuilder line = new StringBuilder(String.format(
                Locale.ROOT,
                "%-20s %-9s %-9s %d documents, %d searchable",
                source.path("id").asText(),
                source.path("type").asText(),
                source.path("state").asText(),
                source.at("/documents/total").asInt(),
                source.at("/documents/searchable").asInt()));
        add(line, source.at("/documents/quarantined").asInt(), "quarantined");
        add(line, source.path("lag").asInt(), "waiting");
        add(line, source.at("/scan/skipped").asInt(), "skipped");
        add(line, source.path("failures").size(), "failed");
        if (source.path("error").isTextual()) {
            line.append(": ").append(source.path("error").asText());
        }
        return Terminal.inLine(line.toString());
    }

    /** A source and, below it, the first reasons why something of it is not there. */
    static List<String> told(JsonNode source) {
        List<String> told = new ArrayList<>();
        told.add(line(source));
        tell(
                told,
                "skipped",
                source.at("/scan/skips"),
                source.at("/scan/skipped").asInt());
        tell(told, "failed", source.path("failures"), source.path("failures").size());
        return told;
    }

    private static void tell(List<String> told, String what, JsonNode reasons, int all) {
        reasons.properties().stream()
                .limit(REASONS)
                .forEach(each -> told.add(Terminal.inLine("  " + what + " " + each.getKey() + ": "
                        + each.getValue().asText())));
        int left = all - Math.min(REASONS, reasons.size());
        if (left > 0) {
            told.add("  " + left + " more " + what + (reasons.size() > REASONS ? "; see --json" : ""));
        }
    }

    private static void add(StringBuilder line, int count, String what) {
        if (count > 0) {
            line.append(", ").append(count).append(' ').append(what);
        }
    }

    private static void good(JsonNode all) {
        if (!all.path("errors").isEmpty()) {
            throw new UserException(all.path("errors").get(0).asText());
        }
    }

    private static Optional<JsonNode> find(JsonNode all, String id) {
        for (JsonNode source : all.path("sources")) {
            if (source.path("id").asText().equals(id)) {
                return Optional.of(source);
            }
        }
        return Optional.empty();
    }

    /** A source of the running instance. One that is in its file is waited for: it may have been written, or the instance started, just now. */
    private static JsonNode await(Instance instance, String id) throws IOException, InterruptedException {
        long end = System.nanoTime() + NOTICED.toNanos();
        while (true) {
            JsonNode all = Instance.good(instance.get("/sources"));
            Optional<JsonNode> source = find(all, id);
            if (source.isPresent()) {
                return source.get();
            }
            good(all);
            Path file = instance.data().folder().resolve(SourcesFile.NAME);
            boolean declared = Files.exists(file)
                    && SourcesFile.read(file, collections(instance)).stream()
                            .anyMatch(each -> each.id().equals(id));
            if (!declared || System.nanoTime() > end) {
                throw new UserException("there is no source " + id + (declared ? ", though it is in " + file : ""));
            }
            Thread.sleep(LOOK_MS);
        }
    }

    /** Shows how a source is read, until all that it has is searchable. */
    private static int follow(Instance instance, String id, Instant asked, boolean json) throws InterruptedException {
        boolean terminal = !json
                && Optional.ofNullable(System.console())
                        .filter(Console::isTerminal)
                        .isPresent();
        long end = System.nanoTime() + PATIENCE.toNanos();
        long seen = System.nanoTime();
        String told = "";
        while (System.nanoTime() < end) {
            JsonNode all = Instance.good(instance.get("/sources"));
            good(all);
            Optional<JsonNode> source = find(all, id);
            if (source.isPresent()) {
                seen = System.nanoTime();
                String bar = bar(source.get());
                if (!json && !bar.equals(told)) {
                    if (terminal) {
                        Terminal.inPlace(bar);
                    } else {
                        Terminal.line(bar);
                    }
                    told = bar;
                }
                if (isOver(source.get(), asked)) {
                    if (terminal) {
                        Terminal.line("");
                    }
                    Terminal.line(
                            json
                                    ? source.get().toPrettyString()
                                    : String.join(System.lineSeparator(), told(source.get())));
                    return source.get().path("state").asText().equals("failed") ? 1 : 0;
                }
            } else if (System.nanoTime() - seen > NOTICED.toNanos()) {
                throw new UserException(
                        id + " is no source of the instance: was it taken out of " + SourcesFile.NAME + " meanwhile?");
            }
            Thread.sleep(LOOK_MS);
        }
        throw new UserException(
                id + " is not read after " + PATIENCE.toMinutes() + " minutes; see millrace sources list");
    }

    private static boolean isOver(JsonNode source, Instant asked) {
        String state = source.path("state").asText();
        JsonNode started = source.at("/scan/started_at");
        // a connector of others does not report its scans
        boolean after = source.path("type").asText().equals("connector")
                || (started.isTextual() && !Instant.parse(started.asText()).isBefore(asked.minusMillis(1)));
        return state.equals("disabled")
                || ((state.equals("idle") || state.equals("failed")) && after)
                || (state.equals("failed") && !started.isTextual());
    }

    static String bar(JsonNode source) {
        int found = Math.max(
                source.at("/scan/found").asInt(), source.at("/documents/total").asInt());
        int left = source.at("/scan/skipped").asInt() + source.path("failures").size();
        // at the end nothing is left to do, also of what is no document, such as a feed
        boolean over = source.path("state").asText().equals("idle");
        int done = over
                ? found
                : Math.min(found, source.at("/documents/searchable").asInt() + left);
        int filled = found == 0 ? 0 : BAR * done / found;
        return String.format(
                Locale.ROOT,
                "[%s%s] %d of %d documents, %s",
                "#".repeat(filled),
                ".".repeat(BAR - filled),
                done,
                found,
                source.path("state").asText());
    }
}
