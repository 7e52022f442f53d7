package io.millrace.knowledge;

import io.millrace.config.MillraceConfig;
import io.millrace.log.Records;
import io.millrace.schema.Passage;
import java.io.IOException;
import java.io.InterruptedIOException;
import java.io.UncheckedIOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.FutureTask;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import org.apache.lucene.codecs.KnnVectorsFormat;
import org.apache.lucene.codecs.KnnVectorsReader;
import org.apache.lucene.codecs.KnnVectorsWriter;
import org.apache.lucene.codecs.lucene104.Lucene104Codec;
import org.apache.lucene.codecs.lucene104.Lucene104HnswScalarQuantizedVectorsFormat;
import org.apache.lucene.document.BinaryDocValuesField;
import org.apache.lucene.document.Document;
import org.apache.lucene.document.DoubleDocValuesField;
import org.apache.lucene.document.DoublePoint;
import org.apache.lucene.document.Field;
import org.apache.lucene.document.IntPoint;
import org.apache.lucene.document.KnnFloatVectorField;
import org.apache.lucene.document.NumericDocValuesField;
import org.apache.lucene.document.StoredField;
import org.apache.lucene.document.StringField;
import org.apache.lucene.document.TextField;
import org.apache.lucene.index.BinaryDocValues;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.DocValues;
import org.apache.lucene.index.FloatVectorValues;
import org.apache.lucene.index.IndexWriter;
import org.apache.lucene.index.IndexWriterConfig;
import org.apache.lucene.index.KnnVectorValues;
import org.apache.lucene.index.LeafReader;
import org.apache.lucene.index.LeafReaderContext;
import org.apache.lucene.index.NumericDocValues;
import org.apache.lucene.index.PostingsEnum;
import org.apache.lucene.index.SegmentReadState;
import org.apache.lucene.index.SegmentWriteState;
import org.apache.lucene.index.StoredFields;
import org.apache.lucene.index.Term;
import org.apache.lucene.index.TermStates;
import org.apache.lucene.index.TermsEnum;
import org.apache.lucene.index.VectorSimilarityFunction;
import org.apache.lucene.search.BooleanClause.Occur;
import org.apache.lucene.search.BooleanQuery;
import org.apache.lucene.search.BoostQuery;
import org.apache.lucene.search.DocIdSetIterator;
import org.apache.lucene.search.IndexSearcher;
import org.apache.lucene.search.KnnFloatVectorQuery;
import org.apache.lucene.search.Query;
import org.apache.lucene.search.ScoreDoc;
import org.apache.lucene.search.ScoreMode;
import org.apache.lucene.search.Scorer;
import org.apache.lucene.search.SearcherManager;
import org.apache.lucene.search.TermInSetQuery;
import org.apache.lucene.search.TermQuery;
import org.apache.lucene.search.TopScoreDocCollectorManager;
import org.apache.lucene.search.Weight;
import org.apache.lucene.store.FSDirectory;
import org.apache.lucene.util.BytesRef;
import org.apache.lucene.util.quantization.QuantizedByteVectorValues.ScalarEncoding;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The embedded vector index: HNSW (m = 16, ef_construct = 64, cosine) and BM25 in one Lucene index.
 *
 * <p>The graph is searched over vectors of seven bits a dimension, which the compiler turns into vector instructions where it cannot for
 * floats (their sums may not be reordered); what is found is scored by the whole vectors.
 *
 * <p>It is a projection: when it cannot be opened, or was made by another embedding model or format, it is wiped, and the log fills it
 * again from offset 0.
 */
public final class LuceneIndex implements VectorIndex {
    private static final Logger LOG = LoggerFactory.getLogger(LuceneIndex.class);
    private static final String FORMAT = "4";
    private static final String ID = "id";
    private static final String DOCUMENT = "document";
    private static final String CHECKSUM = "checksum";
    private static final String COLLECTION = "collection";
    private static final String QUARANTINED = "quarantined";
    private static final String TEXT = "text";
    private static final String TITLE = "title";
    private static final String VECTOR = "vector";
    private static final String RECORD = "record";
    private static final String CHUNK = "chunk";
    private static final String TAG = "tag";
    private static final String FILTER = "filter.";
    private static final String SINCE = "since";
    private static final String LAST_USED = "last-used";
    private static final String SUCCESS = "success";
    private static final String FLAGS = "flags";
    private static final String SHOWN = "shown";

