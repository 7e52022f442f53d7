package io.millrace.bench.path;

import io.millrace.bench.load.LoadGenerator;
import io.millrace.bench.load.Result;
import io.millrace.bench.load.Target;
import io.millrace.bench.process.Instance;
import io.millrace.bench.process.Program;
import io.millrace.bench.stub.StubUpstream;
import io.vertx.core.json.JsonArray;
import io.vertx.core.json.JsonObject;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import org.apache.kafka.common.utils.Utils;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/**
 * The query path, retrieval off and the log on, beside the stub alone, the same number of bare Kafka hops on the same broker (once of plain
 * consumers, once of the kinds that the path is made of), and other gateways: closed loops with each number of clients, in rounds that alternate between the targets, so that the noise of a shared machine meets all of them.
 * The figures of a target are its round with the median rate. Load generator and stub share one process, each target has its own; all share the cores.
 */
@Command(
        name = "path",
        description = "Added latency and throughput, beside bare Kafka hops and other gateways.",
        mixinStandardHelpOptions = true)
public final class PathBenchmark implements Callable<Integer> {
    private static final String BODY = """
            {"model":"%s","messages":[{"role":"user","content":"What is the capital of France, and since when? Answer in one sentence, please."}]}""";

    /** queries, dispatch, replies: as cheap as hops can be, and as the path reads them. */
    private static final List<Floor.Hop> PLAIN = List.of(Floor.Hop.CONSUMER, Floor.Hop.CONSUMER, Floor.Hop.CONSUMER);

    private static final List<Floor.Hop> SAME = List.of(Floor.Hop.STREAMS, Floor.Hop.SHARE, Floor.Hop.CONSUMER);

    /** queries, retrievals, dispatch, replies: the path of a query that evidence is searched for. */
    private static final List<Floor.Hop> LONGER =
            List.of(Floor.Hop.CONSUMER, Floor.Hop.STREAMS, Floor.Hop.SHARE, Floor.Hop.CONSUMER);

    private static final int PARTITIONS = 2;

    /** It does not start without one. */
    private static final String LITELLM_KEY = "sk-bench-0123456789abcdef";

    private static final Duration START = Duration.ofMinutes(2);

    private static final Duration WINDOW = Duration.ofSeconds(10);

    /** Windows in a row that are not faster than the fastest before. */
    private static final int PATIENCE = 4;

    /** Clients with which the compiler gets most to do first. */
    private static final int COMPILING = 64;

    /** Times the fastest rate: less is noise. */
    private static final double FASTER = 1.02;

    @Option(
            names = "--clients",
            split = ",",
            defaultValue = "1,64,512",
            description = "Numbers of clients (default: ${DEFAULT-VALUE})")
    private List<Integer> clients = List.of();

    @Option(
            names = "--seconds",
            defaultValue = "8",
            description = "Measured time of a round (default: ${DEFAULT-VALUE})")
    private int seconds;

    @Option(names = "--rounds", defaultValue = "3", description = "Rounds (default: ${DEFAULT-VALUE})")
    private int rounds;

    @Option(
            names = "--warm-up",
            defaultValue = "300",
            description =
                    "Most seconds of warm-up for each target and number of clients; less when it gets no faster (default: ${DEFAULT-VALUE})")
    private int warmUp;

    @Option(names = "--portkey", description = "Folder in which `npm install @portkey-ai/gateway` was run.")
    private @Nullable Path portkey;

    @Option(names = "--litellm", description = "The litellm program of a `pip install 'litellm[proxy]'`.")
    private @Nullable Path litellm;

    @Option(
            names = "--launcher",
            defaultValue = "${sys:millrace.home}/millrace",
            description = "The millrace launcher (default: ${DEFAULT-VALUE})")
    private Path launcher = Path.of("millrace");

    @Option(names = "--log", description = "Keep the targets' output in this folder.")
    private @Nullable Path logs;

    private final List<Program> programs = new ArrayList<>();

    /** A target and its process; the stub alone has none. */
    private record Contender(Target target, @Nullable Program program) {}

