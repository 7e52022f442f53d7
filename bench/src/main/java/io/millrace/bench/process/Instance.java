package io.millrace.bench.process;

import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;

/**
 * {@code millrace up} with one remote deployment and retrieval off.
 *
 * @param url its base
 */
public record Instance(Program program, URI url) {
    /** A model of it: remote, without retrieval. */
    public static final String MODEL = "bare";

    private static final Duration START = Duration.ofMinutes(2);
    private static final Pattern READY = Pattern.compile("millrace ready (http\\S+)");

    /**
     * Starts one and waits until it is ready.
     *
     * @param folder for its configuration and its data, which is kept between starts
     * @param outputs for what it prints
     * @param upstream base URL of the deployment
     */
    public static Instance start(Path launcher, Path folder, Path outputs, String upstream, int partitions)
            throws IOException {
        Path config = folder.resolve("millrace.yaml");
        Files.writeString(config, """
                kafka: {partitions: %d}
                backends:
                  remote:
                    kind: openai
                    deployments:
                      - {name: remote, url: "%s", model: stub, timeout: 60s, concurrency: 1024}
                models:
                  %s: {backend: remote, retrieval: "off", add-context: false}
                """.formatted(partitions, upstream, MODEL));
        Program program = Program.start(
                "millrace",
                outputs.resolve("millrace.log"),
                Map.of(),
                List.of(
                        launcher.toAbsolutePath().toString(),
                        "up",
                        "--port",
                        "0",
                        "--data",
                        folder.resolve("data").toString(),
                        "--config",
                        config.toString()));
        return new Instance(program, URI.create(program.await(READY, START)));
    }
}