    /** A title counts as much as the text: more was measured to be worse on titles, less on abstracts. */
    private static final float TITLE_BOOST = 1.0f;

    /**
     * Segments up to which the graph is searched for more than is taken of it, and by how much. Each of many segments is searched for almost as many as are
     * taken of all, so many find more: of the nearest ten, five segments found 0.985, one alone 0.947, and one searched for twice as many 0.993.
     */
    private static final int FEW = 3;

    private static final int WIDER = 2;

    /** Terms of a question that are searched for, each in two fields: Lucene takes 1,024 clauses, and a pasted text has more words. */
    private static final int MOST_TERMS = 256;

    static {
        Records.trust();
    }

    /**
     * Searches for meaning beside a search for words while a thread of it is free. With none free the asking thread does both: nothing
     * waits in a queue, and many searches at once go as they would without it.
     */
    private static final ExecutorService BESIDE = new ThreadPoolExecutor(
            0,
            Math.max(1, Runtime.getRuntime().availableProcessors() / 2),
            10,
            TimeUnit.SECONDS,
            new SynchronousQueue<>(),
            Thread.ofPlatform().name("search-", 0).daemon().factory(),
            new ThreadPoolExecutor.CallerRunsPolicy());

    private final IndexWriter writer;
    private final SearcherManager searchers;
    private final String made;

    /** Something may have been written that no search sees yet. */
    private volatile boolean written;

    /** The same of what is not committed. */
    private volatile boolean uncommitted;

    /** When searches last saw something new, in milliseconds. Not the reader's version: that changes with every merge, which changes no answer. */
    private volatile long shown;

    /** Lucene's format for vectors longer than the 1,024 that it takes: longer ones only cost more. */
    private static final class LongVectors extends KnnVectorsFormat {
        private final KnnVectorsFormat format;

        LongVectors(KnnVectorsFormat format) {
            // by this name the segments are read again
            super(format.getName());
            this.format = format;
        }

        @Override
        public KnnVectorsWriter fieldsWriter(SegmentWriteState state) throws IOException {
            return format.fieldsWriter(state);
        }

        @Override
        public KnnVectorsReader fieldsReader(SegmentReadState state) throws IOException {
            return format.fieldsReader(state);
        }

        @Override
        public int getMaxDimensions(String field) {
            return MillraceConfig.Embedding.MOST_DIMENSIONS;
        }
    }

    private LuceneIndex(FSDirectory directory, String made) throws IOException {
        this.made = made;
        IndexWriterConfig config =
                new IndexWriterConfig(Terms.ANALYZER).setRAMBufferSizeMB(32).setCommitOnClose(false);
        config.setCodec(new Lucene104Codec() {
            @Override
            public KnnVectorsFormat getKnnVectorsFormatForField(String field) {
                return new LongVectors(new Lucene104HnswScalarQuantizedVectorsFormat(ScalarEncoding.SEVEN_BIT, 16, 64));
            }
        });
        config.setMergePolicy(new SettledMerges());
        this.writer = new IndexWriter(directory, config);
        this.searchers = new SearcherManager(writer, null);
        this.shown = Long.parseLong(userData().getOrDefault(SHOWN, String.valueOf(System.currentTimeMillis())));
    }

    private Map<String, String> userData() {
        Map<String, String> data = new HashMap<>();
        Iterable<Map.Entry<String, String>> committed = writer.getLiveCommitData();
        if (committed != null) {
            committed.forEach(entry -> data.put(entry.getKey(), entry.getValue()));
        }
        return data;
    }

