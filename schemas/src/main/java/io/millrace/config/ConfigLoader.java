package io.millrace.config;

import io.millrace.config.MillraceConfig.Backend;
import io.millrace.config.MillraceConfig.Cache;
import io.millrace.config.MillraceConfig.Decay;
import io.millrace.config.MillraceConfig.Deployment;
import io.millrace.config.MillraceConfig.Dispatch;
import io.millrace.config.MillraceConfig.Embedding;
import io.millrace.config.MillraceConfig.Expansion;
import io.millrace.config.MillraceConfig.Kafka;
import io.millrace.config.MillraceConfig.Kind;
import io.millrace.config.MillraceConfig.Knowledge;
import io.millrace.config.MillraceConfig.Limits;
import io.millrace.config.MillraceConfig.Listen;
import io.millrace.config.MillraceConfig.Locality;
import io.millrace.config.MillraceConfig.ModelPolicy;
import io.millrace.config.MillraceConfig.Postgres;
import io.millrace.config.MillraceConfig.Redis;
import io.millrace.config.MillraceConfig.Registry;
import io.millrace.config.MillraceConfig.Rerank;
import io.millrace.config.MillraceConfig.Retention;
import io.millrace.config.MillraceConfig.Retrieval;
import io.millrace.config.MillraceConfig.Routing;
import io.millrace.log.LogSettings;
import java.io.IOException;
import java.net.URI;
import java.nio.charset.CharacterCodingException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.yaml.snakeyaml.nodes.MappingNode;
import org.yaml.snakeyaml.nodes.Node;
import org.yaml.snakeyaml.nodes.NodeTuple;
import org.yaml.snakeyaml.nodes.ScalarNode;
import org.yaml.snakeyaml.nodes.SequenceNode;
import org.yaml.snakeyaml.nodes.Tag;

/**
 * Reads the configuration. In this order, the later over the earlier: defaults, the file, {@code MILLRACE_*} variables, flags. The four
 * short cuts {@code MILLRACE_LOCAL_URL}, {@code MILLRACE_REMOTE_URL}, {@code MILLRACE_REMOTE_KEY} and {@code MILLRACE_REMOTE_MODEL}
 * are the only deployment of the backends {@code local} and {@code remote}, or what the file says of it with these fields over it.
 *
 * <p>All errors are found before it gives up, each with the file and line, variable or flag that it came from.
 */
public final class ConfigLoader {
    /** By backend and by the field of its only deployment. */
    private static final Map<String, Map<String, String>> SHORTCUTS = Map.of(
            "local", Map.of("url", "MILLRACE_LOCAL_URL"),
            "remote",
                    Map.of(
                            "url", "MILLRACE_REMOTE_URL",
                            "key", "MILLRACE_REMOTE_KEY",
                            "model", "MILLRACE_REMOTE_MODEL"));

    /** Variables of the launcher and of tests, which are no settings. */
    private static final Set<String> OURS =
            Set.of("MILLRACE_URL", "MILLRACE_DATA", "MILLRACE_JAVA_OPTS", "MILLRACE_AOT", "MILLRACE_TEST_QDRANT_URL");

    private static final Set<String> CAPABILITIES = Set.of("json", "tools", "vision");
    private static final Map<String, String> MODES =
            Stream.of("off", "auto", "keyword", "semantic", "hybrid", "tree").collect(Collectors.toMap(m -> m, m -> m));
    private static final Map<String, Kind> KINDS = Map.of("openai", Kind.OPENAI, "llama.cpp", Kind.LLAMA_CPP);
    private static final Map<String, Locality> LOCALITIES = Map.of("local", Locality.LOCAL, "remote", Locality.REMOTE);

    private static final Map<String, Boolean> TRUTHS = Map.of("true", true, "false", false);

    /** Fields of backends and models that hold several values; all others hold one. */
    private static final Set<String> LISTS = Set.of("deployments", "capabilities", "aliases");

    /** Settings that name a variable with a secret. */
    private static final List<Setting<String>> SECRETS = List.of(
            Settings.REGISTRY_PASSWORD_ENV,
            Settings.POSTGRES_PASSWORD_ENV,
            Settings.RERANK_KEY_ENV,
            Settings.EXPAND_KEY_ENV,
            Settings.QDRANT_KEY_ENV,
            Settings.EMBEDDING_KEY_ENV);

    // what a deployment has of which nothing is said, in the file or by a short cut
    private static final Set<String> DEFAULT_CAPABILITIES = Set.of("json", "tools");
    private static final Duration DEFAULT_TIMEOUT = Duration.ofMinutes(2);
    private static final Duration SHORTEST_TIMEOUT = Duration.ofMillis(100);
    private static final Duration LONGEST_TIMEOUT = Duration.ofHours(1);

    private record Entry(String value, String origin) {}

    /** A set, because some are found in two ways, such as a setting that stands twice. */
    private final Set<String> errors = new LinkedHashSet<>();

