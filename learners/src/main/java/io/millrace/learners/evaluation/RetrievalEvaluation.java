package io.millrace.learners.evaluation;

import io.millrace.id.Ids;
import io.millrace.knowledge.Aging;
import io.millrace.knowledge.Chunker;
import io.millrace.knowledge.Chunker.Chunk;
import io.millrace.knowledge.Embedder;
import io.millrace.knowledge.Linkage;
import io.millrace.knowledge.LuceneIndex;
import io.millrace.knowledge.Searcher;
import io.millrace.knowledge.Vectors;
import io.millrace.schema.Hit;
import io.millrace.schema.Passage;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * How well the search finds what people judged to be relevant. Documents go through the chunker, the embedder, the index and the search
 * that queries go through; a document ranks where its best passage ranks.
 */
public final class RetrievalEvaluation {
    /** What is measured, in the order in which it is told. */
    public static final List<String> MODES = List.of("keyword", "semantic", "hybrid");

    private static final String COLLECTION = "evaluation";
    /** Of documents without a text, or with the same, each is judged by itself. */
    private static final Searcher.Options EACH_DOCUMENT = new Searcher.Options(
            false, Aging.DEFAULT, Optional.empty(), Linkage.NONE, Optional.empty(), Optional.empty(), true);

    private static final int BATCH = 32;
    private static final int DEEP = 100;

    private RetrievalEvaluation() {}

    /**
     * What was measured.
     *
     * @param metrics by mode
     * @param embeddingSeconds time for embedding and indexing
     * @param searchSeconds time for all searches
     */
    public record Report(
            Map<String, RankingMetrics> metrics,
            int documents,
            int passages,
            int queries,
            double embeddingSeconds,
            double searchSeconds) {}

    /** Told how far it is. */
    public interface Progress {
        /**
         * @param step indexing or searching
         * @param done of {@code all}
         */
        void at(String step, int done, int all);
    }

    /**
     * Evaluates.
     *
     * @param embedder of passages
     * @param asked the same model as it embeds questions
     * @param folder empty; the index is made in it
     */
    public static Report run(BeirDataset data, Embedder embedder, Embedder asked, Path folder, Progress progress) {
        try (LuceneIndex index = LuceneIndex.open(folder, embedder.fingerprint())) {
            long began = System.nanoTime();
            int passages = ingest(data, embedder, index, progress);
            long indexed = System.nanoTime();
            Searcher searcher = new Searcher(index, asked, List.of(COLLECTION), EACH_DOCUMENT);
            Map<String, RankingMetrics> metrics = search(data, searcher, progress);
            return new Report(
                    metrics,
                    data.documents().size(),
                    passages,
                    data.queries().size(),
                    (indexed - began) / 1e9,
                    (System.nanoTime() - indexed) / 1e9);
        }
    }

    private static int ingest(BeirDataset data, Embedder embedder, LuceneIndex index, Progress progress) {
        record Piece(BeirDataset.Document document, Chunk chunk) {}
        List<Piece> pieces = new ArrayList<>();
        for (BeirDataset.Document document : data.documents()) {
            List<Chunk> chunks = Chunker.chunk(document.title(), document.text());
            // a document without text is still found by its title
            (chunks.isEmpty() ? List.of(new Chunk(0, document.title(), "")) : chunks)
                    .forEach(chunk -> pieces.add(new Piece(document, chunk)));
        }
        for (int from = 0; from < pieces.size(); from += BATCH) {
            progress.at("indexing", from, pieces.size());
            List<Piece> batch = pieces.subList(from, Math.min(pieces.size(), from + BATCH));
            List<float[]> vectors = embedder.embed(batch.stream()
                    .map(piece -> piece.chunk.title() + "\n" + piece.chunk.text())
                    .toList());
            for (int i = 0; i < batch.size(); i++) {
                Piece piece = batch.get(i);
                index.put(Passage.newBuilder()
                        .setPassageId(
                                Ids.content(piece.document.id(), String.valueOf(piece.chunk.index()), Chunker.VERSION))
                        .setDocumentId(piece.document.id())
                        .setChunkIndex(piece.chunk.index())
                        .setCollection(COLLECTION)
                        .setTitle(piece.chunk.title())
                        .setText(piece.chunk.text())
                        .setVector(Vectors.toBytes(vectors.get(i)))
                        .setEmbeddingModel(embedder.fingerprint())
                        .setChunker(Chunker.VERSION)
                        .build());
            }
        }
        progress.at("indexing", pieces.size(), pieces.size());
        index.refresh();
        return pieces.size();
    }

    private static Map<String, RankingMetrics> search(BeirDataset data, Searcher searcher, Progress progress) {
        Map<String, List<RankingMetrics>> measured = new LinkedHashMap<>();
        int done = 0;
        for (Map.Entry<String, String> query : data.queries().entrySet()) {
            progress.at("searching", done++, data.queries().size());
            float[] vector =
                    searcher.embedder().embed(List.of(query.getValue())).get(0);
            for (String mode : MODES) {
                // twice as many passages as documents: some documents are found by several
                Searcher.Result found =
                        searcher.search(new Searcher.Request(query.getValue(), mode, List.of(), 2 * DEEP, -1), vector);
                List<String> ranked = data.withoutItself(
                        query.getKey(),
                        found.hits().stream().map(Hit::getDocumentId).distinct().toList());
                measured.computeIfAbsent(mode, name -> new ArrayList<>())
                        .add(RankingMetrics.of(ranked, data.judgements().getOrDefault(query.getKey(), Map.of())));
            }
        }
        progress.at("searching", done, done);
        Map<String, RankingMetrics> metrics = new LinkedHashMap<>();
        measured.forEach((mode, all) -> metrics.put(mode, RankingMetrics.mean(all)));
        return metrics;
    }
}
