package io.millrace.standalone.cli;

import io.millrace.config.ConfigLoader;
import io.millrace.config.ConfigLoader.Loaded;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
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
            System.out.println("the configuration is good"
                    + data.configFile()
                            .map(file -> ": " + file)
                            .orElse(": there is no file, every value is a default or a variable"));
        } else if (json) {
            System.out.println(Instance.JSON.writerWithDefaultPrettyPrinter().writeValueAsString(loaded.view()));
        } else {
            new TreeMap<>(loaded.values())
                    .forEach((key, value) -> System.out.printf(
                            "%-32s %-28s %s%n", key, value, loaded.origins().getOrDefault(key, "default")));
        }
        return 0;
    }
}