    private final Map<String, Entry> values = new HashMap<>();
    private final Map<String, String> env;
    private final Map<String, Backend> backends = new TreeMap<>();
    private final Map<String, ModelPolicy> models =
            new TreeMap<>(MillraceConfig.defaults().models());
    private final Map<String, String> origins = new TreeMap<>();

    /** What stands in the file, but so that an error was told of it: what follows from it is not known, and no error. */
    private final Set<String> unsure = new HashSet<>();

    /** Variables that hold the key of a deployment. */
    private final Set<String> keyVariables = new HashSet<>();

    private ConfigLoader(Map<String, String> env) {
        this.env = env;
    }

    /**
     * A configuration and where it came from.
     *
     * @param origins by key: default, file:line, variable or flag
     */
    public record Loaded(MillraceConfig config, Map<String, String> values, Map<String, String> origins) {
        public Loaded {
            values = Map.copyOf(values);
            origins = Map.copyOf(origins);
        }

        /** Effective values with their origins, secrets masked; for {@code /config} and {@code config show}. */
        public Map<String, Object> view() {
            Map<String, Object> view = new TreeMap<>();
            values.forEach((key, value) ->
                    view.put(key, Map.of("value", value, "origin", origins.getOrDefault(key, "default"))));
            return view;
        }
    }

    /**
     * Loads and checks.
     *
     * @param file none: defaults
     * @param flags by dotted key
     * @throws ConfigException with every error
     */
    public static Loaded load(Optional<Path> file, Map<String, String> env, Map<String, String> flags) {
        ConfigLoader loader = new ConfigLoader(env);
        file.ifPresent(loader::read);
        loader.variables();
        flags.forEach((key, value) -> loader.values.put(key, new Entry(value, "flag")));
        MillraceConfig config = loader.build();
        if (!loader.errors.isEmpty()) {
            throw new ConfigException(List.copyOf(loader.errors));
        }
        Map<String, String> shown = new TreeMap<>();
        for (Setting<?> setting : Settings.ALL) {
            Entry entry = loader.values.get(setting.key());
            shown.put(setting.key(), Secret.masked(entry == null ? setting.fallback() : entry.value));
            loader.origins.put(setting.key(), entry == null ? "default" : entry.origin);
        }
        config.backends().values().forEach(backend -> shown.putAll(shown(backend)));
        config.models().values().forEach(model -> shown.putAll(shown(model)));
        return new Loaded(config, shown, loader.origins);
    }

    private static Map<String, String> shown(Backend backend) {
        String key = "backends." + backend.name() + ".";
        Map<String, String> shown = new HashMap<>();
        shown.put(key + "kind", word(KINDS, backend.kind()));
        shown.put(key + "locality", word(LOCALITIES, backend.locality()));
        for (Deployment deployment : backend.deployments()) {
            String below = key + deployment.name() + ".";
            shown.put(below + "url", Secret.masked(deployment.url()));
            shown.put(below + "model", deployment.model());
            shown.put(below + "key", deployment.key().toString());
            shown.put(below + "input-price", String.valueOf(deployment.inputPrice()));
            shown.put(below + "output-price", String.valueOf(deployment.outputPrice()));
            shown.put(below + "context-length", String.valueOf(deployment.contextLength()));
            shown.put(
                    below + "capabilities",
                    deployment.capabilities().stream().sorted().collect(Collectors.joining(",")));
            shown.put(below + "concurrency", String.valueOf(deployment.concurrency()));
            shown.put(below + "timeout", Setting.written(deployment.timeout()));
        }
        return shown;
    }

    private static Map<String, String> shown(ModelPolicy model) {
        String key = "models." + model.name() + ".";
        return Map.of(
                key + "backend", model.backend(),
                key + "retrieval", model.retrieval(),
                key + "add-context", String.valueOf(model.addContext()),
                key + "local-only", String.valueOf(model.localOnly()),
                key + "aliases", String.join(",", model.aliases()));
    }

    private static <T> String word(Map<String, T> words, T value) {
        return words.entrySet().stream()
                .filter(entry -> entry.getValue().equals(value))
                .map(Map.Entry::getKey)
                .findFirst()
                .orElseThrow();
    }

    /** @throws ConfigException at once when nothing can be read; what the rest says depends on what it holds */
    private void read(Path file) {
        Node root = YamlFile.read(file, text(file), errors::add).orElse(null);
        if (root == null && errors.isEmpty()) {
            return;
        }
        if (!(root instanceof MappingNode top)) {
            if (root != null) {
                errors.add(file + ": must hold keys and values");
            }
            throw new ConfigException(List.copyOf(errors));
        }
        for (NodeTuple tuple : top.getValue()) {
            String key = scalar(tuple.getKeyNode());
            switch (key) {
                case "backends" -> entries(file, "backends", tuple, this::backend);
                case "models" -> entries(file, "models", tuple, this::model);
                default -> flatten(file, key, tuple);
            }
        }
    }

    private static String text(Path file) {
        try {
            return Files.readString(file);
        } catch (NoSuchFileException e) {
            throw new ConfigException(List.of(file + ": there is no such file"));
        } catch (CharacterCodingException e) {
            throw new ConfigException(List.of(file + ": is not UTF-8"));
        } catch (IOException e) {
            throw new ConfigException(List.of(file + ": cannot be read: " + e.getMessage()));
        }
    }

