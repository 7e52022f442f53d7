package io.millrace.standalone.cli;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.millrace.standalone.error.UserException;
import java.io.IOException;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code millrace rate}. */
@Command(name = "rate", description = "Say whether an answer was good.", mixinStandardHelpOptions = true)
public final class RateCommand implements Callable<Integer> {
    private enum Verdict {
        good,
        bad
    }

    @Mixin
    private Instance instance = new Instance();

    @Parameters(index = "0", paramLabel = "ID|last")
    private String id = "";

    @Parameters(index = "1", paramLabel = "good|bad")
    private Verdict verdict = Verdict.good;

    @Option(names = "--note", paramLabel = "TEXT", description = "Why.")
    private String note = "";

    @Override
    public Integer call() throws IOException {
        Path last = instance.data().folder().resolve("last-interaction");
        if (id.equals("last") && !Files.exists(last)) {
            throw new UserException("nothing was asked with ./millrace ask yet on "
                    + instance.data().folder() + ": name an interaction by its id");
        }
        String interaction = id.equals("last") ? Files.readString(last).strip() : id;
        ObjectNode request = Instance.JSON.createObjectNode().put("rating", verdict == Verdict.good ? 1 : -1);
        if (!note.isEmpty()) {
            request.put("note", note);
        }
        Instance.good(instance.post("/feedback/" + segment(interaction), request));
        Terminal.line("recorded: " + verdict + " for " + interaction);
        return 0;
    }

    /** Whatever was typed is one segment of a path; the server says that it is no id. */
    private static String segment(String typed) {
        return URLEncoder.encode(typed, StandardCharsets.UTF_8).replace("+", "%20");
    }
}
