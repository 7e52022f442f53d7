package io.millrace.knowledge;

import io.millrace.knowledge.Ranking.Ranked;
import io.millrace.knowledge.VectorIndex.Candidate;
import io.millrace.knowledge.VectorIndex.Question;
import io.millrace.schema.Hit;
import io.millrace.schema.Passage;
import io.millrace.text.DocumentQuestion;
import io.millrace.text.DocumentQuestion.QuestionException;
import io.millrace.text.InjectionRisk;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Pattern;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Search over the knowledge by words, by meaning, by both, or by both with what stands around the hits. */
public final class Searcher {
    private static final Logger LOG = LoggerFactory.getLogger(Searcher.class);

    /** What a request may name. */
    public static final List<String> MODES = List.of("auto", "keyword", "semantic", "hybrid", "tree", "sql");

    /** Candidates of each side: fusion reorders the top, and more were measured to add noise. */
    private static final int CANDIDATES = 100;

    /** Hits that a cross-encoder reads: each costs it a pass. */
    private static final int RERANKED = 20;

    /** Hits that a judge reads: the context score is of the best three. */
    private static final int JUDGED = 5;

    /** Hits whose surroundings tree mode reads, and how far to each side. */
    private static final int BRANCHES = 4;

    private static final int REACH = 1;

    /** Context score from which a look-up by words alone is taken. */
    private static final double SURE = 0.70;

    /** Cosine from which two passages are read to see whether their texts are the same: rounding is all that may part them. */
    private static final double TWINS = 0.9999;

    private static final List<String> TRUST = List.of("generated", "imported", "trusted");
    private static final Pattern SPACE = Pattern.compile("\\s+");
    private static final int KEYWORD_WORDS = 3;
    private static final int TREE_WORDS = 8;
    private static final Pattern WORD = Pattern.compile("[a-zA-Z0-9_\\-]{2,}");
    private static final Set<String> NOT_COUNTED = Set.of(
            "the", "and", "for", "with", "that", "this", "from", "into", "http", "https", "you", "your", "are", "was",
            "were", "can", "could", "should", "would");

    private final VectorIndex index;
    private final Embedder embedder;
    private final Set<String> collections;
    private final Options options;

    /**
     * What does not change from question to question.
     *
     * @param tree whether auto takes tree for long questions
     * @param reranker reads the first hits again
     * @param linkage what is known of passages from their use
     * @param catalog answers questions about documents; without one there is no sql mode
     * @param judge the model whose cosines {@link ContextScore} was fitted to, where another one embeds; with it, words are searched for
     *     while that one is away
     * @param copies whether each passage with the same text is a hit: who counts documents wants all of them, a reader one
     */
    public record Options(
            boolean tree,
            Aging aging,
            Optional<Reranker> reranker,
            Linkage linkage,
            Optional<DocumentCatalog> catalog,
            Optional<Embedder> judge,
            boolean copies) {
        /** Nothing beyond the index. */
        public static final Options DEFAULT = new Options(
                false, Aging.DEFAULT, Optional.empty(), Linkage.NONE, Optional.empty(), Optional.empty(), false);
    }

    /** @param collections the configured ones: any other name is an error */
    public Searcher(VectorIndex index, Embedder embedder, List<String> collections, Options options) {
        this.index = index;
        this.embedder = embedder;
        this.collections = Set.copyOf(collections);
        this.options = options;
    }

    /** With the default options. */
    public Searcher(VectorIndex index, Embedder embedder, List<String> collections) {
        this(index, embedder, collections, Options.DEFAULT);
    }

    /**
     * A question.
     *
     * @param mode one of {@link #MODES}
     * @param limit most hits, 1..200
     * @param minCosine least cosine of a hit that no keyword found, -1..1
     * @param diversity weight of unlikeness among the hits, 0..1; 0 for none
     * @param more what most requests go without
     */
    public record Request(
            String text, String mode, Filter filter, int limit, double minCosine, double diversity, More more) {
        /** With nothing more. */
        public Request(String text, String mode, Filter filter, int limit, double minCosine, double diversity) {
            this(text, mode, filter, limit, minCosine, diversity, More.NONE);
        }

        /** In some collections, empty for all, and without diversity. */
        public Request(String text, String mode, List<String> collections, int limit, double minCosine) {
            this(text, mode, Filter.collections(collections), limit, minCosine, 0);
        }
    }

    /**
     * What a request may carry.
     *
     * @param rewordings of the question, searched for along with it
     * @param exclude ids of passages that are not wanted
     * @param localOnly the question may not leave the machine
     */
    public record More(List<String> rewordings, Set<String> exclude, boolean localOnly) {
        /** Nothing. */
        public static final More NONE = new More(List.of(), Set.of(), false);

