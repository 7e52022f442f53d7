package io.millrace.config;

import java.io.StringReader;
import java.nio.file.Path;
import java.util.Collections;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Consumer;
import org.yaml.snakeyaml.LoaderOptions;
import org.yaml.snakeyaml.Yaml;
import org.yaml.snakeyaml.constructor.SafeConstructor;
import org.yaml.snakeyaml.error.MarkedYAMLException;
import org.yaml.snakeyaml.error.YAMLException;
import org.yaml.snakeyaml.nodes.MappingNode;
import org.yaml.snakeyaml.nodes.Node;
import org.yaml.snakeyaml.nodes.NodeTuple;
import org.yaml.snakeyaml.nodes.ScalarNode;
import org.yaml.snakeyaml.nodes.SequenceNode;

/**
 * A YAML file that people write, as nodes that know their lines. No key may stand twice in one place: the later would silently take the
 * earlier one's. SnakeYAML has an option against that, but looks at it only when it makes objects, where lines are lost.
 */
public final class YamlFile {
    private final Path file;
    private final Consumer<String> errors;

    /** An anchored node is met again wherever it is referred to, inside itself too. */
    private final Set<Node> seen = Collections.newSetFromMap(new IdentityHashMap<>());

    private YamlFile(Path file, Consumer<String> errors) {
        this.file = file;
        this.errors = errors;
    }

    /**
     * Reads a text.
     *
     * @param file where it came from
     * @param errors take what is wrong with it, one line each
     * @return its root; empty when there is nothing in it, or it is no YAML
     */
    public static Optional<Node> read(Path file, String text, Consumer<String> errors) {
        try {
            Optional<Node> root = Optional.ofNullable(
                    new Yaml(new SafeConstructor(new LoaderOptions())).compose(new StringReader(text)));
            root.ifPresent(node -> new YamlFile(file, errors).check("", node));
            return root;
        } catch (MarkedYAMLException e) {
            int line = e.getProblemMark() == null ? 0 : e.getProblemMark().getLine() + 1;
            errors.accept(file + ":" + line + ": is not valid YAML: " + e.getProblem());
        } catch (YAMLException e) {
            errors.accept(file + ": is not valid YAML: "
                    + String.valueOf(e.getMessage()).replaceAll("\\s*\\R\\s*", " "));
        }
        return Optional.empty();
    }

    /** Where a node begins, as {@code file:line}. */
    public static String at(Path file, Node node) {
        return file + ":" + (node.getStartMark().getLine() + 1);
    }

    /** The error of a key that stands twice. */
    static String twice(String at, String key, String first) {
        return at + ": " + key + " is set twice, first at " + first;
    }

    private void check(String path, Node node) {
        if (!seen.add(node)) {
            return;
        }
        if (node instanceof MappingNode map) {
            Map<String, String> places = new HashMap<>();
            for (NodeTuple tuple : map.getValue()) {
                if (tuple.getKeyNode() instanceof ScalarNode key) {
                    String below = path.isEmpty() ? key.getValue() : path + "." + key.getValue();
                    String at = at(file, key);
                    String first = places.putIfAbsent(key.getValue(), at);
                    if (first != null) {
                        errors.accept(twice(at, below, first));
                    }
                    check(below, tuple.getValueNode());
                }
            }
        } else if (node instanceof SequenceNode list) {
            for (int i = 0; i < list.getValue().size(); i++) {
                check(path + "[" + i + "]", list.getValue().get(i));
            }
        }
    }
}
