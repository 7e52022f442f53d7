package io.millrace.standalone.cli;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.millrace.knowledge.BgeEmbedder;
import io.millrace.knowledge.MiniLmEmbedder;
import io.millrace.knowledge.meaning.LabelledPair;
import io.millrace.knowledge.meaning.SameMeaning;
import io.millrace.learners.evaluation.CacheEvaluation;
import io.millrace.learners.evaluation.CacheEvaluation.PairsException;
import io.millrace.learners.evaluation.CacheEvaluation.Point;
import io.millrace.learners.evaluation.CacheEvaluation.Report;
import io.millrace.standalone.error.UserException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** {@code millrace eval cache}. */
@Command(
        name = "cache",
        description = {
            "Measure the semantic cache's verdict on labelled pairs of questions:",
            "lines of {\"a\": …, \"b\": …, \"same\": true|false}. Learned on one half, measured on the other."
        },
        mixinStandardHelpOptions = true)
public final class EvalCacheCommand implements Callable<Integer> {
    @Option(names = "--pairs", paramLabel = "FILE", required = true, description = "The labelled pairs, JSON lines.")
    private @Nullable Path file;

    @Option(
            names = "--max-error",
            paramLabel = "SHARE",
            defaultValue = "0.02",
            description = "Share of the pairs with different meanings that may be served. Default: ${DEFAULT-VALUE}.")
    private double maxError = 0.02;

    @Option(names = "--swap", description = "Learn on the half that is measured otherwise, and measure on the other.")
    private boolean swap;

    @Option(
            names = "--write",
            paramLabel = "FILE",
            description = "Learn from all pairs too, and write that verifier: what the product ships with is made so.")
    private @Nullable Path write;

    @Option(names = "--json", description = "Print JSON on standard output; progress goes to standard error.")
    private boolean json;

    @Override
    public Integer call() throws IOException {
        if (!(maxError > 0 && maxError <= 0.2)) {
            throw new UserException("--max-error is " + maxError + " and must be above 0 and at most 0.2");
        }
        List<CacheEvaluation.Pair> pairs;
        try {
            pairs = CacheEvaluation.read(Objects.requireNonNull(file));
        } catch (PairsException e) {
            throw new UserException(String.valueOf(e.getMessage()), e);
        }
        try (ScratchFolder scratch = new ScratchFolder();
                MiniLmEmbedder embedder =
                        new MiniLmEmbedder(Runtime.getRuntime().availableProcessors());
                BgeEmbedder second = new BgeEmbedder(Runtime.getRuntime().availableProcessors())) {
            ProgressLine line = new ProgressLine();
            List<LabelledPair> labelled = CacheEvaluation.label(pairs, embedder, second, line::show);
            Report report = CacheEvaluation.run(labelled, embedder, second, maxError, swap ? 1 : 0, line::show);
            if (write != null) {
                SameMeaning all = SameMeaning.train(
                        labelled,
                        embedder.fingerprint(),
                        second.fingerprint(),
                        done -> line.show("trained on all", done, SameMeaning.FITS));
                Files.write(write, all.toBytes());
            }
            line.end();
            print(report);
            return 0;
        } catch (IllegalArgumentException e) {
            throw new UserException(file + ": " + e.getMessage(), e);
        }
    }

    private void print(Report report) {
        if (json) {
            ObjectNode root = Instance.JSON.createObjectNode();
            put(root.putObject("operating_point"), report.verdict());
            put(root.putObject("cosine_baseline"), report.cosine());
            root.putObject("at_max_error")
                    .put("max_error", maxError)
                    .put("hit_rate", report.verdictAtBound())
                    .put("cosine_hit_rate", report.cosineAtBound());
            root.put("calibration_error", report.calibrationError())
                    .put("verdict_us", report.microseconds())
                    .put("trained", report.trained())
                    .put("measured", report.measured());
            System.out.println(root.toPrettyString());
            return;
        }
        System.out.printf("%-16s %9s %12s %10s%n", "", "same", "different", "threshold");
        row("verdict", report.verdict());
        row("fixed cosine", report.cosine());
        System.out.printf(
                Locale.ROOT,
                "at just %.1f %% of the different pairs: %.1f %% and %.1f %% of the same ones%n",
                100 * maxError,
                100 * report.verdictAtBound(),
                100 * report.cosineAtBound());
        System.out.printf(
                Locale.ROOT,
                "learned from %d pairs, measured on %d; calibration error %.3f; %.0f µs a verdict%n",
                report.trained(),
                report.measured(),
                report.calibrationError(),
                report.microseconds());
        if (Double.isInfinite(report.verdict().threshold())) {
            System.out.println("too few pairs to promise that bound: nothing would be served");
        }
    }

    private static void row(String name, Point point) {
        System.out.printf(
                Locale.ROOT,
                "%-16s %7.1f %% %10.2f %% %10.4f%n",
                name,
                100 * point.hitRate(),
                100 * point.falseHitRate(),
                point.threshold());
    }

    private static void put(ObjectNode node, Point point) {
        node.put("hit_rate", point.hitRate()).put("false_hit_rate", point.falseHitRate());
        if (Double.isFinite(point.threshold())) {
            node.put("threshold", point.threshold());
        }
    }
}
