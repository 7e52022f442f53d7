package io.millrace.standalone.cli;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code millrace status}; exits with 1 when a service is not ready. */
@Command(name = "status", description = "Services, parts and backends.", mixinStandardHelpOptions = true)
public final class StatusCommand implements Callable<Integer> {
    @Mixin
    private Instance instance = new Instance();

    @Option(names = "--json", description = "Print the whole response.")
    private boolean json;

    @Override
    public Integer call() {
        JsonNode status = Instance.good(instance.get("/status"));
        List<String> waiting = new ArrayList<>();
        status.path("services").properties().forEach(service -> {
            if (!service.getValue().asBoolean()) {
                waiting.add(service.getKey());
            }
        });
        if (status.path("services").isEmpty()) {
            waiting.add("no service is reported");
        }
        if (json) {
            Terminal.line(status.toPrettyString());
            return waiting.isEmpty() ? 0 : 1;
        }
        Terminal.line("services   "
                + (waiting.isEmpty() ? "all " + status.path("services").size() + " ready" : "not ready: " + waiting));
        status.path("endpoints")
                .properties()
                .forEach(part -> Terminal.line(Terminal.inLine("%-10s %s%s"
                        .formatted(
                                part.getKey(),
                                part.getValue().asText(),
                                status.path("reachable").path(part.getKey()).asBoolean() ? "" : " (not reachable)"))));
        if (status.path("backends").isEmpty()) {
            Terminal.line("backends   none: answers are extracts. Set MILLRACE_LOCAL_URL or MILLRACE_REMOTE_URL.");
        }
        for (JsonNode backend : status.path("backends")) {
            Terminal.line(Terminal.inLine("%-10s %s %s"
                    .formatted(
                            backend.path("deployment").asText(),
                            backend.path("status").asText(),
                            backend.path("error").asText())));
        }
        return waiting.isEmpty() ? 0 : 1;
    }
}
