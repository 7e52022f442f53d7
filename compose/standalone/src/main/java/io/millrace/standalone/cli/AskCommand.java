package io.millrace.standalone.cli;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.millrace.standalone.parts.DataFolder;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code millrace ask}. */
@Command(
        name = "ask",
        description = "Ask a question; prints the answer and why it was routed as it was.",
        mixinStandardHelpOptions = true)
public final class AskCommand implements Callable<Integer> {
    @Mixin
    private Instance instance = new Instance();

    @Parameters(paramLabel = "QUESTION", arity = "1..*", description = "In one word or in several.")
    private List<String> question = List.of();

    @Option(names = "--json", description = "Print the whole response.")
    private boolean json;

    @Option(names = "--local", description = "Force the local model.")
    private boolean local;

    @Option(names = "--remote", description = "Force the remote model.")
    private boolean remote;

    @Override
    public Integer call() {
        ObjectNode request = Instance.JSON
                .createObjectNode()
                .put("query", String.join(" ", question))
                .put("generate_response", true);
        if (local) {
            request.put("force_local", true);
        }
        if (remote) {
            request.put("force_remote", true);
        }
        JsonNode answer = Instance.good(instance.post("/query", request));
        String id = answer.path("interaction_id").asText();
        remember(id);
        if (json) {
            Terminal.line(answer.toPrettyString());
            return 0;
        }
        Terminal.line(answer.path("response").asText());
        JsonNode decision = answer.path("decision");
        boolean extract = decision.path("route").asText().equals("extractive");
        if (!extract && decision.path("context_added").asBoolean()) {
            Terminal.line("");
            int number = 1;
            for (JsonNode hit : answer.path("results").path("combined_results")) {
                Terminal.line("[" + number++ + "] "
                        + Terminal.inLine(hit.path("payload").path("title").asText() + " ("
                                + hit.path("payload").path("path").asText() + ")"));
            }
        }
        Terminal.line("");
        Terminal.line(Terminal.inLine(explain(decision, answer)));
        return 0;
    }

    /** For {@code rate last}. */
    private void remember(String id) {
        Path folder = instance.data().folder();
        if (!Files.isDirectory(folder)) {
            return;
        }
        try {
            Files.writeString(folder.resolve("last-interaction"), id);
        } catch (IOException e) {
            // somebody else's, or its disk is full: no reason to keep the answer back
            Terminal.error("millrace: rate last will not find this answer: " + DataFolder.reason(e));
        }
    }

    private static String explain(JsonNode decision, JsonNode answer) {
        String text = "— route " + decision.path("route").asText() + " ("
                + decision.path("reason").asText() + ")";
        if (!decision.path("deployment").asText().isEmpty()) {
            text += ", deployment " + decision.path("deployment").asText();
        }
        if (decision.path("confidence").isNumber()) {
            text += String.format(
                    Locale.ROOT,
                    ", confidence %.2f (%s)",
                    decision.path("confidence").asDouble(),
                    decision.path("confidence_kind").asText());
        }
        if (decision.path("context_score").isNumber()) {
            text += String.format(
                    Locale.ROOT,
                    ", context score %.2f",
                    decision.path("context_score").asDouble());
        }
        return text + ", " + answer.path("latency_ms").asLong() + " ms, id "
                + answer.path("interaction_id").asText();
    }
}