    private void flatten(Path file, String key, NodeTuple tuple) {
        Node node = tuple.getValueNode();
        Optional<Setting<?>> first = Settings.ALL.stream()
                .filter(setting -> setting.key().startsWith(key + "."))
                .findFirst();
        if (first.isPresent() && isNothing(node)) {
            return;
        }
        if (node instanceof MappingNode map && !map.getValue().isEmpty()) {
            for (NodeTuple child : map.getValue()) {
                flatten(file, key + "." + scalar(child.getKeyNode()), child);
            }
            return;
        }
        String at = YamlFile.at(file, tuple.getKeyNode());
        if (first.isPresent()) {
            errors.add(at + ": " + key + " is a section; settings stand below it, such as "
                    + first.get().key());
            Settings.ALL.stream()
                    .filter(setting -> setting.key().startsWith(key + "."))
                    .forEach(setting -> unsure.add(setting.key()));
            return;
        }
        if (Settings.ALL.stream().noneMatch(setting -> setting.key().equals(key))) {
            errors.add(at + ": " + key + " is no setting" + meant(key, Setting::key));
            return;
        }
        String value = node instanceof SequenceNode list
                ? String.join(
                        ",", list.getValue().stream().map(ConfigLoader::scalar).toList())
                : scalar(node);
        Entry before = values.put(key, new Entry(value, at));
        if (before != null) {
            // a: {b: 1} and a.b: 2 are one setting
            errors.add(YamlFile.twice(at, key, before.origin));
        }
    }

    /** A section whose lines are all commented out. */
    private static boolean isNothing(Node node) {
        return switch (node) {
            case ScalarNode scalar -> scalar.getTag().equals(Tag.NULL);
            case MappingNode map -> map.getValue().isEmpty();
            default -> false;
        };
    }

    private static String meant(String word, Function<Setting<?>, String> name) {
        return Settings.ALL.stream()
                .map(name)
                .min(Comparator.comparingInt(known -> distance(known, word)))
                .filter(known -> distance(known, word) <= 4)
                .map(known -> "; did you mean " + known + "?")
                .orElse("");
    }

    private static int distance(String a, String b) {
        int[] row = new int[b.length() + 1];
        for (int j = 0; j <= b.length(); j++) {
            row[j] = j;
        }
        for (int i = 1; i <= a.length(); i++) {
            int diagonal = row[0];
            row[0] = i;
            for (int j = 1; j <= b.length(); j++) {
                int above = row[j];
                int substituted = diagonal + (a.charAt(i - 1) == b.charAt(j - 1) ? 0 : 1);
                row[j] = Math.min(substituted, Math.min(above, row[j - 1]) + 1);
                diagonal = above;
            }
        }
        return row[b.length()];
    }

    private interface Reader {
        void read(Path file, String name, Node key, MappingNode node);
    }

    private void entries(Path file, String section, NodeTuple tuple, Reader reader) {
        if (isNothing(tuple.getValueNode())) {
            return;
        }
        if (!(tuple.getValueNode() instanceof MappingNode map)) {
            errors.add(YamlFile.at(file, tuple.getKeyNode()) + ": " + section + " must be a map of names");
            unsure.add(section);
            return;
        }
        for (NodeTuple entry : map.getValue()) {
            String name = scalar(entry.getKeyNode());
            String at = YamlFile.at(file, entry.getKeyNode());
            if (entry.getValueNode() instanceof MappingNode node) {
                reader.read(file, name, entry.getKeyNode(), node);
                origins.put(section + "." + name, at);
            } else {
                errors.add(at + ": " + section + "." + name + " must hold keys and values");
                unsure.add(section + "." + name);
            }
        }
    }

    /** What stands under a backend's or model's name or makes a deployment, each field with its own line. */
    private final class Fields {
        private final Path file;
        private final String path;
        private final Node start;
        private final Map<String, NodeTuple> tuples = new LinkedHashMap<>();

        /** Variables that come over fields, by field. */
        private final Map<String, String> variables;

        /** Those of which it was told already that they are wrong. */
        private final Set<String> wrong = new HashSet<>();

        /** Whether one has a name that there is not, and so another may be missing. */
        private boolean mistyped;

        /**
         * @param path what it is the inside of, as errors name it
         * @param start where it begins, for a field that nobody wrote
         */
        Fields(Path file, String path, Node start, MappingNode node, Set<String> known, Map<String, String> variables) {
            this.file = file;
            this.path = path;
            this.start = start;
            this.variables = variables;
            node.getValue().forEach(tuple -> tuples.put(scalar(tuple.getKeyNode()), tuple));
            tuples.forEach((field, tuple) -> check(field, tuple.getValueNode(), known));
        }

