package io.millrace.standalone.cli;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.millrace.config.ConfigLoader;
import io.millrace.config.MillraceConfig;
import io.millrace.knowledge.Embedder;
import io.millrace.knowledge.HttpEmbedder;
import io.millrace.knowledge.MiniLmEmbedder;
import io.millrace.learners.evaluation.BeirDataset;
import io.millrace.learners.evaluation.BeirDataset.DataException;
import io.millrace.learners.evaluation.RankingMetrics;
import io.millrace.learners.evaluation.RetrievalEvaluation;
import io.millrace.standalone.error.UserException;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** {@code millrace eval retrieval}. */
@Command(
        name = "retrieval",
        description = {
            "Measure keyword, semantic and hybrid search on a test collection in BEIR's layout:",
            "corpus.jsonl (_id, title, text), queries.jsonl (_id, text), qrels/test.tsv (query-id, corpus-id, score),",
            "each also as .gz. A query that is itself a document of the corpus, by its _id, does not find itself."
        },
        mixinStandardHelpOptions = true)
public final class EvalRetrievalCommand implements Callable<Integer> {
    @Option(names = "--dir", paramLabel = "DIR", required = true, description = "The test collection.")
    private @Nullable Path folder;

    @Option(
            names = "--split",
            paramLabel = "NAME",
            defaultValue = "test",
            description = "Judgements: qrels/NAME.tsv. Default: ${DEFAULT-VALUE}.")
    private String split = "test";

    @Option(
            names = "--config",
            paramLabel = "FILE",
            description =
                    "Settings: the embedding model that they name (knowledge.embedding-url). Default: the one in the process.")
    private @Nullable Path settings;

    @Option(names = "--json", description = "Print JSON on standard output; progress goes to standard error.")
    private boolean json;

    @Override
    public Integer call() throws IOException {
        BeirDataset data;
        try {
            data = BeirDataset.read(java.util.Objects.requireNonNull(folder), split);
        } catch (DataException e) {
            throw new UserException(String.valueOf(e.getMessage()), e);
        }
        if (data.absent() > 0) {
            System.err.printf(
                    Locale.ROOT, "%d relevant documents are not in the corpus and count as not found%n", data.absent());
        }
        java.util.logging.Logger lucene = java.util.logging.Logger.getLogger("org.apache.lucene");
        lucene.setLevel(java.util.logging.Level.SEVERE);
        Optional<HttpEmbedder> passages = served(HttpEmbedder.Role.PASSAGE);
        Optional<HttpEmbedder> questions = served(HttpEmbedder.Role.QUESTION);
        try (ScratchFolder scratch = new ScratchFolder();
                MiniLmEmbedder own = new MiniLmEmbedder(Runtime.getRuntime().availableProcessors())) {
            ProgressLine line = new ProgressLine();
            RetrievalEvaluation.Report report = RetrievalEvaluation.run(
                    data,
                    passages.isPresent() ? passages.get() : own,
                    questions.isPresent() ? questions.get() : own,
                    scratch.resolve("index"),
                    line::show);
            line.end();
            print(report);
            return 0;
        } catch (Embedder.EmbeddingException e) {
            throw new UserException(String.valueOf(e.getMessage()), e);
        } finally {
            passages.ifPresent(HttpEmbedder::close);
            questions.ifPresent(HttpEmbedder::close);
        }
    }

    private Optional<HttpEmbedder> served(HttpEmbedder.Role role) {
        if (settings == null) {
            return Optional.empty();
        }
        MillraceConfig.Embedding embedding = ConfigLoader.load(Optional.of(settings), System.getenv(), Map.of())
                .config()
                .knowledge()
                .embedding();
        return HttpEmbedder.of(embedding, role, embedding.timeout());
    }

    private void print(RetrievalEvaluation.Report report) {
        if (json) {
            ObjectNode root = Instance.JSON.createObjectNode();
            report.metrics()
                    .forEach((mode, metrics) -> root.putObject(mode)
                            .put("ndcg@10", metrics.ndcg10())
                            .put("recall@100", metrics.recall100())
                            .put("mrr", metrics.mrr()));
            root.put("documents", report.documents())
                    .put("passages", report.passages())
                    .put("queries", report.queries())
                    .put("indexing_seconds", report.embeddingSeconds())
                    .put("search_seconds", report.searchSeconds());
            System.out.println(root.toPrettyString());
            return;
        }
        System.out.printf("%-10s %8s %11s %8s%n", "mode", "nDCG@10", "recall@100", "MRR");
        report.metrics()
                .forEach((mode, metrics) -> System.out.printf(
                        Locale.ROOT,
                        "%-10s %8.4f %11.4f %8.4f%n",
                        mode,
                        metrics.ndcg10(),
                        metrics.recall100(),
                        metrics.mrr()));
        double single = report.metrics().entrySet().stream()
                .filter(entry -> !entry.getKey().equals("hybrid"))
                .map(java.util.Map.Entry::getValue)
                .mapToDouble(RankingMetrics::ndcg10)
                .max()
                .orElse(0);
        RankingMetrics hybrid =
                java.util.Objects.requireNonNull(report.metrics().get("hybrid"));
        System.out.printf(
                Locale.ROOT,
                "hybrid is %.3f × the better of the two; %d documents, %d passages, %d queries; indexed in %.1f s, searched in %.1f s%n",
                single == 0 ? 0 : hybrid.ndcg10() / single,
                report.documents(),
                report.passages(),
                report.queries(),
                report.embeddingSeconds(),
                report.searchSeconds());
    }
}
