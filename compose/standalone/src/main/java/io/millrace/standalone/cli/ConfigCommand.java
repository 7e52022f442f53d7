package io.millrace.standalone.cli;

import io.millrace.config.ConfigLoader;
import io.millrace.config.ConfigLoader.Loaded;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.regex.Pattern;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code millrace config}. */
@Command(
        name = "config",
        description = "Check the configuration, or show it with where each value comes from.",
        mixinStandardHelpOptions = true)
public final class ConfigCommand implements Callable<Integer> {
    /** Wide enough for nearly all values, and the table for a terminal of 100 columns where they are defaults. */
    private static final int VALUES = 40;

    private static final Pattern AFTER_COMMA = Pattern.compile("(?<=,)");

    private enum Action {
        check,
        show
    }

    @Mixin
    private DataOption data = new DataOption();

    @Parameters(paramLabel = "check|show")
    private Action action = Action.check;

    @Option(names = "--json", description = "Print as JSON.")
    private boolean json;

    @Override
    public Integer call() throws com.fasterxml.jackson.core.JsonProcessingException {
        Loaded loaded = ConfigLoader.load(data.configFile(), System.getenv(), Map.of());
        if (action == Action.check) {
            Terminal.line("the configuration is good"
                    + data.configFile()
                            .map(file -> ": " + file)
                            .orElse(": there is no file, every value is a default or a variable"));
        } else if (json) {
            Terminal.line(Instance.JSON.writerWithDefaultPrettyPrinter().writeValueAsString(loaded.view()));
        } else {
            table(loaded).forEach(Terminal::line);
        }
        return 0;
    }

    /** Key, value and where the value comes from. */
    static List<String> table(Loaded loaded) {
        int keys =
                loaded.values().keySet().stream().mapToInt(String::length).max().orElse(1);
        String row = "%-" + keys + "s  %-" + VALUES + "s  %s";
        List<String> rows = new ArrayList<>();
        new TreeMap<>(loaded.values()).forEach((key, value) -> {
            String left = key;
            String right = loaded.origins().getOrDefault(key, "default");
            for (String part : parts(Terminal.inLine(value))) {
                boolean fits = part.length() <= VALUES;
                rows.add(row.formatted(left, part, fits ? right : "").stripTrailing());
                left = "";
                right = fits ? "" : right;
            }
            if (!right.isEmpty()) {
                rows.add(row.formatted("", "", right));
            }
        });
        return rows;
    }

    /** A list that is longer than its column goes on below; what is no list, such as a URL, stays whole to be copied. */
    private static List<String> parts(String value) {
        List<String> parts = new ArrayList<>();
        StringBuilder part = new StringBuilder();
        for (String each : AFTER_COMMA.split(value, -1)) {
            if (!part.isEmpty() && part.length() + each.length() > VALUES) {
                parts.add(part.toString());
                part.setLength(0);
            }
            part.append(each);
        }
        parts.add(part.toString());
        return parts;
    }
}