        private void check(String field, Node value, Set<String> known) {
            if (field.equals("key")) {
                error(
                        field,
                        ": a key does not belong into the file; name a variable with key-env or a file with key-file");
            } else if (!known.contains(field)) {
                mistyped = true;
                error(field, " is no setting; there are " + String.join(", ", new TreeSet<>(known)));
            } else if (!(LISTS.contains(field) ? value instanceof SequenceNode : value instanceof ScalarNode)) {
                error(field, " must be " + (LISTS.contains(field) ? "a list, such as [a, b]" : "one value"));
            }
        }

        Set<String> names() {
            return tuples.keySet();
        }

        String at(String field) {
            NodeTuple tuple = tuples.get(field);
            return YamlFile.at(file, tuple == null ? start : tuple.getKeyNode());
        }

        void error(String field, String message) {
            wrong.add(field);
            errors.add(at(field) + ": " + path + "." + field + message);
        }

        /** Whether its value, or that it has none, is what was meant, as far as one can see. */
        boolean isSure(String field) {
            return variables.containsKey(field) || (tuples.containsKey(field) ? !wrong.contains(field) : !mistyped);
        }

        String text(String field, String fallback) {
            String variable = variables.get(field);
            if (variable != null) {
                return env.getOrDefault(variable, "");
            }
            NodeTuple tuple = tuples.get(field);
            return tuple == null || wrong.contains(field) ? fallback : scalar(tuple.getValueNode());
        }

        /** @param whenWrong only so that checking can go on */
        <T> T value(String field, String fallback, Function<String, T> parser, T whenWrong) {
            if (!isSure(field)) {
                return whenWrong;
            }
            try {
                return parser.apply(text(field, fallback));
            } catch (IllegalArgumentException e) {
                if (variables.containsKey(field)) {
                    errors.add(variables.get(field) + ": " + e.getMessage());
                } else {
                    error(field, " " + e.getMessage());
                }
                return whenWrong;
            }
        }

        List<Node> list(String field) {
            NodeTuple tuple = tuples.get(field);
            return tuple != null && tuple.getValueNode() instanceof SequenceNode list ? list.getValue() : List.of();
        }
    }

    private void backend(Path file, String name, Node key, MappingNode node) {
        String path = "backends." + name;
        Fields fields = new Fields(file, path, key, node, Set.of("kind", "locality", "deployments"), Map.of());
        fields.names().forEach(field -> origins.put(path + "." + field, fields.at(field)));
        if (!name.matches("[a-z0-9][a-z0-9-]{0,40}")
                || Set.of("builtin", "extractive").contains(name)) {
            errors.add(YamlFile.at(file, key) + ": " + path
                    + ": a backend's name is lower-case letters, digits and dashes, and not builtin or extractive");
            unsure.add(path);
            return;
        }
        Kind kind = fields.value("kind", "openai", words(KINDS), Kind.OPENAI);
        Locality locality = fields.value(
                "locality", kind == Kind.LLAMA_CPP ? "local" : "remote", words(LOCALITIES), Locality.REMOTE);
        if (!fields.isSure("locality") || (!fields.names().contains("locality") && !fields.isSure("kind"))) {
            unsure.add(path);
        }
        List<Deployment> deployments = new ArrayList<>();
        List<Node> list = fields.list("deployments");
        Map<String, String> variables = list.size() == 1 ? shortcuts(name) : Map.of();
        for (Node each : list) {
            if (each instanceof MappingNode deployment) {
                deployments.add(deployment(file, name, locality, deployments.size(), deployment, variables));
            } else {
                errors.add(YamlFile.at(file, each) + ": " + path + ".deployments: each must hold keys and values");
            }
        }
        if (list.isEmpty() && fields.isSure("deployments")) {
            fields.error("deployments", ": at least one is needed");
        }
        backends.put(name, new Backend(name, locality, kind, deployments));
    }

    private Deployment deployment(
            Path file, String backend, Locality locality, int index, MappingNode node, Map<String, String> variables) {
        Fields fields = new Fields(
                file,
                "backends." + backend + ".deployments[" + index + "]",
                node,
                node,
                Set.of(
                        "name",
                        "url",
                        "model",
                        "key-env",
                        "key-file",
                        "input-price",
                        "output-price",
                        "context-length",
                        "capabilities",
                        "concurrency",
                        "timeout"),
                variables);
        String name = fields.value("name", index == 0 ? backend : backend + "-" + (index + 1), ConfigLoader::name, "");
        String shown = "backends." + backend + "." + name;
        origins.put(shown, YamlFile.at(file, node));
        fields.names()
                .forEach(field ->
                        origins.put(shown + "." + (field.startsWith("key-") ? "key" : field), fields.at(field)));
        variables.forEach((field, variable) -> origins.put(shown + "." + field, variable));
        Set<String> capabilities = new HashSet<>();
        for (Node each : fields.list("capabilities")) {
            String capability = scalar(each);
            capabilities.add(capability);
            if (!CAPABILITIES.contains(capability)) {
                errors.add(YamlFile.at(file, each) + ": " + fields.path + ".capabilities: there is no " + capability);
            }
        }
        Function<String, Double> price = Setting.number("", 0, 0, 1e6, "").parser();
        return new Deployment(
                name,
                fields.value("url", "", Setting::parseUrl, ""),
                fields.text("model", ""),
                key(file, fields),
                fields.value("input-price", "0", price, 0.0),
                fields.value("output-price", "0", price, 0.0),
                fields.value(
                        "context-length",
                        "0",
                        Setting.integer("", 0, 0, 100_000_000, "").parser(),
                        0),
                fields.names().contains("capabilities") ? capabilities : DEFAULT_CAPABILITIES,
                fields.value(
                        "concurrency",
                        String.valueOf(concurrency(locality)),
                        Setting.integer("", 1, 1, 10_000, "").parser(),
                        1),
                fields.value(
                        "timeout",
                        Setting.written(DEFAULT_TIMEOUT),
                        Setting.duration("", "", SHORTEST_TIMEOUT, LONGEST_TIMEOUT, "")
                                .parser(),
                        DEFAULT_TIMEOUT));
    }

