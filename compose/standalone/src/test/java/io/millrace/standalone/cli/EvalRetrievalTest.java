package io.millrace.standalone.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import io.millrace.standalone.error.UserException;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

/** The command as a person runs it, with the real model and index; nothing else runs. */
class EvalRetrievalTest {
    @TempDir
    Path folder;

    @Test
    void shouldPrintEachModesMetricsAsJson() throws IOException {
        Files.createDirectories(folder.resolve("qrels"));
        Files.writeString(folder.resolve("corpus.jsonl"), """
                {"_id":"bread","title":"Bread","text":"Knead flour, water, yeast and salt; bake the loaf for forty minutes."}
                {"_id":"tide","title":"Tides","text":"The sea rises and falls twice a day under the pull of the moon."}
                {"_id":"engine","title":"Engine","text":"Pistons turn the crankshaft when fuel burns in the cylinders."}
                {"_id":"tax","title":"Tax","text":"Income above the allowance is taxed at the basic rate."}
                """);
        Files.writeString(folder.resolve("queries.jsonl"), """
                {"_id":"words","text":"flour and yeast"}
                {"_id":"meaning","text":"why does the ocean level change"}
                """);
        Files.writeString(folder.resolve("qrels/test.tsv"), "words\tbread\t1\nmeaning\ttide\t2\n");

        Run run = run("--dir", folder.toString(), "--json");

        assertThat(run.code).isZero();
        JsonNode json = Instance.JSON.readTree(run.out);
        // no word of the second question is in its document: only meaning finds it
        assertThat(json.at("/keyword/mrr").asDouble()).isEqualTo(0.5);
        assertThat(json.at("/semantic/ndcg@10").asDouble()).isEqualTo(1);
        assertThat(json.at("/hybrid/ndcg@10").asDouble()).isEqualTo(1);
        assertThat(json.at("/hybrid/recall@100").asDouble()).isEqualTo(1);
        assertThat(json.at("/passages").asInt()).isEqualTo(4);
    }

    /** ArguAna: every query is a document, and what is asked for is the argument against it. */
    @Test
    void shouldNotLetAQueryFindItself() throws IOException {
        Files.createDirectories(folder.resolve("qrels"));
        String claim = "Zoos protect endangered animals from extinction by breeding them.";
        Files.writeString(folder.resolve("corpus.jsonl"), """
                {"_id":"zoo-pro","title":"","text":"%s"}
                {"_id":"zoo-con","title":"","text":"Zoos breed animals that never return to the wild; extinction is not prevented.","metadata":{}}
                {"_id":"tax-con","title":"","text":"Income above the allowance is taxed at the basic rate.","metadata":{}}
                """.formatted(claim));
        Files.writeString(folder.resolve("queries.jsonl"), "{\"_id\":\"zoo-pro\",\"text\":\"%s\"}\n".formatted(claim));
        Files.writeString(folder.resolve("qrels/test.tsv"), "query-id\tcorpus-id\tscore\nzoo-pro\tzoo-con\t1\n");

        Run run = run("--dir", folder.toString(), "--json");

        assertThat(run.code).isZero();
        JsonNode json = Instance.JSON.readTree(run.out);
        for (String mode : new String[] {"keyword", "semantic", "hybrid"}) {
            assertThat(json.at("/" + mode + "/mrr").asDouble()).as(mode).isEqualTo(1);
        }
    }

    /** Missing abstracts are common in BEIR's collections, and all but one of these documents were lost. */
    @Test
    void shouldFindEachOfTheDocumentsWithoutATextAndOfThoseWithTheSame() throws IOException {
        Files.createDirectories(folder.resolve("qrels"));
        Files.writeString(folder.resolve("corpus.jsonl"), """
                {"_id":"lift","title":"Lift of a thin wing","text":""}
                {"_id":"drag","title":"Drag of a thin wing","text":""}
                {"_id":"same","title":"","text":"How does a thin wing fly?"}
                {"_id":"case","title":"","text":"how does a thin wing fly?"}
                """);
        Files.writeString(folder.resolve("queries.jsonl"), "{\"_id\":\"q\",\"text\":\"thin wing\"}\n");
        Files.writeString(folder.resolve("qrels/test.tsv"), "q\tlift\t1\nq\tdrag\t1\nq\tsame\t1\nq\tcase\t1\n");

        Run run = run("--dir", folder.toString(), "--json");

        assertThat(run.code).isZero();
        JsonNode json = Instance.JSON.readTree(run.out);
        for (String mode : new String[] {"keyword", "semantic", "hybrid"}) {
            assertThat(json.at("/" + mode + "/recall@100").asDouble()).as(mode).isEqualTo(1);
        }
    }

    @Test
    void shouldSayWhichFileIsMissing() {
        Run run = run("--dir", folder.toString());

        assertThat(run.code).isNotZero();
        assertThat(run.error).isInstanceOf(UserException.class).hasMessageEndingWith("corpus.jsonl: is not there");
    }

    private record Run(int code, String out, Exception error) {}

    private static Run run(String... arguments) {
        AtomicReference<Exception> error = new AtomicReference<>(new IllegalStateException("none"));
        PrintStream before = System.out;
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        try {
            System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
            int code = new CommandLine(new EvalRetrievalCommand())
                    .setExecutionExceptionHandler((failure, command, result) -> {
                        error.set(failure);
                        return 1;
                    })
                    .execute(arguments);
            return new Run(code, out.toString(StandardCharsets.UTF_8), error.get());
        } finally {
            System.setOut(before);
        }
    }
}
