package io.millrace.standalone.cli;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code millrace gc}. */
@Command(
        name = "gc",
        description =
                "Delete documents that no answer or search ever used, or that repeat another; done once a week anyway. Those of declared sources stay.",
        mixinStandardHelpOptions = true)
public final class GarbageCommand implements Callable<Integer> {
    @Mixin
    private Instance instance = new Instance();

    @Option(
            names = "--older-than-days",
            description = "Unused ones that are unchanged for so long. Default: knowledge.gc-after.")
    private @Nullable Integer olderThanDays;

    @Option(names = "--dry-run", description = "Say what would go, and change nothing.")
    private boolean dryRun;

    @Option(names = "--json", description = "Print the whole response.")
    private boolean json;

    @Override
    public Integer call() {
        ObjectNode asked = Instance.JSON.createObjectNode().put("dry_run", dryRun);
        if (olderThanDays != null) {
            asked.put("older_than_days", olderThanDays);
        }
        JsonNode answer = Instance.good(instance.post("/gc", asked));
        if (json) {
            Terminal.line(answer.toPrettyString());
            return 0;
        }
        for (JsonNode document : answer.path("documents")) {
            Terminal.line(Terminal.inLine("%s %s/%s: %s"
                    .formatted(
                            document.path("collection").asText(),
                            document.path("source").asText(),
                            document.path("path").asText(),
                            document.path("reason").asText())));
        }
        long found = answer.path("total_candidates").asLong();
        Terminal.line(found + " documents of no use" + (dryRun || found == 0 ? "; nothing was deleted" : ", deleted"));
        return 0;
    }
}