    @Override
    public Integer call() throws Exception {
        Path folder = Files.createTempDirectory("millrace-path");
        Path outputs = logs == null ? folder : Files.createDirectories(logs);
        StubUpstream stub = new StubUpstream("stub", 64, 0).start(0);
        try (LoadGenerator load = new LoadGenerator()) {
            List<Contender> contenders = new ArrayList<>();
            contenders.add(new Contender(
                    new Target(
                            "the stub alone",
                            URI.create(stub.url() + "/v1/chat/completions"),
                            Map.of(),
                            BODY.formatted("stub")),
                    null));
            Contender millrace = millrace(folder, outputs, stub);
            contenders.add(millrace);
            if (portkey != null) {
                contenders.add(portkey(portkey, outputs, stub));
            }
            if (litellm != null) {
                contenders.add(litellm(litellm, folder, outputs, stub));
            }
            String kafka = get(millrace.target().uri().resolve("/status"))
                    .getJsonObject("endpoints")
                    .getString("kafka");
            try (Floor plain = new Floor("3 hops, plain", kafka, PLAIN, PARTITIONS);
                    Floor same = new Floor("3 hops, as the path's", kafka, SAME, PARTITIONS);
                    Floor longer = new Floor("4 hops, as a search's", kafka, LONGER, PARTITIONS)) {
                List<Floor> floors = List.of(plain, same, longer);
                warmUp(load, floors, contenders, COMPILING);
                JsonArray report = new JsonArray();
                for (int count : clients) {
                    report.add(measure(load, floors, contenders, count));
                }
                System.out.println(new JsonObject()
                        .put("path", report)
                        .put("memory_mb", memory(contenders))
                        .encode());
            }
        } finally {
            programs.forEach(Program::close);
            stub.close();
            Utils.delete(folder.toFile());
        }
        return 0;
    }

    private interface Load {
        Result run(Duration window) throws InterruptedException;
    }

    private void warmUp(LoadGenerator load, List<Floor> floors, List<Contender> contenders, int count)
            throws InterruptedException {
        System.err.println("warming up with " + count);
        for (Floor floor : floors) {
            warmUp(window -> floor.closed(count, Duration.ZERO, window));
        }
        for (Contender contender : contenders) {
            warmUp(window -> load.closed(contender.target(), count, Duration.ZERO, window));
        }
    }

    /** Until the compiler has nothing left that shows: as long as one of the last windows was the fastest. */
    private void warmUp(Load load) throws InterruptedException {
        double fastest = 0;
        int since = 0;
        for (int window = 1; window * WINDOW.toSeconds() <= warmUp && since < PATIENCE; window++) {
            Result result = load.run(WINDOW);
            since = result.rate() > fastest * FASTER ? 0 : since + 1;
            fastest = Math.max(fastest, result.rate());
            System.err.printf(
                    Locale.ROOT,
                    "  %-22s %6.0f /s after %d s%n",
                    result.name(),
                    result.rate(),
                    window * WINDOW.toSeconds());
        }
    }

    private JsonObject measure(LoadGenerator load, List<Floor> floors, List<Contender> contenders, int count)
            throws InterruptedException {
        // what the compiler made of batches is not what it makes of single records
        if (count != COMPILING) {
            warmUp(load, floors, contenders, count);
        }
        List<List<Result>> results = new ArrayList<>();
        Duration warm = Duration.ofSeconds(1);
        Duration measured = Duration.ofSeconds(seconds);
        for (int round = 0; round < rounds; round++) {
            List<Result> each = new ArrayList<>();
            for (Floor floor : floors) {
                each.add(floor.closed(count, warm, measured));
            }
            for (Contender contender : contenders) {
                each.add(load.closed(contender.target(), count, warm, measured));
            }
            results.add(each);
        }
        System.out.println(count + (count == 1 ? " client" : " clients"));
        JsonObject json = new JsonObject().put("clients", count);
        for (int i = 0; i < results.getFirst().size(); i++) {
            int column = i;
            Result median = results.stream()
                    .map(round -> round.get(column))
                    .sorted(Comparator.comparingDouble(Result::rate))
                    .toList()
                    .get(rounds / 2);
            System.out.println("  " + median.line());
            json.put(
                    median.name(),
                    new JsonObject()
                            .put("per_second", Math.round(median.rate()))
                            .put("p50_ms", median.ms(50))
                            .put("p99_ms", median.ms(99))
                            .put("errors", median.errors()));
        }
        return json;
    }

