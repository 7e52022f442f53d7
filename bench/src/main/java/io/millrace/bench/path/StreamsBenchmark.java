package io.millrace.bench.path;

import io.millrace.bench.process.Instance;
import io.millrace.bench.stub.StubUpstream;
import io.vertx.core.Future;
import io.vertx.core.Promise;
import io.vertx.core.Vertx;
import io.vertx.core.VertxOptions;
import io.vertx.core.http.HttpClientAgent;
import io.vertx.core.http.HttpClientOptions;
import io.vertx.core.http.HttpClientResponse;
import io.vertx.core.http.HttpMethod;
import io.vertx.core.http.PoolOptions;
import io.vertx.core.http.RequestOptions;
import io.vertx.core.json.JsonObject;
import io.vertx.core.parsetools.RecordParser;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import org.HdrHistogram.Histogram;
import org.apache.kafka.common.utils.Utils;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/**
 * Many streams at once through the log, beside the same from the stub. The stub numbers its deltas, so a reader sees what is lost,
 * doubled or out of order. Exits with 1 when anything is.
 */
@Command(
        name = "streams",
        description = "Concurrent streams: every delta, once, in order.",
        mixinStandardHelpOptions = true)
public final class StreamsBenchmark implements Callable<Integer> {
    @Option(names = "--streams", defaultValue = "512", description = "At once (default: ${DEFAULT-VALUE})")
    private int streams;

    @Option(names = "--deltas", defaultValue = "64", description = "In each (default: ${DEFAULT-VALUE})")
    private int deltas;

    @Option(
            names = "--pace",
            defaultValue = "20",
            description = "Milliseconds between deltas (default: ${DEFAULT-VALUE})")
    private int pace;

    @Option(
            names = "--rounds",
            defaultValue = "5",
            description = "Rounds; the first two warm up (default: ${DEFAULT-VALUE})")
    private int rounds;

    @Option(
            names = "--launcher",
            defaultValue = "${sys:millrace.home}/millrace",
            description = "The millrace launcher (default: ${DEFAULT-VALUE})")
    private Path launcher = Path.of("millrace");

    /** What became of one round. */
    private static final class Tally {
        private final Histogram firstMs = new Histogram(600_000, 3);
        private final Histogram totalMs = new Histogram(600_000, 3);
        private int whole;
        private int broken;
    }

    @Override
    public Integer call() throws Exception {
        Path folder = Files.createTempDirectory("millrace-streams");
        Vertx vertx = Vertx.vertx(new VertxOptions().setEventLoopPoolSize(1));
        StubUpstream stub = new StubUpstream("stub", deltas, pace).start(0);
        Instance instance = Instance.start(launcher, folder, folder, stub.url(), 2);
        try (AutoCloseable program = instance.program()) {
            HttpClientAgent client =
                    vertx.createHttpClient(new HttpClientOptions(), new PoolOptions().setHttp1MaxSize(streams));
            boolean well = true;
            JsonObject report = new JsonObject()
                    .put("streams", streams)
                    .put("deltas", deltas)
                    .put("pace_ms", pace);
            for (int round = 1; round <= rounds; round++) {
                Tally direct = round(client, URI.create(stub.url()), "stub");
                Tally through = round(client, instance.url(), Instance.MODEL);
                well &= through.whole == streams;
                if (round > 2) {
                    print("stub alone", direct);
                    print("millrace", through);
                    report.put("first_p50_ms", through.firstMs.getValueAtPercentile(50))
                            .put("first_p99_ms", through.firstMs.getValueAtPercentile(99))
                            .put("total_p50_ms", through.totalMs.getValueAtPercentile(50))
                            .put("direct_total_p50_ms", direct.totalMs.getValueAtPercentile(50));
                }
            }
            System.out.println(report.put("well", well).encode());
            return well ? 0 : 1;
        } finally {
            vertx.close().toCompletionStage().toCompletableFuture().join();
            stub.close();
            Utils.delete(folder.toFile());
        }
    }

    private static void print(String name, Tally tally) {
        System.out.printf(
                Locale.ROOT,
                "%-12s whole %d, broken %d; first delta p50 %d ms p99 %d ms; whole stream p50 %d ms p99 %d ms%n",
                name,
                tally.whole,
                tally.broken,
                tally.firstMs.getValueAtPercentile(50),
                tally.firstMs.getValueAtPercentile(99),
                tally.totalMs.getValueAtPercentile(50),
                tally.totalMs.getValueAtPercentile(99));
    }

    private Tally round(HttpClientAgent client, URI base, String model) throws Exception {
        Tally tally = new Tally();
        List<Future<Void>> all = new ArrayList<>();
        for (int i = 0; i < streams; i++) {
            all.add(one(client, base, """
                    {"model":"%s","stream":true,"messages":[{"role":"user","content":"Count, please."}]}""".formatted(model), tally));
        }
        Future.join(all)
                .otherwiseEmpty()
                .toCompletionStage()
                .toCompletableFuture()
                .get(120, TimeUnit.SECONDS);
        return tally;
    }

    private Future<Void> one(HttpClientAgent client, URI base, String body, Tally tally) {
        long began = System.nanoTime();
        return client.request(new RequestOptions()
                        .setMethod(HttpMethod.POST)
                        .setAbsoluteURI(base.resolve("/v1/chat/completions").toString())
                        .putHeader("Content-Type", "application/json"))
                .compose(request -> request.send(body))
                .compose(response -> follow(response, began, tally))
                .onFailure(error -> tally.broken++);
    }

    private Future<Void> follow(HttpClientResponse response, long began, Tally tally) {
        Promise<Void> done = Promise.promise();
        int[] next = {0};
        boolean[] ended = {false};
        RecordParser lines = RecordParser.newDelimited("\n", line -> {
            String text = line.toString();
            if (text.equals("data: [DONE]")) {
                ended[0] = true;
            } else if (text.startsWith("data: ")) {
                String content = content(new JsonObject(text.substring(6)));
                if (!content.isEmpty()) {
                    if (next[0] == 0) {
                        tally.firstMs.recordValue((System.nanoTime() - began) / 1_000_000);
                    }
                    boolean expected = content.strip().endsWith(Integer.toString(next[0]));
                    next[0] = expected ? next[0] + 1 : -1_000_000;
                }
            }
        });
        response.handler(lines).exceptionHandler(done::tryFail).endHandler(end -> {
            if (ended[0] && next[0] == deltas) {
                tally.whole++;
                tally.totalMs.recordValue((System.nanoTime() - began) / 1_000_000);
            } else {
                tally.broken++;
            }
            done.tryComplete();
        });
        return done.future();
    }

    private static String content(JsonObject chunk) {
        if (chunk.getJsonArray("choices") == null
                || chunk.getJsonArray("choices").isEmpty()) {
            return "";
        }
        JsonObject delta = chunk.getJsonArray("choices").getJsonObject(0).getJsonObject("delta", new JsonObject());
        String content = delta.getString("content");
        return content == null ? "" : content;
    }
}
