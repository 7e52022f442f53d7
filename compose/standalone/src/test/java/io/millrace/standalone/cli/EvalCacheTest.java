package io.millrace.standalone.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import io.millrace.knowledge.meaning.SameMeaning;
import io.millrace.standalone.error.UserException;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.Set;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

/** The command as a person runs it, with the real model; nothing else runs. */
class EvalCacheTest {
    @TempDir
    Path folder;

    /** All are near each other; the same number makes the same question. */
    @Test
    void shouldPrintBothOperatingPointsAsJsonAndWriteTheVerifier() throws IOException {
        Path pairs = gates();
        Path written = folder.resolve("verifier.bin");

        Run run = run("--pairs", pairs.toString(), "--max-error", "0.1", "--json", "--write", written.toString());

        assertThat(run.error).hasMessage("none");
        JsonNode json = Instance.JSON.readTree(run.out);
        assertThat(json.at("/operating_point/hit_rate").asDouble()).isGreaterThan(0.9);
        assertThat(json.at("/operating_point/false_hit_rate").asDouble(1)).isLessThan(0.1);
        assertThat(json.at("/cosine_baseline/hit_rate").asDouble(-1)).isBetween(0.0, 1.0);
        assertThat(json.path("trained").asInt() + json.path("measured").asInt()).isEqualTo(200);
        assertThat(json.has("splits")).isFalse();
        try (InputStream in = Files.newInputStream(written)) {
            assertThat(SameMeaning.read(in).threshold(0.1)).isLessThan(1);
        }
    }

    @Test
    void shouldSayInHowManyHalvesTheBoundWasKept() throws IOException {
        Path pairs = gates();

        Run run = run("--pairs", pairs.toString(), "--max-error", "0.1", "--json", "--splits", "4");

        assertThat(run.error).hasMessage("none");
        JsonNode json = Instance.JSON.readTree(run.out);
        JsonNode splits = json.path("splits");
        assertThat(splits.path("each")).hasSize(4);
        assertThat(splits.path("promised").asDouble()).isEqualTo(0.95);
        int kept = 0;
        double hits = 0;
        Set<Double> thresholds = new HashSet<>();
        for (JsonNode each : splits.path("each")) {
            kept += each.at("/operating_point/false_hit_rate").asDouble(1) <= 0.1 ? 1 : 0;
            hits += each.at("/operating_point/hit_rate").asDouble() / 4;
            thresholds.add(each.at("/cosine_baseline/threshold").asDouble());
        }
        assertThat(splits.path("bound_kept").asInt(-1)).isEqualTo(kept).isPositive();
        assertThat(json.at("/operating_point/hit_rate").asDouble()).isCloseTo(hits, within(1e-9));
        assertThat(thresholds).as("of halves that differ").hasSizeGreaterThan(1);

        Run table = run("--pairs", pairs.toString(), "--max-error", "0.1", "--splits", "2");
        assertThat(table.out)
                .containsPattern("the verdict kept 10.0 % in [0-2] of 2 \\(promised: 95 % of them\\), the cosine in")
                .contains("verdict : cosine");
        assertThat(run("--pairs", pairs.toString(), "--splits", "0").error)
                .hasMessage("--splits is 0 and must be 1 to 1000");
    }

    /** In each half some gates of which two questions are the same, others that only differ from theirs. */
    @Test
    void shouldTellTheErrorAQueryInAFullCache() throws IOException {
        Path pairs = gates();

        Run run = run("--pairs", pairs.toString(), "--max-error", "0.1", "--json", "--queries", "30");

        assertThat(run.error).hasMessage("none");
        JsonNode json = Instance.JSON.readTree(run.out);
        JsonNode full = json.path("full_cache");
        assertThat(full.path("cached").asInt()).isEqualTo(30);
        // each pair has two questions of its own; the half's are cached or asked
        assertThat(full.path("asked").asInt())
                .isEqualTo(2 * json.path("measured").asInt() - 30);
        assertThat(full.path("partnered").asInt()).isEqualTo(30);
        double partnered = 30.0 / full.path("asked").asInt();
        JsonNode verdict = full.path("verdict");
        assertThat(verdict.path("right").asDouble())
                .as("the number tells the gate among all those that are near")
                .isBetween(0.9 * partnered, partnered);
        assertThat(verdict.path("error_at_most").asDouble(1)).isLessThan(0.1);
        assertThat(verdict.path("served").asDouble())
                .isCloseTo(
                        verdict.path("right").asDouble()
                                + verdict.path("error_at_most").asDouble(),
                        within(1e-9));
        JsonNode cosine = full.path("cosine_baseline");
        assertThat(cosine.path("error_at_least").asDouble(-1))
                .isBetween(0.0, cosine.path("error_at_most").asDouble());

        assertThat(run("--pairs", pairs.toString(), "--max-error", "0.1", "--queries", "30").out)
                .contains("a cache of 30 questions")
                .containsPattern("verdict +[0-9.]+ % +[0-9.]+ % +[0-9.]+ % +[0-9.]+ % +[0-9.]+ to [0-9.]+ %");
        assertThat(run("--pairs", pairs.toString(), "--queries", "-1").error)
                .hasMessage("--queries is -1 and must be 0 to 10000");
    }

    private Path gates() throws IOException {
        Path pairs = folder.resolve("pairs.jsonl");
        StringBuilder lines = new StringBuilder();
        for (int i = 0; i < 200; i++) {
            boolean same = i % 2 == 0;
            lines.append("{\"a\":\"How do I open gate ")
                    .append(i)
                    .append(" of the mill?\",\"b\":\"How can I open gate ")
                    .append(same ? i : i + 1_000)
                    .append(" of the mill?\",\"same\":")
                    .append(same)
                    .append("}\n");
        }
        return Files.writeString(pairs, lines);
    }

    @Test
    void shouldSayWhichLineIsWrong() throws IOException {
        Path pairs = folder.resolve("pairs.jsonl");
        Files.writeString(pairs, "{\"a\":\"x\",\"b\":\"y\",\"same\":\"yes\"}\n");

        Run run = run("--pairs", pairs.toString());

        assertThat(run.code).isNotZero();
        assertThat(run.error)
                .isInstanceOf(UserException.class)
                .hasMessageEndingWith("pairs.jsonl:1: same is missing or neither true nor false");
    }

    @Test
    void shouldSayThatOnePairIsTooFew() throws IOException {
        Path pairs = folder.resolve("pairs.jsonl");
        Files.writeString(pairs, "{\"a\":\"x\",\"b\":\"y\",\"same\":true}\n");

        assertThat(run("--pairs", pairs.toString()).error)
                .isInstanceOf(UserException.class)
                .hasMessageContaining("both halves need pairs of both kinds");
    }

    private record Run(int code, String out, Exception error) {}

    private static Run run(String... arguments) {
        AtomicReference<Exception> error = new AtomicReference<>(new IllegalStateException("none"));
        PrintStream before = System.out;
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        try {
            System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
            int code = new CommandLine(new EvalCacheCommand())
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
