package io.millrace.knowledge;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.millrace.id.Ids;
import io.millrace.schema.Hit;
import io.millrace.schema.Passage;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Whether the score tells questions that the knowledge answers from those that it does not, over documentation nobody here wrote. */
class ContextScoreTest {
    /** The default thresholds. */
    private static final double FALLBACK = 0.70;

    @TempDir
    static Path folder;

    private static MiniLmEmbedder embedder;
    private static LuceneIndex index;
    private static Searcher searcher;

    @BeforeAll
    static void ingest() throws IOException {
        Path docs = data().resolve("knowledge/nix.dev");
        assumeTrue(Files.isDirectory(docs), "the documentation to try this on is not here: set -Dmillrace.data");
        embedder = new MiniLmEmbedder(2);
        index = LuceneIndex.open(folder, embedder.fingerprint());
        searcher = new Searcher(index, embedder, List.of("nixos-docs"));
        List<Path> files;
        try (Stream<Path> walk = Files.walk(docs)) {
            files = walk.filter(file -> file.toString().endsWith(".md"))
                    .sorted()
                    .toList();
        }
        for (Path file : files) {
            String path = docs.relativize(file).toString();
            List<Chunker.Chunk> chunks = Chunker.chunk(path, Files.readString(file));
            List<float[]> vectors = embedder.embed(
                    chunks.stream().map(c -> c.title() + "\n" + c.text()).toList());
            for (int i = 0; i < chunks.size(); i++) {
                index.put(Passage.newBuilder()
                        .setPassageId(Ids.content(path, String.valueOf(i)))
                        .setDocumentId(Ids.content(path))
                        .setCollection("nixos-docs")
                        .setPath(path)
                        .setTitle(chunks.get(i).title())
                        .setText(chunks.get(i).text())
                        .setVector(Vectors.toBytes(vectors.get(i)))
                        .setMetadata(Map.of())
                        .build());
            }
        }
        index.refresh();
        assertThat(index.count()).isGreaterThan(200);
    }

    @AfterAll
    static void close() {
        if (index != null) {
            index.close();
            embedder.close();
        }
    }

    private static Path data() {
        String set = System.getProperty("millrace.data");
        if (set != null) {
            return Path.of(set);
        }
        for (Path up = Path.of("").toAbsolutePath(); up != null; up = up.getParent()) {
            if (Files.isDirectory(up.resolve("shared/data"))) {
                return up.resolve("shared/data");
            }
        }
        return Path.of("shared/data");
    }

    /** The bar, on questions that the fit has not seen. */
    @Test
    void shouldTellInDomainFromGeneralQuestions() {
        List<Double> in = scores("nix-bar.txt");
        List<Double> out = scores("general-bar.txt");

        long kept = in.stream().filter(score -> score >= FALLBACK).count();
        long sent = out.stream().filter(score -> score < FALLBACK).count();

        System.out.printf(
                "context score: %d of %d in-domain at or above %.2f, %d of %d general below%n",
                kept, in.size(), FALLBACK, sent, out.size());
        assertThat(in).hasSize(40);
        assertThat(out).hasSize(40);
        assertThat(kept).isGreaterThanOrEqualTo(28);
        assertThat(sent).isGreaterThanOrEqualTo(36);
    }

    /**
     * The same bar when a model rewords what was not found at once and the better of the two searches counts: two tries must not make
     * a stranger's question look answered. The rewordings are a model's, written once, for its prompt.
     */
    @Test
    void shouldTellThemApartAlsoWhenAModelRewordsThem() {
        List<Double> in = betterScores("nix-bar");
        List<Double> out = betterScores("general-bar");

        long kept = in.stream().filter(score -> score >= FALLBACK).count();
        long sent = out.stream().filter(score -> score < FALLBACK).count();

        System.out.printf(
                "context score, reworded: %d of %d in-domain at or above %.2f, %d of %d general below; log loss of all"
                        + " second searches %.3f (first ones %.3f)%n",
                kept,
                in.size(),
                FALLBACK,
                sent,
                out.size(),
                logLoss(second("nix-bar"), second("general-bar")),
                logLoss(scores("nix-bar.txt"), scores("general-bar.txt")));
        assertThat(in).hasSize(40);
        assertThat(out).hasSize(40);
        assertThat(kept)
                .isGreaterThanOrEqualTo(scores("nix-bar.txt").stream()
                        .filter(score -> score >= FALLBACK)
                        .count());
        assertThat(sent).isGreaterThanOrEqualTo(36);
    }

    private static double logLoss(List<Double> in, List<Double> out) {
        return Stream.concat(in.stream(), out.stream().map(score -> 1 - score))
                .mapToDouble(score -> -Math.log(Math.max(1e-9, score)))
                .average()
                .orElseThrow();
    }

    /** As the progressive context does it: a second search when the first one is not confident, and the better one counts. */
    private static List<Double> betterScores(String resource) {
        List<Double> first = scores(resource + ".txt");
        List<Double> second = second(resource);
        List<Double> better = new ArrayList<>();
        for (int i = 0; i < first.size(); i++) {
            better.add(first.get(i) >= FALLBACK ? first.get(i) : Math.max(first.get(i), second.get(i)));
        }
        return better;
    }

