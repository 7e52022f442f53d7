package io.millrace.standalone.cli;

import com.fasterxml.jackson.databind.JsonNode;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code millrace cache}. */
@Command(name = "cache", description = "The response cache.", mixinStandardHelpOptions = true)
public final class CacheCommand {
    @Command(
            name = "clear",
            description = "End all cached answers at once, in all processes.",
            mixinStandardHelpOptions = true)
    int clear(@Mixin Instance instance, @Option(names = "--json", description = "Print the response.") boolean json) {
        JsonNode cleared = Instance.good(instance.delete("/cache"));
        Terminal.line(
                json
                        ? cleared.toPrettyString()
                        : "cleared: epoch " + cleared.path("epoch").asLong());
        return 0;
    }
}
