package io.millrace.bench.process;

import io.vertx.core.json.JsonObject;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.apache.kafka.common.utils.Utils;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/**
 * Time from the command to the line that says ready, and memory when it is: on a new folder, on the same after a clean stop, and after SIGKILL. Ready
 * means that a query went through the log into Postgres.
 */
@Command(name = "start", description = "Start times and memory of `millrace up`.", mixinStandardHelpOptions = true)
public final class StartBenchmark implements Callable<Integer> {
    @Option(names = "--rounds", defaultValue = "5", description = "Starts of each kind (default: ${DEFAULT-VALUE})")
    private int rounds;

    @Option(
            names = "--launcher",
            defaultValue = "${sys:millrace.home}/millrace",
            description = "The millrace launcher (default: ${DEFAULT-VALUE})")
    private Path launcher = Path.of("millrace");

    @Override
    public Integer call() throws Exception {
        List<Double> fresh = new ArrayList<>();
        List<Double> warm = new ArrayList<>();
        List<Double> killed = new ArrayList<>();
        List<Double> memory = new ArrayList<>();
        for (int round = 0; round < rounds; round++) {
            Path folder = Files.createTempDirectory("millrace-start");
            try {
                fresh.add(start(folder, memory, false));
                warm.add(start(folder, memory, true));
                killed.add(start(folder, memory, false));
            } finally {
                Utils.delete(folder.toFile());
            }
        }
        JsonObject report = new JsonObject();
        print("new folder", "s", fresh, report);
        print("after a clean stop", "s", warm, report);
        print("after a kill -9", "s", killed, report);
        print("memory", "MB", memory, report);
        System.out.println(report.encode());
        return 0;
    }

    private double start(Path folder, List<Double> memory, boolean kill) throws IOException {
        long began = System.nanoTime();
        Instance instance = Instance.start(launcher, folder, folder, "http://127.0.0.1:9", 2);
        try (Program program = instance.program()) {
            double seconds = (System.nanoTime() - began) / 1e9;
            program.memory().ifPresent(bytes -> memory.add(bytes / 1e6));
            if (kill) {
                program.kill();
            }
            return seconds;
        }
    }

    private static void print(String name, String unit, List<Double> values, JsonObject report) {
        Collections.sort(values);
        double median = values.isEmpty() ? Double.NaN : values.get(values.size() / 2);
        System.out.printf(Locale.ROOT, "%-20s median %7.1f %s  %s%n", name, median, unit, values);
        report.put(name, median);
    }
}