    /**
     * Requests at once of a deployment of which nobody says how many. A model on a machine of ours has a few slots, and more at once make
     * each slower; an API has room for many, and with a few of its own a fifth person would wait seconds for the answers of four others.
     */
    private static int concurrency(Locality locality) {
        return locality == Locality.LOCAL ? 4 : 64;
    }

    private static String name(String value) {
        if (value.isBlank()) {
            throw new IllegalArgumentException("must not be empty");
        }
        return value;
    }

    /** @param config that names the key; a file beside it can be named by its name alone */
    private Secret key(Path config, Fields fields) {
        String variable = fields.text("key-env", "");
        String file = fields.text("key-file", "");
        if (!variable.isEmpty() && !file.isEmpty()) {
            fields.error("key-file", ": there is a key-env, too; name one of them");
        }
        keyVariables.add(variable);
        if (fields.variables.containsKey("key")) {
            return new Secret(fields.text("key", ""));
        }
        if (!variable.isEmpty()) {
            String value = env.get(variable);
            if (value == null) {
                fields.error("key-env", ": there is no variable " + variable);
            }
            return new Secret(value == null ? "" : value);
        }
        if (!file.isEmpty()) {
            try {
                String key = Files.readString(config.toAbsolutePath().resolveSibling(file))
                        .strip();
                if (key.isEmpty()) {
                    fields.error("key-file", ": " + file + " is empty");
                }
                return new Secret(key);
            } catch (IOException e) {
                fields.error("key-file", ": " + file + " cannot be read");
            }
        }
        return Secret.NONE;
    }

    private void model(Path file, String name, Node key, MappingNode node) {
        String path = "models." + name;
        Fields fields = new Fields(
                file,
                path,
                key,
                node,
                Set.of("backend", "retrieval", "add-context", "local-only", "aliases"),
                Map.of());
        fields.names().forEach(field -> origins.put(path + "." + field, fields.at(field)));
        models.put(
                name,
                new ModelPolicy(
                        name,
                        fields.text("backend", ""),
                        fields.value("retrieval", "auto", words(MODES), "auto"),
                        fields.value("add-context", "true", words(TRUTHS), true),
                        fields.value("local-only", "false", words(TRUTHS), false),
                        fields.list("aliases").stream()
                                .map(ConfigLoader::scalar)
                                .toList()));
    }

    private void variables() {
        Map<String, String> unknown = new TreeMap<>();
        env.forEach((variable, value) -> {
            boolean shortcut = SHORTCUTS.values().stream().anyMatch(fields -> fields.containsValue(variable));
            if (!variable.startsWith("MILLRACE_") || shortcut || OURS.contains(variable)) {
                return;
            }
            Settings.ALL.stream()
                    .filter(setting -> setting.variable().equals(variable))
                    .findFirst()
                    .ifPresentOrElse(
                            setting -> values.put(setting.key(), new Entry(value, variable)),
                            () -> unknown.put(variable, value));
        });
        // a variable that holds a secret may well begin with our name
        Set<String> named = new HashSet<>(keyVariables);
        SECRETS.forEach(setting -> named.add(value(setting, "")));
        unknown.keySet().stream()
                .filter(variable -> !named.contains(variable))
                .forEach(variable -> errors.add(variable + ": is no setting" + meant(variable, Setting::variable)
                        + "; see docs/configuration.md"));
        shortcut("local", Kind.LLAMA_CPP, Locality.LOCAL);
        shortcut("remote", Kind.OPENAI, Locality.REMOTE);
    }

    /** The short cuts to a backend that are set: variables by field. */
    private Map<String, String> shortcuts(String backend) {
        Map<String, String> set = new TreeMap<>(SHORTCUTS.getOrDefault(backend, Map.of()));
        set.values().removeIf(variable -> env.getOrDefault(variable, "").isEmpty());
        return set;
    }