        public More {
            rewordings = List.copyOf(rewordings);
            exclude = Set.copyOf(exclude);
        }
    }

    /**
     * What was found.
     *
     * @param mode what auto chose
     * @param hits best first; in tree mode what surrounds them follows
     * @param contextScore fitted probability that the hits answer the question, 0..1; unknown for rows of a catalog
     * @param coveredScore what the context score would be if nothing had been excluded; empty when nothing was
     * @param degraded parts that did not work and were done without
     */
    public record Result(
            String mode,
            List<Hit> hits,
            Optional<Double> contextScore,
            Optional<Double> coveredScore,
            List<String> degraded) {
        public Result {
            hits = List.copyOf(hits);
            degraded = List.copyOf(degraded);
        }
    }

    /** A collection that is not configured. */
    public static final class UnknownCollectionException extends RuntimeException {
        private static final long serialVersionUID = 1L;

        UnknownCollectionException(String name, Set<String> known) {
            super("there is no collection " + name + "; there are " + String.join(", ", new TreeSet<>(known)));
        }
    }

    /** The index that is searched. */
    public VectorIndex index() {
        return index;
    }

    /** The model that embeds questions. */
    public Embedder embedder() {
        return embedder;
    }

    /**
     * The mode that auto tries first: three words or fewer are looked up, eight or more may be worth their surroundings, the rest is
     * asked for both words and meaning.
     */
    private String modeOf(String mode, String text) {
        if (!mode.equals("auto")) {
            return mode;
        }
        long words = WORD.matcher(text)
                .results()
                .filter(word -> !NOT_COUNTED.contains(word.group().toLowerCase(Locale.ROOT)))
                .count();
        return words <= KEYWORD_WORDS ? "keyword" : words >= TREE_WORDS && options.tree() ? "tree" : "hybrid";
    }

    /**
     * Searches with a vector made before.
     *
     * @param vector unit vector of the text; in keyword mode it only says how near the hits are, and may be empty; in others, empty means
     *     that the embedder is away: words are searched for
     * @throws UnknownCollectionException when a collection is not configured
     * @throws QuestionException in sql mode, when the text is not a question about documents
     */
    public Result search(Request request, float[] vector) {
        for (String name : request.filter().collections()) {
            if (!collections.contains(name)) {
                throw new UnknownCollectionException(name, collections);
            }
        }
        if (request.mode().equals("sql")) {
            return asked(request, DocumentQuestion.parse(request.text()));
        }
        if (request.mode().equals("auto") && options.catalog().isPresent()) {
            Optional<DocumentQuestion> question = DocumentQuestion.tryParse(request.text());
            if (question.isPresent()) {
                return asked(request, question.get());
            }
        }
        String mode = modeOf(request.mode(), request.text());
        Result first = search(request, mode, vector);
        // a look-up that does not find what it looks for was no look-up: short questions lose 2 to 14 % without this
        boolean lost = request.mode().equals("auto")
                && mode.equals("keyword")
                && first.contextScore().orElse(0.0) < SURE;
        return lost ? search(request, "hybrid", vector) : first;
    }

    private Result asked(Request request, DocumentQuestion question) {
        DocumentCatalog catalog =
                options.catalog().orElseThrow(() -> new QuestionException("there is no database of documents to ask"));
        List<Hit> rows = catalog.ask(question, request.filter(), Math.min(100, request.limit()));
        return new Result("sql", rows, Optional.empty(), Optional.empty(), List.of());
    }

    private Result search(Request request, String mode, float[] vector) {
        String ranking = vector.length == 0 ? "keyword" : mode.equals("tree") ? "hybrid" : mode;
        float[] searched = withRewordings(request.more().rewordings(), vector);
        List<Candidate> found = options.linkage().link(candidates(request, ranking, searched));
        List<Candidate> fresh = without(request.more().exclude(), found);
        Map<String, Passage> passages = new HashMap<>();
        List<Hit> hits = hits(request, ranking, fresh, passages);
        List<String> degraded = new ArrayList<>();
        if (vector.length == 0 && !mode.equals("keyword")) {
            degraded.add("embedder");
        }
        if (hits.size() > 1 && mayBeRead(request, passages)) {
            hits = reranked(request, hits, fresh, degraded);
        }
        hits = hits.subList(0, Math.min(hits.size(), request.limit()));
        Optional<Double> covered = fresh.size() == found.size()
                ? Optional.empty()
                : Optional.of(score(request, hits(request, ranking, found, new HashMap<>())));
        return new Result(
                mode,
                mode.equals("tree") ? surrounded(hits, request.more().exclude()) : hits,
                Optional.of(score(request, hits)),
                covered,
                degraded);
    }

