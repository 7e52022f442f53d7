package io.millrace.bench.knowledge;

import io.millrace.id.Ids;
import io.millrace.knowledge.Chunker;
import io.millrace.knowledge.LuceneIndex;
import io.millrace.knowledge.MiniLmEmbedder;
import io.millrace.knowledge.Searcher;
import io.millrace.knowledge.Vectors;
import io.millrace.learners.evaluation.BeirDataset;
import io.millrace.schema.Passage;
import io.vertx.core.json.JsonObject;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.regex.Pattern;
import org.HdrHistogram.Histogram;
import org.apache.kafka.common.utils.Utils;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/**
 * Time of a search for the best five among many passages, one at a time, in the embedded index.
 *
 * <p>The passages are put together of sentences of a real corpus, a few neighbours and a few from elsewhere, until there are enough: so words are as
 * frequent and vectors lie as close as they do in text that people wrote, without a corpus of that size. A passage's vector is the
 * direction of the sum of its sentences' and a little noise; only sentences are embedded, since embedding all passages would take ten minutes and
 * change nothing here. The questions are the corpus's own.
 */
@Command(
        name = "search",
        description = "Time of a top-5 search among many passages, by mode.",
        mixinStandardHelpOptions = true)
public final class SearchBenchmark implements Callable<Integer> {
    private static final long SEED = 11;
    private static final int TOP = 5;
    private static final int BATCH = 64;
    private static final int SENTENCES = 6;
    private static final double NOISE = 0.02;
    private static final Pattern SENTENCE = Pattern.compile("(?<=[.!?])\\s+");
    private static final List<String> MODES = List.of("keyword", "semantic", "hybrid", "auto");

    @Option(names = "--dir", required = true, description = "A test collection in BEIR's layout")
    private Path dir = Path.of("");

    @Option(names = "--passages", defaultValue = "100000", description = "Passages (default: ${DEFAULT-VALUE})")
    private int passages;

    @Option(
            names = "--rounds",
            defaultValue = "5",
            description = "Rounds over all questions after two of warm-up (default: ${DEFAULT-VALUE})")
    private int rounds;

    private final Random random = new Random(SEED);

    @Override
    public Integer call() throws Exception {
        BeirDataset data = BeirDataset.read(dir, "test");
        Path folder = Files.createTempDirectory("millrace-search");
        try (MiniLmEmbedder embedder = new MiniLmEmbedder(Runtime.getRuntime().availableProcessors());
                LuceneIndex index = LuceneIndex.open(folder, embedder.fingerprint())) {
            double seconds = fill(index, embedder, data);
            long since = System.nanoTime();
            // as the projection does when nothing comes in for ten seconds
            index.settle();
            System.out.printf(Locale.ROOT, "settled in %.1f s%n", (System.nanoTime() - since) / 1e9);
            Searcher searcher = new Searcher(index, embedder, List.of("codebase-context"));
            report(measure(searcher, List.copyOf(data.queries().values())), index.count(), seconds);
        } finally {
            Utils.delete(folder.toFile());
        }
        return 0;
    }

    private double fill(LuceneIndex index, MiniLmEmbedder embedder, BeirDataset data) {
        List<String> sentences = data.documents().stream()
                .flatMap(document -> SENTENCE.splitAsStream(document.text()))
                .filter(sentence -> sentence.length() > 20)
                .toList();
        List<float[]> vectors = new ArrayList<>();
        for (int from = 0; from < sentences.size(); from += BATCH) {
            vectors.addAll(embedder.embed(sentences.subList(from, Math.min(sentences.size(), from + BATCH))));
        }
        long since = System.nanoTime();
        for (int i = 0; i < passages; i++) {
            index.put(passage(i, sentences, vectors));
        }
        index.refresh();
        index.commit(Map.of());
        return (System.nanoTime() - since) / 1e9;
    }

