package io.millrace.standalone;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.millrace.config.ConfigLoader;
import io.millrace.standalone.cli.DataOption;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code millrace rebuild}; exits with 1 when the counts do not agree. */
@Command(
        name = "rebuild",
        description = "Drop a projection and make it anew from archive and log; nothing may run on the data folder.",
        mixinStandardHelpOptions = true)
public final class RebuildCommand implements Callable<Integer> {
    @Mixin
    private DataOption data = new DataOption();

    @Parameters(paramLabel = "WHAT", description = "index, postgres or redis.")
    private Rebuild.What what = Rebuild.What.INDEX;

    @Option(names = "--json", description = "Print the counts as JSON.")
    private boolean json;

    @Override
    public Integer call() {
        ConfigLoader.Loaded loaded = ConfigLoader.load(data.configFile(), System.getenv(), Map.of());
        Rebuild.Result result = Rebuild.run(loaded, data.folder(), what, line -> {
            if (!json) {
                System.out.println(line);
            }
        });
        if (json) {
            ObjectNode node = new ObjectMapper().createObjectNode();
            node.put("rebuilt", what.name().toLowerCase(Locale.ROOT)).put("exact", result.exact());
            new TreeMap<>(result.counts()).forEach(node::put);
            System.out.println(node.toPrettyString());
        } else {
            System.out.println(result.exact() ? "the counts agree" : "the counts do not agree: " + result.counts());
        }
        return result.exact() ? 0 : 1;
    }
}