    /** Makes a backend that is not in the file; over one that is, {@link #deployment} has put them already. */
    private void shortcut(String name, Kind kind, Locality locality) {
        Map<String, String> variables = shortcuts(name);
        Backend written = backends.get(name);
        if (written != null) {
            if (written.deployments().size() > 1) {
                variables.values().stream()
                        // the file says itself where this one belongs
                        .filter(variable -> !keyVariables.contains(variable))
                        .forEach(variable -> errors.add(variable + ": backends." + name + " has "
                                + written.deployments().size() + " deployments (" + origins.get("backends." + name)
                                + "), and a variable cannot say which of them it is for; write it there"));
            }
            return;
        }
        String origin = variables.get("url");
        if (origin == null) {
            if (!unsure.contains("backends") && !unsure.contains("backends." + name)) {
                variables.values().stream()
                        .filter(variable -> !keyVariables.contains(variable))
                        .forEach(variable -> errors.add(
                                variable + ": does nothing without MILLRACE_REMOTE_URL, the address of the API"));
            }
            return;
        }
        String url = env.getOrDefault(origin, "");
        try {
            Setting.parseUrl(url);
        } catch (IllegalArgumentException e) {
            errors.add(origin + ": " + e.getMessage());
        }
        Deployment deployment = new Deployment(
                name,
                url,
                env.getOrDefault(variables.getOrDefault("model", ""), ""),
                new Secret(env.getOrDefault(variables.getOrDefault("key", ""), "")),
                0,
                0,
                0,
                DEFAULT_CAPABILITIES,
                concurrency(locality),
                DEFAULT_TIMEOUT);
        backends.put(name, new Backend(name, locality, kind, List.of(deployment)));
        origins.put("backends." + name + ".kind", origin);
        origins.put("backends." + name + ".locality", origin);
        variables.forEach((field, variable) -> origins.put("backends." + name + "." + name + "." + field, variable));
    }

    /** What the variable holds that a setting names; none when it names none. */
    private Secret secret(Setting<String> variable) {
        String name = value(variable, "");
        if (!name.isEmpty() && !env.containsKey(name)) {
            errors.add(origin(variable) + ": " + variable.key() + ": there is no variable " + name);
        }
        return new Secret(env.getOrDefault(name, ""));
    }