    private static JsonObject memory(List<Contender> contenders) {
        JsonObject json = new JsonObject();
        for (Contender contender : contenders) {
            if (contender.program() != null) {
                contender.program().memory().ifPresent(bytes -> {
                    long mb = bytes / 1_000_000;
                    json.put(contender.target().name(), mb);
                    System.out.printf(
                            Locale.ROOT, "%-22s %5d MB%n", contender.target().name(), mb);
                });
            }
        }
        return json;
    }

    private Contender millrace(Path folder, Path outputs, StubUpstream stub) throws IOException {
        Instance instance = Instance.start(launcher, folder, outputs, stub.url(), PARTITIONS);
        programs.add(instance.program());
        return new Contender(
                new Target(
                        "millrace",
                        instance.url().resolve("/v1/chat/completions"),
                        Map.of(),
                        BODY.formatted(Instance.MODEL)),
                instance.program());
    }

    private Contender portkey(Path folder, Path outputs, StubUpstream stub) throws Exception {
        int port = freePort();
        Program program = start(
                "portkey",
                outputs,
                Map.of(),
                List.of(
                        "node",
                        folder.resolve("node_modules/@portkey-ai/gateway/build/start-server.js")
                                .toString(),
                        "--headless",
                        "--port=" + port));
        URI uri = URI.create("http://127.0.0.1:" + port + "/v1/chat/completions");
        Target target = new Target(
                "portkey",
                uri,
                Map.of(
                        "x-portkey-provider", "openai",
                        "x-portkey-custom-host", stub.url() + "/v1",
                        "Authorization", "Bearer k"),
                BODY.formatted("stub"));
        awaitPort(program, port);
        return new Contender(target, program);
    }

    private Contender litellm(Path binary, Path folder, Path outputs, StubUpstream stub) throws Exception {
        int port = freePort();
        Path config = folder.resolve("litellm.yaml");
        Files.writeString(config, """
                model_list:
                  - model_name: stub
                    litellm_params: {model: openai/x, api_base: "%s/v1", api_key: k}
                general_settings: {master_key: "%s"}
                """.formatted(stub.url(), LITELLM_KEY));
        Program program = start(
                "litellm",
                outputs,
                Map.of("LITELLM_TELEMETRY", "False", "LITELLM_LOCAL_MODEL_COST_MAP", "True", "LITELLM_LOG", "ERROR"),
                List.of(
                        binary.toAbsolutePath().toString(),
                        "--config",
                        config.toString(),
                        "--host",
                        "127.0.0.1",
                        "--port",
                        Integer.toString(port),
                        "--num_workers",
                        "2"));
        awaitPort(program, port);
        return new Contender(
                new Target(
                        "litellm",
                        URI.create("http://127.0.0.1:" + port + "/v1/chat/completions"),
                        Map.of("Authorization", "Bearer " + LITELLM_KEY),
                        BODY.formatted("stub")),
                program);
    }

    private Program start(String name, Path outputs, Map<String, String> variables, List<String> command) {
        Program program = Program.start(name, outputs.resolve(name + ".log"), variables, command);
        programs.add(program);
        return program;
    }

    private static void awaitPort(Program program, int port) throws InterruptedException {
        long end = System.nanoTime() + START.toNanos();
        while (true) {
            try (java.net.Socket socket = new Socket(InetAddress.getLoopbackAddress(), port)) {
                return;
            } catch (IOException e) {
                if (!program.isAlive() || System.nanoTime() > end) {
                    throw new IllegalStateException("it does not listen; it said:\n" + program.output(), e);
                }
                Thread.sleep(100);
            }
        }
    }

    private static JsonObject get(URI uri) throws IOException, InterruptedException {
        try (HttpClient client = HttpClient.newHttpClient()) {
            return new JsonObject(client.send(HttpRequest.newBuilder(uri).build(), HttpResponse.BodyHandlers.ofString())
                    .body());
        }
    }

    private static int freePort() throws IOException {
        try (ServerSocket socket = new ServerSocket(0)) {
            return socket.getLocalPort();
        }
    }
}