    private double score(Request request, List<Hit> hits) {
        return hits.isEmpty() ? 0 : ContextScore.of(cosines(request, hits), coverage(request, hits));
    }

    /** Of the hits, or by the judge of as many as the score may depend on: about 15 ms of a core for each. */
    private List<Double> cosines(Request request, List<Hit> hits) {
        if (options.judge().isEmpty()) {
            return hits.stream()
                    .map(hit -> Objects.requireNonNullElse(hit.getCosine(), 0.0))
                    .toList();
        }
        List<String> texts = new ArrayList<>(List.of(request.text()));
        hits.stream().limit(JUDGED).map(Searcher::readable).forEach(texts::add);
        List<float[]> vectors = options.judge().get().embed(texts);
        return vectors.stream()
                .skip(1)
                .map(vector -> Vectors.cosine(vectors.getFirst(), vector))
                .toList();
    }

    /** The candidates that are not excluded, nor copies of one that is. */
    private static List<Candidate> without(Set<String> exclude, List<Candidate> found) {
        List<Candidate> excluded = found.stream()
                .filter(each -> exclude.contains(each.passageId()))
                .toList();
        return excluded.isEmpty()
                ? found
                : found.stream()
                        .filter(each -> !exclude.contains(each.passageId())
                                && excluded.stream().noneMatch(other -> areTwins(other, each)))
                        .toList();
    }

    /**
     * Candidates as hits, best first, each text once unless copies are wanted.
     *
     * @param passages receives what was read
     */
    private List<Hit> hits(Request request, String ranking, List<Candidate> candidates, Map<String, Passage> passages) {
        List<Ranked> ranked = Ranking.rank(candidates, ranking, options.aging(), System.currentTimeMillis());
        int most = options.reranker().isEmpty() ? request.limit() : Math.max(RERANKED, request.limit());
        List<Ranked> taken = Ranking.diverse(ranked, most, request.diversity());
        read(taken, passages);
        if (!options.copies() && repeats(ranked, taken, passages)) {
            // rare, and only then all candidates are worth reading
            read(ranked, passages);
            taken = Ranking.diverse(once(ranked, passages), most, request.diversity());
            passages.keySet()
                    .retainAll(taken.stream()
                            .map(each -> each.candidate().passageId())
                            .toList());
        }
        List<Hit> hits = new ArrayList<>();
        for (Ranked each : taken) {
            Passage passage = passages.get(each.candidate().passageId());
            // one that is gone was deleted between the two reads
            if (passage != null && isHarmless(passage)) {
                hits.add(hit(passage, each, unit(ranking)));
            }
        }
        return hits;
    }

    private void read(List<Ranked> wanted, Map<String, Passage> passages) {
        passages.putAll(index.load(wanted.stream()
                .map(each -> each.candidate().passageId())
                .filter(id -> !passages.containsKey(id))
                .toList()));
    }

    /** Whether two of those taken have the same text, or one of them has it in common with a candidate that was not. */
    private static boolean repeats(List<Ranked> ranked, List<Ranked> taken, Map<String, Passage> passages) {
        Set<String> texts = new HashSet<>();
        return !passages.values().stream()
                        .map(passage -> plain(passage.getText()))
                        .allMatch(texts::add)
                || ranked.stream()
                        .anyMatch(other ->
                                taken.stream().anyMatch(each -> areTwins(each.candidate(), other.candidate())));
    }

    private static boolean areTwins(Candidate one, Candidate other) {
        // most are told apart by their cosines to the question, which cost nothing
        return !one.passageId().equals(other.passageId())
                && Math.abs(Ranking.cosine(one) - Ranking.cosine(other)) < 0.001
                && Vectors.cosine(one.vector(), other.vector()) >= TWINS;
    }

    private static String plain(String text) {
        return SPACE.matcher(text.strip().toLowerCase(Locale.ROOT)).replaceAll(" ");
    }

    /** Of passages with the same text one, in the place of the first of them. */
    private static List<Ranked> once(List<Ranked> ranked, Map<String, Passage> passages) {
        Map<String, Ranked> byText = new LinkedHashMap<>();
        for (Ranked each : ranked) {
            Passage passage = passages.get(each.candidate().passageId());
            if (passage != null && isHarmless(passage)) {
                byText.merge(plain(passage.getText()), each, (first, next) -> {
                    Passage kept = Objects.requireNonNull(
                            passages.get(first.candidate().passageId()));
                    return isPreferred(passage, kept)
                            ? new Ranked(next.candidate(), first.score(), next.factor())
                            : first;
                });
            }
        }
        return List.copyOf(byText.values());
    }