    /**
     * Opens or makes the index in a folder.
     *
     * @param fingerprint of the embedding model
     */
    public static LuceneIndex open(Path folder, String fingerprint) {
        String made = FORMAT + "|" + fingerprint + "|" + Chunker.VERSION;
        try {
            Files.createDirectories(folder);
            try {
                if (DirectoryReader.indexExists(FSDirectory.open(folder))) {
                    Map<String, String> data;
                    try (DirectoryReader reader = DirectoryReader.open(FSDirectory.open(folder))) {
                        data = reader.getIndexCommit().getUserData();
                    }
                    if (made.equals(data.get("made"))) {
                        return new LuceneIndex(FSDirectory.open(folder), made);
                    }
                    LOG.info(
                            "the vector index in {} was made by {}, not {}: it is rebuilt",
                            folder,
                            data.get("made"),
                            made);
                }
            } catch (IOException | RuntimeException e) {
                LOG.warn("the vector index in {} cannot be opened and is rebuilt: {}", folder, e.toString());
            }
            wipe(folder);
            return new LuceneIndex(FSDirectory.open(folder), made);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static void wipe(Path folder) throws IOException {
        try (DirectoryStream<Path> files = Files.newDirectoryStream(folder)) {
            for (Path file : files) {
                Files.delete(file);
            }
        }
    }

    @Override
    public void put(Passage passage) {
        Document document = new Document();
        document.add(new StringField(ID, passage.getPassageId(), Field.Store.YES));
        document.add(new BinaryDocValuesField(ID, new BytesRef(passage.getPassageId())));
        document.add(new BinaryDocValuesField(DOCUMENT, new BytesRef(passage.getDocumentId())));
        document.add(new IntPoint(CHUNK, passage.getChunkIndex()));
        passage.getTags().forEach(tag -> document.add(new StringField(TAG, tag, Field.Store.NO)));
        Filter.FIELDS.forEach(
                field -> document.add(new StringField(FILTER + field, Filter.value(passage, field), Field.Store.NO)));
        Facts facts = Facts.of(passage);
        document.add(new NumericDocValuesField(SINCE, facts.since()));
        document.add(new NumericDocValuesField(LAST_USED, facts.lastUsed()));
        document.add(new DoubleDocValuesField(SUCCESS, facts.successRate()));
        document.add(new DoublePoint(SUCCESS, facts.successRate()));
        document.add(new NumericDocValuesField(FLAGS, (facts.verified() ? 1 : 0) + (facts.feedbackLinked() ? 2 : 0)));
        document.add(new StringField(DOCUMENT, passage.getDocumentId(), Field.Store.NO));
        document.add(new StringField(CHECKSUM, passage.getMetadata().getOrDefault(CHECKSUM, ""), Field.Store.NO));
        document.add(new StringField(COLLECTION, passage.getCollection(), Field.Store.NO));
        document.add(new StringField(QUARANTINED, String.valueOf(passage.getQuarantined()), Field.Store.NO));
        // neither words nor a vector: no search can find it, and none has to leave it out
        if (!passage.getQuarantined()) {
            document.add(new TextField(TEXT, passage.getText(), Field.Store.NO));
            document.add(new TextField(
                    TITLE, passage.getTitle() + " " + passage.getPath().replaceAll("[/._-]", " "), Field.Store.NO));
            document.add(new KnnFloatVectorField(
                    VECTOR, Vectors.fromBytes(passage.getVector()), VectorSimilarityFunction.COSINE));
        }
        document.add(new StoredField(RECORD, PassageBytes.encode(passage)));
        try {
            writer.updateDocument(new Term(ID, passage.getPassageId()), document);
            written = true;
            uncommitted = true;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public void delete(String passageId) {
        try {
            writer.deleteDocuments(new Term(ID, passageId));
            written = true;
            uncommitted = true;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public synchronized void refresh() {
        boolean something = written;
        written = false;
        try {
            searchers.maybeRefreshBlocking();
        } catch (IOException e) {
            written = something;
            throw new UncheckedIOException(e);
        }
        if (something) {
            shown = later();
        }
    }

    private long later() {
        return Math.max(shown + 1, System.currentTimeMillis());
    }

    @Override
    public boolean settle() {
        int before = segments();
        try {
            writer.forceMerge(1);
            refresh();
            return segments() != before;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private int segments() {
        return read(searcher -> searcher.getIndexReader().leaves().size());
    }

    @Override
    public void commit(Map<Integer, Long> offsets) {
        Map<String, String> data = new HashMap<>();
        offsets.forEach((partition, offset) -> data.put("offset." + partition, String.valueOf(offset)));
        data.put("made", made);
        // it may hold what is not shown yet; a merge alone makes no difference
        String version = uncommitted ? String.valueOf(later()) : userData().get(SHOWN);
        uncommitted = false;
        data.put(SHOWN, version == null ? String.valueOf(shown) : version);
        writer.setLiveCommitData(data.entrySet());
        try {
            writer.commit();
        } catch (IOException e) {
            uncommitted = true;
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public Map<Integer, Long> committed() {
        Map<Integer, Long> offsets = new HashMap<>();
        userData().forEach((key, value) -> {
            if (key.startsWith("offset.")) {
                offsets.put(Integer.valueOf(key.substring("offset.".length())), Long.valueOf(value));
            }
        });
        return offsets;
    }

    @Override
    public List<Candidate> candidates(Question question) {
        return read(searcher -> {
            if (searcher.getIndexReader().numDocs() == 0) {
                return List.of();
            }
            Optional<Query> filter = filter(question.filter());
            boolean both = question.vector().length > 0 && !question.terms().isEmpty();
            FutureTask<ScoreDoc[]> nearest = new FutureTask<>(() -> nearest(searcher, question, filter));
            (both ? BESIDE : (Executor) Runnable::run).execute(nearest);
            Query words = words(searcher, question.terms());
            NavigableMap<Integer, Scores> found = new TreeMap<>();
            for (ScoreDoc hit : best(searcher, words, question.limit(), filter)) {
                found.computeIfAbsent(hit.doc, doc -> new Scores()).bm25 = (double) hit.score;
            }
            for (ScoreDoc hit : await(nearest)) {
                found.computeIfAbsent(hit.doc, doc -> new Scores());
            }
            if (both) {
                scoreRest(searcher, words, found);
            }
            return read(searcher, question.vector(), found);
        });
    }

    private static ScoreDoc[] nearest(IndexSearcher searcher, Question question, Optional<Query> filter)
            throws IOException {
        if (question.vector().length == 0) {
            return new ScoreDoc[0];
        }
        int width = searcher.getIndexReader().leaves().size() > FEW ? question.limit() : WIDER * question.limit();
        Query near = new KnnFloatVectorQuery(VECTOR, question.vector(), width, filter.orElse(null));
        return searcher.search(near, question.limit()).scoreDocs;
    }

    private static ScoreDoc[] best(IndexSearcher searcher, Query words, int limit, Optional<Query> filter)
            throws IOException {
        Query allowed = words;
        if (filter.isPresent()) {
            allowed = new BooleanQuery.Builder()
                    .add(words, Occur.MUST)
                    .add(filter.get(), Occur.FILTER)
                    .build();
        }
        // nobody asks how many there are: what cannot come in among the best is skipped from the start
        return searcher.search(allowed, new TopScoreDocCollectorManager(limit, null, limit)).scoreDocs;
    }

    private static ScoreDoc[] await(FutureTask<ScoreDoc[]> search) throws IOException {
        try {
            return search.get();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new InterruptedIOException("interrupted while searching");
        } catch (ExecutionException e) {
            throw new IOException(e.getCause());
        }
    }

    /** The keyword score of the candidates that only the dense side found. */
    private static void scoreRest(IndexSearcher searcher, Query words, NavigableMap<Integer, Scores> found)
            throws IOException {
        Weight weight = searcher.createWeight(searcher.rewrite(words), ScoreMode.COMPLETE, 1);
        for (LeafReaderContext leaf : searcher.getIndexReader().leaves()) {
            Scorer scorer = null;
            for (Map.Entry<Integer, Scores> each : of(leaf, found).entrySet()) {
                if (each.getValue().bm25 != null) {
                    continue;
                }
                scorer = scorer == null ? weight.scorer(leaf) : scorer;
                if (scorer == null) {
                    break;
                }
                int doc = each.getKey() - leaf.docBase;
                int at = scorer.docID() < doc ? scorer.iterator().advance(doc) : scorer.docID();
                if (at == doc) {
                    each.getValue().bm25 = (double) scorer.score();
                }
            }
        }
    }

    /** Vectors and facts from doc values: a tenth of the time of reading the passages. */
    private static List<Candidate> read(IndexSearcher searcher, float[] vector, NavigableMap<Integer, Scores> found)
            throws IOException {
        List<Candidate> candidates = new ArrayList<>(found.size());
        for (LeafReaderContext leaf : searcher.getIndexReader().leaves()) {
            Map<Integer, Scores> here = of(leaf, found);
            if (here.isEmpty()) {
                continue;
            }
            LeafReader reader = leaf.reader();
            BinaryDocValues ids = DocValues.getBinary(reader, ID);
            BinaryDocValues documents = DocValues.getBinary(reader, DOCUMENT);
            NumericDocValues since = DocValues.getNumeric(reader, SINCE);
            NumericDocValues used = DocValues.getNumeric(reader, LAST_USED);
            NumericDocValues success = DocValues.getNumeric(reader, SUCCESS);
            NumericDocValues flags = DocValues.getNumeric(reader, FLAGS);
            FloatVectorValues vectors = reader.getFloatVectorValues(VECTOR);
            KnnVectorValues.DocIndexIterator ordinals = vectors.iterator();
            for (Map.Entry<Integer, Scores> each : here.entrySet()) {
                int doc = each.getKey() - leaf.docBase;
                ordinals.advance(doc);
                float[] own = vectors.vectorValue(ordinals.index()).clone();
                long flag = value(flags, doc);
                candidates.add(new Candidate(
                        text(ids, doc),
                        text(documents, doc),
                        own,
                        vector.length > 0 ? Vectors.cosine(vector, own) : null,
                        each.getValue().bm25,
                        new Facts(
                                value(since, doc),
                                value(used, doc),
                                Double.longBitsToDouble(value(success, doc)),
                                (flag & 1) != 0,
                                (flag & 2) != 0)));
            }
        }
        return candidates;
    }

    private static Map<Integer, Scores> of(LeafReaderContext leaf, NavigableMap<Integer, Scores> found) {
        return found.subMap(leaf.docBase, leaf.docBase + leaf.reader().maxDoc());
    }

    private static String text(BinaryDocValues values, int doc) throws IOException {
        return values.advanceExact(doc) ? values.binaryValue().utf8ToString() : "";
    }

    private static long value(NumericDocValues values, int doc) throws IOException {
        return values.advanceExact(doc) ? values.longValue() : 0;
    }

    private static final class Scores {
        private @Nullable Double bm25;
    }

    @Override
    public Map<String, Passage> load(Collection<String> passageIds) {
        return read(searcher -> {
            Map<String, Passage> passages = new HashMap<>();
            StoredFields records = searcher.storedFields();
            for (LeafReaderContext leaf : searcher.getIndexReader().leaves()) {
                LeafReader reader = leaf.reader();
                TermsEnum ids =
                        org.apache.lucene.index.Terms.getTerms(reader, ID).iterator();
                for (String id : passageIds) {
                    // a query would go over a bit for every passage there is
                    if (!passages.containsKey(id) && ids.seekExact(new BytesRef(id))) {
                        PostingsEnum at = ids.postings(null, PostingsEnum.NONE);
                        for (int doc = at.nextDoc(); doc != DocIdSetIterator.NO_MORE_DOCS; doc = at.nextDoc()) {
                            if (reader.getLiveDocs() == null
                                    || reader.getLiveDocs().get(doc)) {
                                passages.put(id, passage(records, leaf.docBase + doc));
                            }
                        }
                    }
                }
            }
            return passages;
        });
    }

    @Override
    public List<Passage> section(String documentId, int from, int to) {
        return read(searcher -> {
            Query section = new BooleanQuery.Builder()
                    .add(new TermQuery(new Term(DOCUMENT, documentId)), Occur.FILTER)
                    .add(IntPoint.newRangeQuery(CHUNK, from, to), Occur.FILTER)
                    .add(new TermQuery(new Term(QUARANTINED, "false")), Occur.FILTER)
                    .build();
            // room for as many hits is made, and filled, before the first is looked for
            int most = Math.clamp((long) to - from + 1, 1, Math.max(1, searcher.count(section)));
            List<Passage> passages = passages(searcher, section, most);
            passages.sort(Comparator.comparingInt(Passage::getChunkIndex));
            return passages;
        });
    }

    @Override
    public Map<String, Long> frequencies(Collection<String> terms) {
        return read(searcher -> {
            Map<String, Long> frequencies = new HashMap<>();
            for (String term : terms) {
                frequencies.put(term, (long) searcher.getIndexReader().docFreq(new Term(TEXT, term)));
            }
            return frequencies;
        });
    }

    @Override
    public boolean hasDocument(String documentId, @Nullable String checksum) {
        BooleanQuery.Builder query =
                new BooleanQuery.Builder().add(new TermQuery(new Term(DOCUMENT, documentId)), Occur.FILTER);
        if (checksum != null) {
            query.add(new TermQuery(new Term(CHECKSUM, checksum)), Occur.FILTER);
        }
        return read(searcher -> searcher.count(query.build()) > 0);
    }

    @Override
    public List<String> passagesOf(String documentId) {
        return read(searcher -> {
            List<String> ids = new ArrayList<>();
            for (ScoreDoc hit : searcher.search(new TermQuery(new Term(DOCUMENT, documentId)), 100_000).scoreDocs) {
                ids.add(searcher.storedFields().document(hit.doc, Set.of(ID)).get(ID));
            }
            return ids;
        });
    }

    @Override
    public long count() {
        return read(searcher -> (long) searcher.getIndexReader().numDocs());
    }

    @Override
    public String version() {
        return made + "|" + shown;
    }

    @Override
    public void close() {
        try {
            searchers.close();
            // what was not committed is read from the log again
            writer.rollback();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private interface Reading<T> {
        T from(IndexSearcher searcher) throws IOException;
    }

    private <T> T read(Reading<T> reading) {
        try {
            IndexSearcher searcher = searchers.acquire();
            try {
                return reading.from(searcher);
            } finally {
                searchers.release(searcher);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private List<Passage> passages(IndexSearcher searcher, Query query, int limit) throws IOException {
        List<Passage> found = new ArrayList<>();
        StoredFields records = searcher.storedFields();
        for (ScoreDoc hit : searcher.search(query, limit).scoreDocs) {
            found.add(passage(records, hit.doc));
        }
        return found;
    }

    private static Passage passage(StoredFields records, int doc) throws IOException {
        BytesRef record = records.document(doc, Set.of(RECORD)).getBinaryValue(RECORD);
        return PassageBytes.decode(record.bytes, record.offset, record.length);
    }

    private static Query words(IndexSearcher searcher, Map<String, Double> terms) throws IOException {
        BooleanQuery.Builder any = new BooleanQuery.Builder();
        List<Map.Entry<String, Double>> first =
                terms.entrySet().stream().limit(MOST_TERMS).toList();
        for (Map.Entry<String, Double> each : first) {
            float boost = each.getValue().floatValue();
            any.add(new BoostQuery(word(searcher, TEXT, each.getKey()), boost), Occur.SHOULD);
            any.add(new BoostQuery(word(searcher, TITLE, each.getKey()), boost * TITLE_BOOST), Occur.SHOULD);
        }
        return any.build();
    }

    /** With where it stands in each segment: the search and the scores of the rest both need it. */
    private static Query word(IndexSearcher searcher, String field, String text) throws IOException {
        Term term = new Term(field, text);
        return new TermQuery(term, TermStates.build(searcher, term, true));
    }

    /** Empty when every passage will do. */
    private static Optional<Query> filter(Filter wanted) {
        BooleanQuery.Builder builder = new BooleanQuery.Builder();
        if (!wanted.collections().isEmpty()) {
            builder.add(
                    new TermInSetQuery(
                            COLLECTION,
                            wanted.collections().stream().map(BytesRef::new).toList()),
                    Occur.FILTER);
        }
        wanted.fields()
                .forEach((field, value) -> builder.add(new TermQuery(new Term(FILTER + field, value)), Occur.FILTER));
        wanted.tags().forEach(tag -> builder.add(new TermQuery(new Term(TAG, tag)), Occur.FILTER));
        if (wanted.minSuccessRate() > 0) {
            builder.add(DoublePoint.newRangeQuery(SUCCESS, wanted.minSuccessRate(), 1), Occur.FILTER);
        }
        BooleanQuery filter = builder.build();
        return filter.clauses().isEmpty() ? Optional.empty() : Optional.of(filter);
    }
}