    private MillraceConfig build() {
        double local = value(Settings.LOCAL, 0.85);
        double fallback = value(Settings.FALLBACK, 0.70);
        if (areSure(Settings.FALLBACK, Settings.LOCAL) && fallback > local - 0.05 + 1e-9) {
            errors.add(origin(Settings.FALLBACK) + ": routing.fallback " + fallback
                    + " must be at most routing.local − 0.05 (" + local + " from " + origin(Settings.LOCAL) + ")");
        }
        String host = Loopback.plain(value(Settings.LISTEN_HOST, "127.0.0.1"));
        if (!Loopback.is(host)) {
            errors.add(origin(Settings.LISTEN_HOST) + ": listen.host " + host
                    + " is not a loopback address; there are no keys yet, so anybody could ask");
        }
        Decay decay = new Decay(
                value(Settings.DECAY_FIRST, Duration.ofDays(90)),
                value(Settings.DECAY_FIRST_LOSS, 0.10),
                value(Settings.DECAY_SECOND, Duration.ofDays(180)),
                value(Settings.DECAY_SECOND_LOSS, 0.25));
        atLeast(Settings.DECAY_SECOND, decay.second(), Settings.DECAY_FIRST, decay.first());
        String index = value(Settings.INDEX, "lucene");
        String qdrantUrl = value(Settings.QDRANT_URL, "");
        if (areSure(Settings.QDRANT_URL) && index.equals("qdrant") && qdrantUrl.isEmpty()) {
            errors.add(origin(Settings.INDEX) + ": knowledge.index qdrant needs knowledge.qdrant-url");
        }
        String embeddingUrl = value(Settings.EMBEDDING_URL, "");
        if (!embeddingUrl.isEmpty()) {
            checkEmbedding(embeddingUrl);
        } else if (areSure(Settings.EMBEDDING_URL)) {
            for (Setting<String> prefix : List.of(Settings.EMBEDDING_QUERY_PREFIX, Settings.EMBEDDING_PASSAGE_PREFIX)) {
                if (!value(prefix, "").isEmpty()) {
                    errors.add(origin(prefix) + ": " + prefix.key() + " does nothing without knowledge.embedding-url");
                }
            }
        }
        Set<String> names = new HashSet<>();
        backends.values()
                .forEach(backend -> backend.deployments().forEach(deployment -> {
                    if (!deployment.name().isEmpty() && !names.add(deployment.name())) {
                        errors.add(origin("backends." + backend.name() + "." + deployment.name()) + "backends."
                                + backend.name() + ": another deployment has the name " + deployment.name()
                                + ", too");
                    }
                }));
        Set<String> known = new HashSet<>(backends.keySet());
        known.addAll(Set.of("", "local", "remote", "extractive"));
        Map<String, String> aliases = new HashMap<>();
        models.values().forEach(model -> {
            String name = "models." + model.name();
            if (unsure.contains("backends") || unsure.contains("backends." + model.backend())) {
                // told already
            } else if (!known.contains(model.backend())) {
                errors.add(origin(name + ".backend") + name + ".backend: there is no backend " + model.backend());
            } else if (model.localOnly() && isRemote(model.backend())) {
                // nobody wrote that of millrace/local: then it is for the backend to change
                String written = origins.containsKey(name + ".local-only")
                        ? origin(name + ".local-only")
                        : origin("backends." + model.backend());
                errors.add(written + name + ".local-only: what may not leave cannot be sent to the backend "
                        + model.backend() + ", whose locality is remote");
            }
            model.aliases().forEach(alias -> {
                String other = models.containsKey(alias)
                        ? "a model"
                        : known.contains(alias)
                                ? "a backend"
                                : aliases.containsKey(alias) ? "an alias of " + aliases.get(alias) : "";
                if (!other.isEmpty()) {
                    errors.add(origin(name + ".aliases") + name + ".aliases: " + alias + " is also " + other);
                }
                aliases.put(alias, model.name());
            });
        });
        int replication = value(Settings.REPLICATION, 1);
        String brokers = value(Settings.KAFKA, "");
        if (areSure(Settings.KAFKA) && replication > 1 && brokers.isEmpty()) {
            errors.add(origin(Settings.REPLICATION) + ": kafka.replication " + replication
                    + " needs as many brokers, and without kafka.bootstrap-servers there is one");
        }
        Retention retention = new Retention(
                value(Settings.RETENTION_SHORT, Retention.DEFAULT.brief()),
                value(Settings.RETENTION_DAYS, Retention.DEFAULT.days()),
                value(Settings.RETENTION_LONG, Retention.DEFAULT.lasting()));
        Duration deadline = value(Settings.DEADLINE, Duration.ofMinutes(2));
        // work and answers must not expire before those who wait for them, nor one side of a join before the other
        atLeast(Settings.RETENTION_SHORT, retention.brief(), Settings.DEADLINE, deadline);
        atLeast(Settings.RETENTION_DAYS, retention.days(), Settings.RETENTION_SHORT, retention.brief());
        atLeast(Settings.RETENTION_LONG, retention.lasting(), Settings.RETENTION_DAYS, retention.days());
        return new MillraceConfig(
                new Listen(host, value(Settings.LISTEN_PORT, 8092), value(Settings.LISTEN_HOSTS, List.of())),
                new Kafka(
                        brokers,
                        value(Settings.PREFIX, "millrace."),
                        value(Settings.PARTITIONS, LogSettings.DEFAULT_PARTITIONS),
                        replication),
                retention,
                registry(),
                new Postgres(
                        value(Settings.POSTGRES, ""),
                        value(Settings.POSTGRES_USER, "millrace"),
                        secret(Settings.POSTGRES_PASSWORD_ENV)),
                new Redis(value(Settings.REDIS, "")),
                backends,
                models,
                new Routing(
                        local,
                        fallback,
                        value(Settings.QUALITY_BAR, 0.8),
                        value(Settings.REMOTE_MARGIN, 0.0),
                        value(Settings.REMOTE_PRIOR, 0.8),
                        deadline,
                        value(Settings.LEASE, Duration.ofSeconds(5)),
                        value(Settings.ATTEMPTS, 4)),
                new Retrieval(
                        value(Settings.LIMIT, 5),
                        value(Settings.CONTEXT_TOKENS, 1500),
                        value(Settings.MIN_CONTEXT, 0.35),
                        value(Settings.RETRIEVALS, 256),
                        value(Settings.RETRIEVAL_TIMEOUT, Duration.ofSeconds(3)),
                        value(Settings.DIVERSITY, 0.1),
                        value(Settings.TREE, "off").equals("on"),
                        decay,
                        new Rerank(
                                value(Settings.RERANK_URL, ""),
                                value(Settings.RERANK_MODEL, ""),
                                secret(Settings.RERANK_KEY_ENV),
                                value(Settings.RERANK_TIMEOUT, Duration.ofSeconds(1))),
                        new Expansion(
                                value(Settings.EXPAND_URL, ""),
                                value(Settings.EXPAND_MODEL, ""),
                                secret(Settings.EXPAND_KEY_ENV),
                                value(Settings.EXPAND_TIMEOUT, Duration.ofSeconds(4)))),
                new Knowledge(
                        index.equals("qdrant") ? qdrantUrl : "",
                        secret(Settings.QDRANT_KEY_ENV),
                        value(Settings.QDRANT_PREFIX, ""),
                        new Embedding(
                                embeddingUrl,
                                value(Settings.EMBEDDING_MODEL, ""),
                                value(Settings.EMBEDDING_DIMENSIONS, 384),
                                secret(Settings.EMBEDDING_KEY_ENV),
                                value(Settings.EMBEDDING_TIMEOUT, Duration.ofSeconds(10)),
                                value(Settings.EMBEDDING_QUERY_PREFIX, ""),
                                value(Settings.EMBEDDING_PASSAGE_PREFIX, "")),
                        value(Settings.SETTLE_AFTER, Duration.ofSeconds(10)),
                        value(Settings.GARBAGE_EVERY, Duration.ofDays(7)),
                        value(Settings.GARBAGE_AFTER, Duration.ofDays(180))),
                new Cache(
                        value(Settings.CACHE_TTL, Duration.ofDays(1)),
                        value(Settings.CACHE_TIMEOUT, Duration.ofMillis(100)),
                        value(Settings.VARIANT_B, 0.0),
                        value(Settings.CACHE_SEMANTIC, true),
                        value(Settings.CACHE_MAX_ERROR, 0.02),
                        value(Settings.CACHE_MODEL, "")),
                new Dispatch(
                        value(Settings.QUEUE, 10),
                        value(Settings.HEARTBEAT, Duration.ofSeconds(1)),
                        value(Settings.PROBE, Duration.ofMillis(500)),
                        value(Settings.BREAKER, 5),
                        value(Settings.BREAKER_OPEN, Duration.ofSeconds(30))),
                new Limits(
                        value(Settings.BODY, 16L << 20),
                        value(Settings.QUERY_CHARS, 4096),
                        value(Settings.DOCUMENT_CHARS, 51_200),
                        value(Settings.DOCUMENT_REQUESTS, 100),
                        value(Settings.IN_FLIGHT, 4096),
                        value(Settings.BACKLOG, 1024),
                        value(Settings.REQUEST_TIME, Duration.ofMinutes(2)),
                        value(Settings.FREE_DISK, 1L << 30)),
                value(Settings.COLLECTIONS, MillraceConfig.DEFAULT_COLLECTIONS),
                new MillraceConfig.Connect(value(Settings.CONNECT, ""), value(Settings.CONNECT_PLUGINS, "")));
    }

