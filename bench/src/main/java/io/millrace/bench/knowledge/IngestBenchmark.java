package io.millrace.bench.knowledge;

import com.sun.management.OperatingSystemMXBean;
import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import io.millrace.bench.sink.BenchBroker;
import io.millrace.config.MillraceConfig;
import io.millrace.knowledge.Chunker;
import io.millrace.knowledge.LuceneIndex;
import io.millrace.knowledge.MiniLmEmbedder;
import io.millrace.learners.knowledge.DocumentTable;
import io.millrace.learners.knowledge.FolderLoader;
import io.millrace.learners.knowledge.Normalizer;
import io.millrace.learners.knowledge.PassageWorker;
import io.millrace.learners.knowledge.SourceBook;
import io.millrace.log.Codecs;
import io.millrace.log.InMemorySchemaRegistry;
import io.millrace.log.Log;
import io.millrace.log.LogProducer;
import io.millrace.log.LogSettings;
import io.millrace.log.TopicAdmin;
import io.millrace.log.Topics;
import io.millrace.schema.Passage;
import io.millrace.service.Service;
import io.millrace.sinks.index.IndexProjection;
import io.vertx.core.json.JsonObject;
import java.lang.management.GarbageCollectorMXBean;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.kafka.common.utils.Utils;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/**
 * Passages a second from files of a folder until searches see them, through the log, against what the embedding model alone makes of the same texts in the
 * same batches. Broker, workers and index share the machine with the model. Rounds alternate.
 */
@Command(
        name = "ingest",
        description = "Passages a second into the index, against the embedding model alone.",
        mixinStandardHelpOptions = true)
public final class IngestBenchmark implements Callable<Integer> {
    private static final int BATCH = 32;
    private static final int WORKERS = 2;

    @Option(names = "--dir", required = true, description = "A folder of Markdown or text files")
    private Path dir = Path.of("");

    @Option(
            names = "--rounds",
            defaultValue = "3",
            description = "Rounds; each takes the folder in as another source (default: ${DEFAULT-VALUE})")
    private int rounds;

    @Option(
            names = "--warm-up",
            defaultValue = "14",
            description =
                    "Rounds before: the compiler takes a core for the first ones, and is at work for two minutes (default: ${DEFAULT-VALUE})")
    private int warmUp;

    @Override
    public Integer call() throws Exception {
        Path folder = Files.createTempDirectory("millrace-ingest");
        try (BenchBroker broker = BenchBroker.start(folder.resolve("kafka"));
                // as the standalone process has it
                MiniLmEmbedder embedder =
                        new MiniLmEmbedder(Runtime.getRuntime().availableProcessors())) {
            LogSettings settings = new LogSettings(broker.bootstrapServers(), "bench.", 2, (short) 1);
            new TopicAdmin(settings).createAndVerify(Topics.all(List.of()));
            Codecs codecs = new Codecs(new InMemorySchemaRegistry(), settings.prefix());
            try (LogProducer producer = new LogProducer(settings, codecs)) {
                Log log = new Log(settings, codecs, producer, new SimpleMeterRegistry());
                // the projection closes it
                LuceneIndex index = LuceneIndex.open(folder.resolve("index"), embedder.fingerprint());
                DocumentTable documents = new DocumentTable(log);
                List<Service> services = List.of(
                        new IndexProjection(
                                log,
                                index,
                                embedder.fingerprint(),
                                MillraceConfig.defaults().knowledge().settleAfter()),
                        documents,
                        new Normalizer(log, documents, new SourceBook(), List.of("nixos-docs")),
                        new PassageWorker(log, embedder, documents));
                services.forEach(Service::start);
                try {
                    while (!services.stream().allMatch(Service::isReady)) {
                        Thread.sleep(10);
                    }
                    run(log, index, embedder);
                } finally {
                    services.reversed().forEach(Service::close);
                }
            }
        } finally {
            Utils.delete(folder.toFile());
        }
        return 0;
    }

    private void run(Log log, LuceneIndex index, MiniLmEmbedder embedder) throws Exception {
        List<Double> ingest = new ArrayList<>();
        List<Double> alone = new ArrayList<>();
        long[] processor = new long[2];
        long[] machinery = new long[2];
        List<List<String>> texts = List.of();
        for (int round = 0; round < warmUp + rounds; round++) {
            long began = processorTime();
            long[] compiled = machinery();
            double ingested = ingest(log, index, "round-" + round);
            long between = processorTime();
            long[] since = machinery();
            if (texts.isEmpty()) {
                texts = texts(index);
            }
            double embedded = embed(embedder, texts);
            if (round >= warmUp) {
                ingest.add(ingested);
                alone.add(embedded);
                processor[0] += processorTime() - between;
                processor[1] += between - began;
                machinery[0] += since[0] - compiled[0];
                machinery[1] += since[1] - compiled[1];
            }
        }
        int passages = rounds * texts.stream().mapToInt(List::size).sum();
        System.out.printf(
                Locale.ROOT,
                "%nprocessor time a passage: alone %.2f ms, ingested %.2f ms; meanwhile the compiler worked %.2f ms and the collector %.2f ms%n",
                processor[0] / 1e6 / passages,
                processor[1] / 1e6 / passages,
                (double) machinery[0] / passages,
                (double) machinery[1] / passages);
        System.out.printf("passages a second, by round: alone %s, ingested %s%n", rounded(alone), rounded(ingest));
        report(texts.stream().mapToInt(List::size).sum(), median(ingest), median(alone));
    }

