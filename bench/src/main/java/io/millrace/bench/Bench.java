package io.millrace.bench;

import io.millrace.bench.crash.CrashBenchmark;
import io.millrace.bench.knowledge.IngestBenchmark;
import io.millrace.bench.knowledge.SearchBenchmark;
import io.millrace.bench.path.PathBenchmark;
import io.millrace.bench.path.StreamsBenchmark;
import io.millrace.bench.process.StartBenchmark;
import io.millrace.bench.sink.SinkBenchmark;
import picocli.CommandLine;
import picocli.CommandLine.Command;

/** {@code millrace bench}: every number in docs/benchmarks.md is one of its commands. */
@Command(
        name = "millrace bench",
        description = "Benchmarks; each prints a table, then one line of JSON.",
        mixinStandardHelpOptions = true,
        subcommands = {
            PathBenchmark.class,
            StreamsBenchmark.class,
            CrashBenchmark.class,
            StartBenchmark.class,
            SinkBenchmark.class,
            SearchBenchmark.class,
            IngestBenchmark.class
        })
public final class Bench {
    private Bench() {}

    /** Exits with 0 when the benchmark ran. */
    public static void main(String[] arguments) {
        System.exit(new CommandLine(new Bench()).execute(arguments));
    }
}