    private void checkEmbedding(String url) {
        if (value(Settings.EMBEDDING_MODEL, "").isEmpty()) {
            errors.add(
                    origin(Settings.EMBEDDING_URL)
                            + ": knowledge.embedding-url needs knowledge.embedding-model: vectors of two models are never compared");
        }
        String host = String.valueOf(URI.create(url).getHost());
        if (!Loopback.is(host) && !value(Settings.EMBEDDING_REMOTE, false)) {
            errors.add(origin(Settings.EMBEDDING_URL) + ": " + host
                    + " is not this machine, and texts that are local_only would go there too;"
                    + " knowledge.embedding-remote: true says that they may");
        }
    }

    private Registry registry() {
        Registry registry = new Registry(
                value(Settings.REGISTRY, ""),
                value(Settings.REGISTRY_USER, ""),
                secret(Settings.REGISTRY_PASSWORD_ENV));
        if (areSure(Settings.REGISTRY)
                && !registry.user().isEmpty()
                && registry.url().isEmpty()) {
            errors.add(origin(Settings.REGISTRY_USER) + ": registry.user does nothing without registry.url");
        }
        if (!registry.user().isEmpty() && registry.url().matches("[^/]*//[^/?#]*@.*")) {
            errors.add(origin(Settings.REGISTRY_USER) + ": registry.user: registry.url holds a user already");
        }
        if (registry.user().isEmpty() && registry.password().isPresent()) {
            errors.add(origin(Settings.REGISTRY_PASSWORD_ENV)
                    + ": registry.password-env is the password of nobody; set registry.user");
        }
        return registry;
    }

    private void atLeast(Setting<Duration> setting, Duration value, Setting<Duration> other, Duration least) {
        if (areSure(setting, other) && value.compareTo(least) < 0) {
            errors.add(origin(setting) + ": " + setting.key() + " " + Setting.written(value) + " must be at least "
                    + other.key() + " (" + Setting.written(least) + " from " + origin(other) + ")");
        }
    }

    /** @param whenWrong only so that checking can go on */
    private <T> T value(Setting<T> setting, T whenWrong) {
        Entry entry = values.get(setting.key());
        try {
            return setting.parser().apply(entry == null ? setting.fallback() : entry.value);
        } catch (IllegalArgumentException e) {
            errors.add(origin(setting) + ": " + setting.key() + " " + e.getMessage());
            unsure.add(setting.key());
            return whenWrong;
        }
    }

    /** Whether no error was told of any of them. */
    private boolean areSure(Setting<?>... settings) {
        return Stream.of(settings).map(Setting::key).noneMatch(unsure::contains);
    }

    private boolean isRemote(String backend) {
        Backend named = backends.get(backend);
        return named == null ? backend.equals("remote") : named.locality() == Locality.REMOTE;
    }

    /** Where a field of a backend or model came from, to begin a line with; empty when nobody wrote it. */
    private String origin(String shown) {
        String at = origins.get(shown);
        return at == null ? "" : at + ": ";
    }

    private String origin(Setting<?> setting) {
        Entry entry = values.get(setting.key());
        return entry == null ? "default" : entry.origin;
    }

    private static <T> Function<String, T> words(Map<String, T> known) {
        return word -> {
            T found = known.get(word);
            if (found == null) {
                throw new IllegalArgumentException(
                        "must be one of " + String.join(", ", new TreeSet<>(known.keySet())));
            }
            return found;
        };
    }

    private static String scalar(Node node) {
        return node instanceof ScalarNode scalar ? scalar.getValue() : "";
    }
}