    /** @return passages a second, from the first file sent until all are visible */
    private double ingest(Log log, LuceneIndex index, String name) throws Exception {
        long before = index.count();
        long since = System.nanoTime();
        List<FolderLoader.Loaded> documents =
                new FolderLoader(log).load(dir, name, "nixos-docs").loaded();
        for (FolderLoader.Loaded document : documents) {
            while (!isWhole(index, document)) {
                // each look costs what a search does
                Thread.sleep(20);
            }
        }
        return (index.count() - before) * 1e9 / (System.nanoTime() - since);
    }

    private static boolean isWhole(LuceneIndex index, FolderLoader.Loaded document) {
        List<String> ids = index.passagesOf(document.documentId());
        return !ids.isEmpty()
                && index.load(ids.subList(0, 1)).values().stream()
                        .allMatch(passage -> passage.getChunkCount() <= ids.size());
    }

    /** What the model was given, by document, in batches. */
    private List<List<String>> texts(LuceneIndex index) throws Exception {
        List<List<String>> batches = new ArrayList<>();
        List<Path> files;
        try (var walk = Files.walk(dir)) {
            files = walk.filter(Files::isRegularFile).sorted().toList();
        }
        for (Path file : files) {
            String path = dir.relativize(file).toString().replace('\\', '/');
            String id = Normalizer.documentId(
                    Passage.newBuilder().build().getEnvelope().getTenant(), "folder:round-0", path);
            List<String> texts = index.section(id, 0, Integer.MAX_VALUE / 2).stream()
                    .map(passage -> passage.getTitle() + "\n" + passage.getText())
                    .toList();
            for (int from = 0; from < texts.size(); from += BATCH) {
                batches.add(texts.subList(from, Math.min(texts.size(), from + BATCH)));
            }
        }
        int count = batches.stream().mapToInt(List::size).sum();
        if (count != index.count()) {
            throw new IllegalStateException(count + " texts of " + index.count() + " passages with chunker "
                    + Chunker.VERSION + " were found again");
        }
        return batches;
    }

    private static double embed(MiniLmEmbedder embedder, List<List<String>> batches) throws Exception {
        long since = System.nanoTime();
        int count = 0;
        try (ExecutorService workers = Executors.newFixedThreadPool(WORKERS)) {
            List<Future<Integer>> embedded = new ArrayList<>();
            for (List<String> batch : batches) {
                embedded.add(workers.submit(() -> embedder.embed(batch).size()));
            }
            for (Future<Integer> each : embedded) {
                count += each.get();
            }
        }
        return count * 1e9 / (System.nanoTime() - since);
    }

    /** Of this process, nanoseconds: what others have on the machine does not change it. */
    private static long processorTime() {
        return ((OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    }

    /** What the compiler and the collector have worked so far, milliseconds. */
    private static long[] machinery() {
        return new long[] {
            ManagementFactory.getCompilationMXBean().getTotalCompilationTime(),
            ManagementFactory.getGarbageCollectorMXBeans().stream()
                    .mapToLong(GarbageCollectorMXBean::getCollectionTime)
                    .sum()
        };
    }

    private static List<Long> rounded(List<Double> values) {
        return values.stream().map(Math::round).toList();
    }

    private static double median(List<Double> values) {
        List<Double> sorted = values.stream().sorted().toList();
        return sorted.get(sorted.size() / 2);
    }

    private static void report(int passages, double ingest, double alone) {
        System.out.printf(Locale.ROOT, "%nIngest of %,d passages a round%n%n", passages);
        System.out.printf("%-28s %12s%n", "path", "passages/s");
        System.out.printf(Locale.ROOT, "%-28s %12.1f%n", "model alone", alone);
        System.out.printf(Locale.ROOT, "%-28s %12.1f%n", "files -> log -> visible", ingest);
        System.out.printf(Locale.ROOT, "%-28s %12.2f%n%n", "ratio (bar: 0.80)", ingest / alone);
        System.out.println(new JsonObject()
                .put("benchmark", "ingest")
                .put("passages", passages)
                .put("model_per_second", alone)
                .put("ingest_per_second", ingest)
                .put("ratio", ingest / alone)
                .encode());
    }
}