    /** The copy that may not leave the machine: that the text also stands elsewhere does not set it free. Else the more trusted one. */
    private static boolean isPreferred(Passage passage, Passage kept) {
        return passage.getLocalOnly() == kept.getLocalOnly()
                ? TRUST.indexOf(passage.getTrust()) > TRUST.indexOf(kept.getTrust())
                : passage.getLocalOnly();
    }

    /** Scanned again: the patterns may have grown since the document was taken. */
    private static boolean isHarmless(Passage passage) {
        return InjectionRisk.of(passage.getTitle() + "\n" + passage.getText()) < InjectionRisk.QUARANTINE;
    }

    /** The mean of the question's vector and of its rewordings', the question counting as much as all of them; itself without any. */
    private float[] withRewordings(List<String> rewordings, float[] vector) {
        if (rewordings.isEmpty() || vector.length == 0) {
            return vector;
        }
        float[] sum = vector.clone();
        for (float[] other : embedded(rewordings)) {
            for (int i = 0; i < sum.length; i++) {
                sum[i] += other[i] / rewordings.size();
            }
        }
        return Vectors.unit(sum);
    }

    /** Whether the reranker may see the question and these passages. */
    private boolean mayBeRead(Request request, Map<String, Passage> passages) {
        return options.reranker()
                .filter(reranker -> reranker.isLocal()
                        || (!request.more().localOnly()
                                && passages.values().stream().noneMatch(Passage::getLocalOnly)))
                .isPresent();
    }

    /** Embeds the question and searches. */
    public Result search(Request request) {
        boolean words = request.mode().equals("keyword") || request.mode().equals("sql");
        List<float[]> vectors = words ? List.of() : embedded(List.of(request.text()));
        return search(request, vectors.isEmpty() ? new float[0] : vectors.getFirst());
    }

    /** Whether words are searched for when the model that embeds is away. */
    public boolean goesWithoutVectors() {
        return options.judge().isPresent();
    }

    /** Vectors of texts, or none while the model is away that words are searched for without. */
    private List<float[]> embedded(List<String> texts) {
        try {
            return embedder.embed(texts);
        } catch (Embedder.EmbeddingException e) {
            if (!goesWithoutVectors()) {
                throw e;
            }
            LOG.warn("only words are searched for: {}", e.getMessage());
            return List.of();
        }
    }

    private List<Candidate> candidates(Request request, String mode, float[] vector) {
        int limit =
                Math.max(CANDIDATES, request.limit()) + request.more().exclude().size();
        Map<String, Double> terms = mode.equals("semantic")
                ? Map.of()
                : Terms.expanded(request.text(), request.more().rewordings());
        float[] near = mode.equals("keyword") ? new float[0] : vector;
        List<Candidate> found = near.length == 0 && terms.isEmpty()
                ? List.of()
                : index.candidates(new Question(near, terms, limit, request.filter()));
        return found.stream()
                .filter(each -> each.bm25() != null || Ranking.cosine(each) >= request.minCosine())
                .map(each -> mode.equals("keyword") && vector.length > 0
                        ? new Candidate(
                                each.passageId(),
                                each.documentId(),
                                each.vector(),
                                Vectors.cosine(vector, each.vector()),
                                each.bm25(),
                                each.facts())
                        : each)
                .toList();
    }

    /** The first hits in the order of the cross-encoder, and behind them those that it does not read. */
    private List<Hit> reranked(Request request, List<Hit> hits, List<Candidate> found, List<String> degraded) {
        List<Hit> read = hits.subList(0, Math.min(RERANKED, hits.size()));
        List<Double> relevances;
        try {
            relevances = options.reranker()
                    .orElseThrow()
                    .relevances(
                            request.text(),
                            read.stream().map(Searcher::readable).toList());
        } catch (Reranker.RerankException e) {
            LOG.warn("hits stay in the order of the search: {}", e.getMessage());
            degraded.add("reranker");
            return hits;
        }
        Map<String, Candidate> candidates = new HashMap<>();
        found.forEach(each -> candidates.put(each.passageId(), each));
        Map<String, Hit> byId = new HashMap<>();
        List<Ranked> ranked = new ArrayList<>();
        for (int i = 0; i < read.size(); i++) {
            Hit hit = read.get(i);
            double score = relevances.get(i) * hit.getFactor();
            byId.put(
                    hit.getPassageId(),
                    Hit.newBuilder(hit).setScore(score).setUnit("relevance").build());
            ranked.add(new Ranked(Objects.requireNonNull(candidates.get(hit.getPassageId())), score, hit.getFactor()));
        }
        ranked.sort(Comparator.comparingDouble(Ranked::score).reversed());
        List<Hit> order = new ArrayList<>();
        // again: by its own scores copies are next to each other
        Ranking.diverse(ranked, ranked.size(), request.diversity())
                .forEach(each -> order.add(
                        Objects.requireNonNull(byId.get(each.candidate().passageId()))));
        order.addAll(hits.subList(read.size(), hits.size()));
        return order;
    }

