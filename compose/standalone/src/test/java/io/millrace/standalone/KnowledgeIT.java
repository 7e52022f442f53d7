package io.millrace.standalone;

import static io.millrace.standalone.Live.await;
import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.standalone.cli.SourcesCommand;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

/** What becomes of knowledge in the first seconds of an instance, and when it is quiet. */
class KnowledgeIT {
    private static final int PAGES = 6;

    @TempDir
    static Path folder;

    private static Live live;
    private static int code;
    private static String said = "";

    @BeforeAll
    static void start() throws IOException {
        Path docs = Files.createDirectories(folder.resolve("docs"));
        for (int i = 0; i < PAGES; i++) {
            Files.writeString(
                    docs.resolve("page" + i + ".md"), "# Page " + i + "\n\nPaddle " + i + " of the wheel is of oak.\n");
        }
        Path data = Files.createDirectories(folder.resolve("data"));
        Files.writeString(
                data.resolve("knowledge-sources.yaml"),
                "sources:\n  - {id: early, type: local_dir, path: " + docs + "}\n");
        live = Live.start(data, Map.of("knowledge.settle-after", "500ms"));
        // at once: Kafka Connect does not run yet
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        PrintStream before = System.out;
        System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
        try {
            code = new CommandLine(new SourcesCommand())
                    .setExecutionExceptionHandler((error, line, result) -> {
                        System.out.println(error.getMessage());
                        return 1;
                    })
                    .execute("sync", "early", "--data", data.toString());
        } finally {
            System.setOut(before);
        }
        said = out.toString(StandardCharsets.UTF_8);
    }

    @AfterAll
    static void stop() {
        live.close();
    }

    @Test
    void shouldReadASourceThatIsAskedForAsSoonAsTheInstanceIsUp() throws Exception {
        assertThat(code).as(said).isZero();
        assertThat(said).contains("early").contains(PAGES + " documents, " + PAGES + " searchable");
        assertThat(live.found("paddle of the wheel of oak")).contains("page0.md");
    }

    /** Each document that is waited for becomes a segment of its own, and each segment is searched on its own. */
    @Test
    void shouldMergeTheSegmentsOfTheIndexWhenItIsQuietAndFindTheSame() throws Exception {
        for (int i = 0; i < PAGES; i++) {
            live.add("gates", "gate" + i + ".md", "# Gate " + i + "\n\nSluice gate " + i + " is of larch.\n");
        }

        await(() -> settled() >= 1);
        // on the disk with the next commit
        await(() -> segments() == 1);
        assertThat(live.found("sluice gate of larch"))
                .contains("gate0.md", "gate1.md", "gate2.md", "gate3.md", "gate4.md", "gate5.md");
        assertThat(live.found("paddle of the wheel of oak")).contains("page0.md", "page5.md");
    }

    private static double settled() throws Exception {
        return live.get("/metrics")
                .body()
                .lines()
                .filter(line -> line.startsWith("millrace_index_settled_seconds_count"))
                .mapToDouble(line -> Double.parseDouble(line.substring(line.lastIndexOf(' ') + 1)))
                .sum();
    }

    private static long segments() throws IOException {
        try (Stream<Path> files = Files.list(live.data().resolve("index"))) {
            return files.filter(file -> file.toString().endsWith(".si")).count();
        }
    }
}
