package io.millrace.bench.crash;

import io.vertx.core.json.JsonObject;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.Callable;
import org.apache.kafka.common.utils.Utils;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** {@code millrace bench crash}; exits with 1 when something was lost, doubled or contradicted. */
@Command(
        name = "crash",
        description =
                "Kills every kind of process under load, and counts what the log, the store and the clients have.",
        mixinStandardHelpOptions = true)
public final class CrashBenchmark implements Callable<Integer> {
    @Option(names = "--rounds", defaultValue = "20", description = "Kills of each kind (default: ${DEFAULT-VALUE})")
    private int rounds;

    @Option(names = "--rate", defaultValue = "50", description = "Requests a second (default: ${DEFAULT-VALUE})")
    private int rate;

    @Option(names = "--kinds", split = ",", description = "What is killed (default: every kind)")
    private List<String> kinds = CrashRun.kinds();

    @Option(names = "--seed", defaultValue = "1", description = "Of moments and orders (default: ${DEFAULT-VALUE})")
    private long seed;

    @Option(
            names = "--launcher",
            defaultValue = "${sys:millrace.home}/millrace",
            description = "The millrace launcher (default: ${DEFAULT-VALUE})")
    private Path launcher = Path.of("millrace");

    @Option(names = "--keep", description = "Keep data and outputs.")
    private boolean keep;

    @Override
    public Integer call() throws Exception {
        Path folder = Files.createTempDirectory("millrace-crash");
        try (CrashRun run = new CrashRun(
                List.of(launcher.toAbsolutePath().toString()), folder, seed, line -> System.err.println(line))) {
            CrashRun.Verdict verdict = run.run(kinds, rounds, rate);
            System.out.println("accepted " + verdict.accepted() + ", terminal records " + verdict.outcomes());
            System.out.println("clients saw " + verdict.client());
            System.out.println("without an end " + verdict.unended().size() + ", ended twice "
                    + verdict.twice().size() + ", ended unasked "
                    + verdict.unasked().size() + ", rows missing "
                    + verdict.missing().size() + ", rows too many "
                    + verdict.surplus().size()
                    + ", answered to a client and not in the log "
                    + verdict.contradicted().size());
            System.out.println(new JsonObject()
                    .put("accepted", verdict.accepted())
                    .put("outcomes", new JsonObject(new java.util.TreeMap<>(verdict.outcomes())))
                    .put("client", new JsonObject(new java.util.TreeMap<>(verdict.client())))
                    .put("holds", verdict.holds())
                    .encode());
            return verdict.holds() ? 0 : 1;
        } finally {
            if (keep) {
                System.err.println("kept " + folder);
            } else {
                Utils.delete(folder.toFile());
            }
        }
    }
}