    /** The hits, then the passages before and after the first of them and those that open their documents. */
    private List<Hit> surrounded(List<Hit> hits, Set<String> exclude) {
        Map<String, Hit> tree = new LinkedHashMap<>();
        Set<String> texts = new HashSet<>();
        hits.forEach(hit -> {
            tree.putIfAbsent(hit.getPassageId(), hit);
            texts.add(plain(hit.getText()));
        });
        for (Hit hit : hits.subList(0, Math.min(BRANCHES, hits.size()))) {
            List<Passage> around = new ArrayList<>(
                    index.section(hit.getDocumentId(), hit.getChunkIndex() - REACH, hit.getChunkIndex() + REACH));
            if (hit.getChunkIndex() > REACH) {
                around.addAll(0, index.section(hit.getDocumentId(), 0, 0));
            }
            for (Passage passage : around) {
                if (exclude.contains(passage.getPassageId())
                        || !isHarmless(passage)
                        || !texts.add(plain(passage.getText()))) {
                    continue;
                }
                boolean opens = passage.getChunkIndex() == 0 && hit.getChunkIndex() > REACH;
                // one that was found itself keeps its own place and scores
                tree.putIfAbsent(
                        passage.getPassageId(),
                        Hit.newBuilder(hit(passage, hit.getScore(), hit.getFactor(), hit.getUnit()))
                                .setRelation(opens ? "parent" : "neighbour")
                                .setRelatedTo(hit.getPassageId())
                                .build());
            }
        }
        return List.copyOf(tree.values());
    }

    /** Of a question with rewordings, half of it is that of the question and half that of the best rewording: neither alone is what was searched for. */
    private double coverage(Request request, List<Hit> hits) {
        double own = coverage(request.text(), hits);
        return request.more().rewordings().stream().mapToDouble(rewording -> coverage(rewording, hits)).max().stream()
                .map(best -> (own + best) / 2)
                .findFirst()
                .orElse(own);
    }

    /** The share of the question's words, weighted by how rare they are, that the best three passages hold, 0..1. */
    private double coverage(String text, List<Hit> hits) {
        Set<String> asked = Terms.plain(text).keySet();
        Set<String> held = new HashSet<>();
        hits.stream().limit(3).forEach(hit -> held.addAll(Terms.of(hit.getTitle() + " " + hit.getText())));
        Map<String, Long> frequencies = index.frequencies(asked);
        long documents = Math.max(1, index.count());
        double all = 0;
        double covered = 0;
        for (String term : asked) {
            long frequency = frequencies.getOrDefault(term, 0L);
            double rarity = Math.log(1 + Math.max(0, documents - frequency + 0.5) / (frequency + 0.5));
            all += rarity;
            covered += held.contains(term) ? rarity : 0;
        }
        return all == 0 ? 0 : covered / all;
    }

    /** What a model reads of a hit. */
    private static String readable(Hit hit) {
        return hit.getTitle() + "\n" + hit.getText();
    }

    private static String unit(String mode) {
        return switch (mode) {
            case "keyword" -> "bm25";
            case "semantic" -> "cosine";
            default -> "fused";
        };
    }

    private static Hit hit(Passage passage, Ranked ranked, String unit) {
        return Hit.newBuilder(hit(passage, ranked.score(), ranked.factor(), unit))
                .setCosine(ranked.candidate().cosine())
                .setBm25(ranked.candidate().bm25())
                .build();
    }

    private static Hit hit(Passage passage, double score, double factor, String unit) {
        return Hit.newBuilder()
                .setPassageId(passage.getPassageId())
                .setDocumentId(passage.getDocumentId())
                .setSource(passage.getSource())
                .setCollection(passage.getCollection())
                .setTitle(passage.getTitle())
                .setPath(passage.getPath())
                .setChunkIndex(passage.getChunkIndex())
                .setText(passage.getText())
                .setScore(score)
                .setUnit(unit)
                .setFactor(factor)
                .setTrust(passage.getTrust())
                .setLocalOnly(passage.getLocalOnly())
                .build();
    }
}