    private Passage passage(int number, List<String> sentences, List<float[]> vectors) {
        int at = random.nextInt(sentences.size());
        int elsewhere = random.nextInt(sentences.size());
        StringBuilder text = new StringBuilder();
        float[] sum = new float[vectors.getFirst().length];
        for (int i = 0; i < SENTENCES; i++) {
            int which = ((i < SENTENCES / 2 ? at : elsewhere) + i) % sentences.size();
            text.append(sentences.get(which)).append(' ');
            for (int d = 0; d < sum.length; d++) {
                sum[d] += (float) (vectors.get(which)[d] + NOISE * random.nextGaussian());
            }
        }
        double length = Math.sqrt(Vectors.cosine(sum, sum));
        for (int d = 0; d < sum.length; d++) {
            sum[d] /= (float) length;
        }
        String document = Ids.content("bench", String.valueOf(number / 8));
        return Passage.newBuilder()
                .setPassageId(Ids.content(document, String.valueOf(number)))
                .setDocumentId(document)
                .setChunkIndex(number % 8)
                .setChunkCount(8)
                .setCollection("codebase-context")
                .setSource("bench")
                .setPath("part-" + number / 1_000 + "/" + document + ".md")
                .setTitle(sentences
                        .get(at)
                        .substring(0, Math.min(60, sentences.get(at).length())))
                .setText(text.toString())
                .setVector(Vectors.toBytes(sum))
                .setChunker(Chunker.VERSION)
                .setMetadata(Map.of("language", number % 2 == 0 ? "en" : "de"))
                .build();
    }

    private Map<String, Histogram> measure(Searcher searcher, List<String> questions) {
        Map<String, Histogram> times = new HashMap<>();
        for (int round = -2; round < rounds; round++) {
            for (String question : questions) {
                long began = System.nanoTime();
                float[] vector = searcher.embedder().embed(List.of(question)).getFirst();
                long embedding = System.nanoTime() - began;
                record(times, "embedding", embedding, round);
                for (String mode : MODES) {
                    long since = System.nanoTime();
                    int found = searcher.search(new Searcher.Request(question, mode, List.of(), TOP, 0), vector)
                            .hits()
                            .size();
                    record(times, mode, System.nanoTime() - since, round);
                    if (mode.equals("hybrid")) {
                        record(times, "hybrid with embedding", System.nanoTime() - since + embedding, round);
                    }
                    if (found != TOP) {
                        throw new IllegalStateException(mode + " found " + found + " passages for: " + question);
                    }
                }
            }
        }
        return times;
    }

    private static void record(Map<String, Histogram> times, String what, long nanos, int round) {
        if (round >= 0) {
            times.computeIfAbsent(what, name -> new Histogram(3)).recordValue(nanos / 1_000);
        }
    }

    private static void report(Map<String, Histogram> times, long count, double seconds) {
        System.out.printf(Locale.ROOT, "%nTop-5 search among %,d passages, one at a time%n%n", count);
        System.out.printf("%-24s %9s %9s %9s%n", "ms", "p50", "p95", "p99");
        JsonObject json = new JsonObject()
                .put("benchmark", "search")
                .put("passages", count)
                .put("indexed_per_second", Math.round(count / seconds));
        List<String> rows = new ArrayList<>(MODES);
        rows.addAll(List.of("embedding", "hybrid with embedding"));
        for (String row : rows) {
            Histogram histogram = times.getOrDefault(row, new Histogram(3));
            double p50 = histogram.getValueAtPercentile(50) / 1e3;
            double p95 = histogram.getValueAtPercentile(95) / 1e3;
            double p99 = histogram.getValueAtPercentile(99) / 1e3;
            System.out.printf(Locale.ROOT, "%-24s %9.2f %9.2f %9.2f%n", row, p50, p95, p99);
            json.put(
                    row.replace(' ', '_'),
                    new JsonObject().put("p50_ms", p50).put("p95_ms", p95).put("p99_ms", p99));
        }
        System.out.printf(Locale.ROOT, "%nindexed %,.0f passages/s (bar of hybrid: p50 5 ms)%n%n", count / seconds);
        System.out.println(json.encode());
    }
}
