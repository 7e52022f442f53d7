package io.millrace.standalone.cli;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.millrace.knowledge.BgeEmbedder;
import io.millrace.knowledge.MiniLmEmbedder;
import io.millrace.knowledge.meaning.ErrorBound;
import io.millrace.knowledge.meaning.LabelledPair;
import io.millrace.knowledge.meaning.SameMeaning;
import io.millrace.learners.evaluation.CacheEvaluation;
import io.millrace.learners.evaluation.CacheEvaluation.Answered;
import io.millrace.learners.evaluation.CacheEvaluation.FullCache;
import io.millrace.learners.evaluation.CacheEvaluation.PairsException;
import io.millrace.learners.evaluation.CacheEvaluation.Point;
import io.millrace.learners.evaluation.CacheEvaluation.Report;
import io.millrace.learners.evaluation.CacheEvaluation.Split;
import io.millrace.standalone.error.UserException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.DoubleSummaryStatistics;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.function.Function;
import java.util.function.ToDoubleFunction;
import java.util.function.ToIntFunction;
import java.util.stream.DoubleStream;
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
            names = "--splits",
            paramLabel = "N",
            defaultValue = "1",
            description = {
                "Halve the pairs in N ways, 1 to 1000, and tell the means, and in how many the bound was kept.",
                "Default: ${DEFAULT-VALUE}. Each takes about as long as the first."
            })
    private int splits = 1;

    @Option(
            names = "--queries",
            paramLabel = "N",
            defaultValue = "0",
            description = {
                "Fill a cache with N questions of the measured half, up to 10000, ask the others, and tell what was served.",
                "The product's cache holds 512 of a caller's."
            })
    private int queries;

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
        if (splits < 1 || splits > 1_000) {
            throw new UserException("--splits is " + splits + " and must be 1 to 1000");
        }
        if (queries < 0 || queries > 10_000) {
            throw new UserException("--queries is " + queries + " and must be 0 to 10000");
        }
        // now, and not after all the work
        Path into = write == null ? null : write.toAbsolutePath().getParent();
        if (into != null && !Files.isDirectory(into)) {
            throw new UserException("--write " + write + ": there is no folder " + into);
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
            List<Report> reports = new ArrayList<>();
            for (int i = 0; i < splits; i++) {
                String step = splits == 1 ? "trained" : "split " + (i + 1) + " of " + splits + ", trained";
                reports.add(CacheEvaluation.run(
                        labelled,
                        embedder,
                        second,
                        maxError,
                        queries,
                        new Split(i, swap ? 1 : 0),
                        (what, done, all) -> line.show(what.equals("trained") ? step : what, done, all)));
            }
            if (write != null) {
                SameMeaning all = SameMeaning.train(
                        labelled,
                        embedder.fingerprint(),
                        second.fingerprint(),
                        done -> line.show("trained on all", done, SameMeaning.FITS));
                Files.write(write, all.toBytes());
            }
            line.end();
            print(reports);
            return 0;
        } catch (IllegalArgumentException e) {
            throw new UserException(file + ": " + e.getMessage(), e);
        }
    }

    private void print(List<Report> reports) {
        if (json) {
            System.out.println(json(reports).toPrettyString());
            return;
        }
        if (reports.size() == 1) {
            print(reports.getFirst());
            return;
        }
        System.out.printf("%-26s %8s %8s %8s%n", reports.size() + " ways to halve", "least", "mean", "most");
        row("verdict, same", "%", percent(reports, report -> report.verdict().hitRate()));
        row(
                "verdict, different",
                "%",
                percent(reports, report -> report.verdict().falseHitRate()));
        row(
                "fixed cosine, same",
                "%",
                percent(reports, report -> report.cosine().hitRate()));
        row(
                "fixed cosine, different",
                "%",
                percent(reports, report -> report.cosine().falseHitRate()));
        row(
                "verdict : cosine",
                "×",
                reports.stream().mapToDouble(EvalCacheCommand::ratio).filter(Double::isFinite));
        System.out.printf(
                Locale.ROOT,
                "the verdict kept %.1f %% in %d of %d (promised: %.0f %% of them), the cosine in %d%n",
                100 * maxError,
                kept(reports, Report::verdict),
                reports.size(),
                100 * ErrorBound.CONFIDENCE,
                kept(reports, Report::cosine));
        full(reports);
        sayWhenTooFew(reports);
    }

    /** Of all splits together. */
    private static void full(List<Report> reports) {
        List<FullCache> full =
                reports.stream().flatMap(report -> report.full().stream()).toList();
        if (full.isEmpty()) {
            return;
        }
        int asked = sum(full, FullCache::asked);
        System.out.printf(
                Locale.ROOT,
                "%na cache of %d questions, %d queries, of which %d are labelled the same as one in it%n",
                sum(full, FullCache::cached) / full.size(),
                asked,
                sum(full, FullCache::partnered));
        System.out.printf(
                "%-16s %9s %9s %9s %12s %20s%n", "of the queries", "served", "right", "wrong", "not labelled", "error");
        answered("verdict", full, FullCache::verdict, asked);
        answered("fixed cosine", full, FullCache::cosine, asked);
    }

    private static void answered(String name, List<FullCache> full, Function<FullCache, Answered> of, int asked) {
        double percent = 100.0 / asked;
        int wrong = sum(full, each -> of.apply(each).wrong());
        int unlabelled = sum(full, each -> of.apply(each).unlabelled());
        System.out.printf(
                Locale.ROOT,
                "%-16s %7.2f %% %7.2f %% %7.2f %% %10.2f %% %9.2f to %.2f %%%n",
                name,
                percent * sum(full, each -> of.apply(each).served()),
                percent * sum(full, each -> of.apply(each).right()),
                percent * wrong,
                percent * unlabelled,
                percent * wrong,
                percent * (wrong + unlabelled));
    }

    private static void putAnswered(ObjectNode node, List<FullCache> full, Function<FullCache, Answered> of) {
        double asked = sum(full, FullCache::asked);
        int wrong = sum(full, each -> of.apply(each).wrong());
        int unlabelled = sum(full, each -> of.apply(each).unlabelled());
        node.put("served", sum(full, each -> of.apply(each).served()) / asked)
                .put("right", sum(full, each -> of.apply(each).right()) / asked)
                .put("error_at_least", wrong / asked)
                .put("error_at_most", (wrong + unlabelled) / asked);
    }

    private static int sum(List<FullCache> full, ToIntFunction<FullCache> of) {
        return full.stream().mapToInt(of).sum();
    }

    /** Means, and with several splits each of them. */
    private ObjectNode json(List<Report> reports) {
        ObjectNode root = Instance.JSON.createObjectNode();
        put(root.putObject("operating_point"), reports, Report::verdict);
        put(root.putObject("cosine_baseline"), reports, Report::cosine);
        root.putObject("at_max_error")
                .put("max_error", maxError)
                .put("hit_rate", mean(reports, Report::verdictAtBound))
                .put("cosine_hit_rate", mean(reports, Report::cosineAtBound));
        root.put("calibration_error", mean(reports, Report::calibrationError))
                .put("verdict_us", mean(reports, Report::microseconds))
                .put("trained", Math.round(mean(reports, Report::trained)))
                .put("measured", Math.round(mean(reports, Report::measured)));
        List<FullCache> full =
                reports.stream().flatMap(report -> report.full().stream()).toList();
        if (!full.isEmpty()) {
            ObjectNode queried = root.putObject("full_cache")
                    .put("cached", sum(full, FullCache::cached) / full.size())
                    .put("asked", sum(full, FullCache::asked))
                    .put("partnered", sum(full, FullCache::partnered));
            putAnswered(queried.putObject("verdict"), full, FullCache::verdict);
            putAnswered(queried.putObject("cosine_baseline"), full, FullCache::cosine);
        }
        if (reports.size() > 1) {
            ObjectNode bound = root.putObject("splits")
                    .put("count", reports.size())
                    .put("bound_kept", kept(reports, Report::verdict))
                    .put("promised", ErrorBound.CONFIDENCE)
                    .put("cosine_bound_kept", kept(reports, Report::cosine));
            ArrayNode each = bound.putArray("each");
            reports.forEach(report -> {
                ObjectNode one = each.addObject();
                put(one.putObject("operating_point"), List.of(report), Report::verdict);
                put(one.putObject("cosine_baseline"), List.of(report), Report::cosine);
            });
        }
        return root;
    }

    private static double mean(List<Report> reports, ToDoubleFunction<Report> of) {
        return reports.stream().mapToDouble(of).average().orElseThrow();
    }

    private static DoubleStream percent(List<Report> reports, ToDoubleFunction<Report> share) {
        return reports.stream().mapToDouble(share).map(value -> 100 * value);
    }

    private static double ratio(Report report) {
        return report.verdict().hitRate() / report.cosine().hitRate();
    }

    private int kept(List<Report> reports, Function<Report, Point> point) {
        return (int) reports.stream()
                .filter(report -> point.apply(report).falseHitRate() <= maxError)
                .count();
    }

    private static void row(String name, String unit, DoubleStream values) {
        DoubleSummaryStatistics summary = values.summaryStatistics();
        System.out.printf(
                Locale.ROOT,
                "%-26s %8.2f %8.2f %8.2f %s%n",
                name,
                summary.getMin(),
                summary.getAverage(),
                summary.getMax(),
                unit);
    }

    private void print(Report report) {
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
        full(List.of(report));
        sayWhenTooFew(List.of(report));
    }

    private static void sayWhenTooFew(List<Report> reports) {
        if (reports.stream()
                .anyMatch(report -> Double.isInfinite(report.verdict().threshold()))) {
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

    private static void put(ObjectNode node, List<Report> reports, Function<Report, Point> point) {
        node.put("hit_rate", mean(reports, report -> point.apply(report).hitRate()));
        node.put("false_hit_rate", mean(reports, report -> point.apply(report).falseHitRate()));
        double threshold = mean(reports, report -> point.apply(report).threshold());
        if (Double.isFinite(threshold)) {
            node.put("threshold", threshold);
        }
    }
}