    private static List<Double> second(String resource) {
        List<String> questions = lines(resource + ".txt").toList();
        List<String> rewordings = lines(resource + "-reworded.txt").toList();
        assertThat(rewordings).hasSameSizeAs(questions);
        List<Double> scores = new ArrayList<>();
        for (int i = 0; i < questions.size(); i++) {
            List<String> reworded = List.of(rewordings.get(i).split(" \\| "));
            assertThat(reworded).hasSize(2);
            scores.add(score(searcher.search(new Searcher.Request(
                    questions.get(i),
                    "hybrid",
                    Filter.collections(List.of()),
                    5,
                    0,
                    0,
                    new Searcher.More(reworded, java.util.Set.of(), false)))));
        }
        return scores;
    }

    @Test
    void shouldFindTheFileThatAnswers() {
        List<Hit> hits = search("How do I pin nixpkgs to a fixed version?").hits();

        assertThat(hits.stream().limit(3).map(Hit::getPath)).anyMatch(path -> path.contains("pinning-nixpkgs"));
    }

    /** Refits the coefficients and prints them; the ones in the code must do nearly as well on the data that they were fitted on. */
    @Test
    void shouldBeTheFitOfItsData() {
        List<double[]> rows = new ArrayList<>();
        features("nix-fit.txt").forEach(x -> rows.add(new double[] {x[0], x[1], x[2], 1}));
        features("general-fit.txt").forEach(x -> rows.add(new double[] {x[0], x[1], x[2], 0}));

        double[] fitted = fit(rows);

        System.out.printf(
                "context score fit: bias %.2f, top %.2f, mean %.2f, coverage %.2f%n",
                fitted[0], fitted[1], fitted[2], fitted[3]);
        double[] used = {ContextScore.BIAS, ContextScore.TOP, ContextScore.MEAN, ContextScore.COVERAGE};
        assertThat(loss(rows, used)).isLessThan(loss(rows, fitted) * 1.1 + 0.01);
    }

    private static double[] fit(List<double[]> rows) {
        // projected gradient: weights stay positive, so better evidence never scores lower; a little L2, since 72 rows
        // may separate
        double[] w = {-5, 5, 5, 2};
        for (int step = 0; step < 60_000; step++) {
            double[] gradient = new double[4];
            for (double[] row : rows) {
                double error = predict(w, row) - row[3];
                gradient[0] += error;
                for (int i = 0; i < 3; i++) {
                    gradient[i + 1] += error * row[i];
                }
            }
            for (int i = 0; i < 4; i++) {
                w[i] -= 0.5 * (gradient[i] / rows.size() + (i == 0 ? 0 : 0.0004 * w[i]));
                if (i > 0) {
                    w[i] = Math.max(0.1, w[i]);
                }
            }
        }
        return w;
    }

    private static double predict(double[] w, double[] row) {
        return 1 / (1 + Math.exp(-(w[0] + w[1] * row[0] + w[2] * row[1] + w[3] * row[2])));
    }

    private static double loss(List<double[]> rows, double[] w) {
        return rows.stream()
                .mapToDouble(row -> -Math.log(Math.max(1e-9, row[3] == 1 ? predict(w, row) : 1 - predict(w, row))))
                .average()
                .orElseThrow();
    }

    private static List<double[]> features(String resource) {
        return lines(resource)
                .map(question -> {
                    Searcher.Result found = search(question);
                    List<Double> cosines = found.hits().stream()
                            .map(hit -> Math.max(0, Objects.requireNonNullElse(hit.getCosine(), 0.0)))
                            .sorted(java.util.Comparator.reverseOrder())
                            .toList();
                    double top = cosines.getFirst();
                    double mean = cosines.stream()
                            .limit(3)
                            .mapToDouble(d -> d)
                            .average()
                            .orElseThrow();
                    // the score is monotone in coverage alone once the cosines are known
                    double logit = Math.log(score(found) / (1 - score(found)));
                    double coverage = (logit - ContextScore.BIAS - ContextScore.TOP * top - ContextScore.MEAN * mean)
                            / ContextScore.COVERAGE;
                    return new double[] {top, mean, coverage};
                })
                .toList();
    }

    private static List<Double> scores(String resource) {
        return lines(resource).map(question -> score(search(question))).toList();
    }

    private static double score(Searcher.Result found) {
        return found.contextScore().orElseThrow();
    }

    private static Searcher.Result search(String question) {
        return searcher.search(new Searcher.Request(question, "hybrid", List.of(), 5, 0));
    }

    private static Stream<String> lines(String resource) {
        try (InputStream in = Objects.requireNonNull(ContextScoreTest.class.getResourceAsStream("/" + resource))) {
            return new String(in.readAllBytes(), StandardCharsets.UTF_8)
                    .lines().filter(line -> !line.isBlank()).toList().stream();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
