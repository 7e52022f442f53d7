package io.millrace.standalone.cli;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code millrace gaps}. */
@Command(
        name = "gaps",
        description = "What was asked in seven days and is not known, each with the command that would fill it.",
        mixinStandardHelpOptions = true)
public final class GapsCommand implements Callable<Integer> {
    @Mixin
    private Instance instance = new Instance();

    @Option(names = "--limit", description = "At most so many, 1 to 100. Default: 10.")
    private int limit = 10;

    @Option(names = "--json", description = "Print the whole response.")
    private boolean json;

    @Override
    public Integer call() {
        JsonNode gaps = Instance.good(instance.get("/gaps?limit=" + limit));
        if (json) {
            Terminal.line(gaps.toPrettyString());
            return 0;
        }
        if (gaps.path("gaps").isEmpty()) {
            Terminal.line("no gaps in seven days");
        }
        for (JsonNode gap : gaps.path("gaps")) {
            Terminal.line(String.format(
                    Locale.ROOT,
                    "%4d ×  %s  (context score %.2f)%n        %s",
                    gap.path("count").asLong(),
                    Terminal.inLine(gap.path("query").asText()),
                    gap.path("context_score").asDouble(),
                    Terminal.inLine(gap.path("fill").asText())));
        }
        return 0;
    }
}
