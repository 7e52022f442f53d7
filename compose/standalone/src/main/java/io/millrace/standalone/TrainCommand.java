package io.millrace.standalone;

import io.millrace.config.ConfigLoader;
import io.millrace.standalone.Standalone.Knowledge;
import io.millrace.standalone.cli.DataOption;
import io.millrace.standalone.cli.Terminal;
import io.millrace.standalone.error.UserException;
import io.millrace.standalone.parts.AotCache;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/**
 * {@code millrace train}: two runs on an empty folder, from which the launcher lets the JVM make its AOT caches. Two, because a start that
 * finds what another left uses other classes; the children learn from the second.
 */
@Command(
        name = "train",
        hidden = true,
        description = "Start, answer two queries, stop, twice.",
        mixinStandardHelpOptions = true)
public final class TrainCommand implements Callable<Integer> {
    private static final String QUERY = "{\"query\":\"How is a query routed?\",\"generate_response\":true}";
    private static final String CHAT =
            "{\"model\":\"millrace\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"How is a query routed?\"}]}";

    @Mixin
    private DataOption data = new DataOption();

    @Override
    public Integer call() throws IOException, InterruptedException {
        run();
        System.setProperty(AotCache.TRAIN_PROPERTY, "true");
        run();
        return 0;
    }

    private void run() throws IOException, InterruptedException {
        // without the user's file and variables: a backend that is configured is not asked for this
        ConfigLoader.Loaded loaded = ConfigLoader.load(Optional.empty(), Map.of(), Map.of("listen.port", "0"));
        List<Knowledge> docs = Standalone.ownDocs()
                .map(folder -> new Knowledge(
                        "docs", folder, loaded.config().collections().getFirst()))
                .stream()
                .toList();
        try (Standalone standalone = Standalone.start(loaded, data.folder(), docs, Terminal::line);
                HttpClient http = HttpClient.newHttpClient()) {
            send(http, standalone.url() + "/query", QUERY);
            send(http, standalone.url() + "/v1/chat/completions", CHAT);
        }
    }

    private static void send(HttpClient http, String url, String body) throws IOException, InterruptedException {
        HttpResponse<String> response = http.send(
                HttpRequest.newBuilder(URI.create(url))
                        .header("Content-Type", "application/json")
                        .POST(HttpRequest.BodyPublishers.ofString(body))
                        .build(),
                HttpResponse.BodyHandlers.ofString());
        if (response.statusCode() != 200) {
            throw new UserException(url + " answered HTTP " + response.statusCode() + ": " + response.body());
        }
    }
}
