package io.millrace.knowledge;

import io.millrace.log.Records;
import io.millrace.schema.Passage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.specific.SpecificDatumReader;
import org.apache.avro.specific.SpecificDatumWriter;
import org.apache.lucene.analysis.Analyzer;
import org.apache.lucene.analysis.TokenStream;
import org.apache.lucene.analysis.en.EnglishAnalyzer;
import org.apache.lucene.analysis.tokenattributes.CharTermAttribute;
import org.apache.lucene.codecs.KnnVectorsFormat;
import org.apache.lucene.codecs.lucene104.Lucene104Codec;
import org.apache.lucene.codecs.lucene99.Lucene99HnswVectorsFormat;
import org.apache.lucene.document.Document;
import org.apache.lucene.document.Field;
import org.apache.lucene.document.KnnFloatVectorField;
import org.apache.lucene.document.StoredField;
import org.apache.lucene.document.StringField;
import org.apache.lucene.document.TextField;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.IndexReader;
import org.apache.lucene.index.IndexWriter;
import org.apache.lucene.index.IndexWriterConfig;
import org.apache.lucene.index.Term;
import org.apache.lucene.index.VectorSimilarityFunction;
import org.apache.lucene.search.BooleanClause.Occur;
import org.apache.lucene.search.BooleanQuery;
import org.apache.lucene.search.BoostQuery;
import org.apache.lucene.search.IndexSearcher;
import org.apache.lucene.search.KnnFloatVectorQuery;
import org.apache.lucene.search.Query;
import org.apache.lucene.search.ScoreDoc;
import org.apache.lucene.search.SearcherManager;
import org.apache.lucene.search.TermInSetQuery;
import org.apache.lucene.search.TermQuery;
import org.apache.lucene.store.FSDirectory;
import org.apache.lucene.util.BytesRef;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The embedded vector index: HNSW (m = 16, ef_construct = 64, cosine) and BM25 in one Lucene index.
 *
 * <p>It is a projection: when it cannot be opened, or was made by another embedding model or format, it is wiped, and the log fills it
 * again from offset 0.
 */
public final class LuceneIndex implements VectorIndex {
    private static final Logger LOG = LoggerFactory.getLogger(LuceneIndex.class);
    private static final String FORMAT = "2";
    private static final String ID = "id";
    private static final String DOCUMENT = "document";
    private static final String CHECKSUM = "checksum";
    private static final String COLLECTION = "collection";
    private static final String QUARANTINED = "quarantined";
    private static final String TEXT = "text";
    private static final String TITLE = "title";
    private static final String VECTOR = "vector";
    private static final String RECORD = "record";

    /** A heading says in three words what the text says in a hundred. */
    private static final float TITLE_BOOST = 1.5f;

    static {
        Records.trust();
    }

    private final Analyzer analyzer = new EnglishAnalyzer();
    private final IndexWriter writer;
    private final SearcherManager searchers;
    private final String made;
    private final SpecificDatumWriter<Passage> encoder = new SpecificDatumWriter<>(Passage.getClassSchema());
    private final SpecificDatumReader<Passage> decoder = new SpecificDatumReader<>(Passage.getClassSchema());

    private LuceneIndex(FSDirectory directory, String made) throws IOException {
        this.made = made;
        IndexWriterConfig config =
                new IndexWriterConfig(analyzer).setRAMBufferSizeMB(32).setCommitOnClose(false);
        config.setCodec(new Lucene104Codec() {
            @Override
            public KnnVectorsFormat getKnnVectorsFormatForField(String field) {
                return new Lucene99HnswVectorsFormat(16, 64);
            }
        });
        this.writer = new IndexWriter(directory, config);
        this.searchers = new SearcherManager(writer, null);
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
        document.add(new StringField(DOCUMENT, passage.getDocumentId(), Field.Store.NO));
        document.add(new StringField(CHECKSUM, passage.getMetadata().getOrDefault(CHECKSUM, ""), Field.Store.NO));
        document.add(new StringField(COLLECTION, passage.getCollection(), Field.Store.NO));
        document.add(new StringField(QUARANTINED, String.valueOf(passage.getQuarantined()), Field.Store.NO));
        document.add(new TextField(TEXT, passage.getText(), Field.Store.NO));
        document.add(new TextField(
                TITLE, passage.getTitle() + " " + passage.getPath().replaceAll("[/._-]", " "), Field.Store.NO));
        document.add(new KnnFloatVectorField(
                VECTOR, Vectors.fromBytes(passage.getVector()), VectorSimilarityFunction.COSINE));
        document.add(new StoredField(RECORD, encode(passage)));
        try {
            writer.updateDocument(new Term(ID, passage.getPassageId()), document);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public void delete(String passageId) {
        try {
            writer.deleteDocuments(new Term(ID, passageId));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public void refresh() {
        try {
            searchers.maybeRefreshBlocking();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public void commit(Map<Integer, Long> offsets) {
        Map<String, String> data = new HashMap<>();
        offsets.forEach((partition, offset) -> data.put("offset." + partition, String.valueOf(offset)));
        data.put("made", made);
        writer.setLiveCommitData(data.entrySet());
        try {
            writer.commit();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public Map<Integer, Long> committed() {
        Map<Integer, Long> offsets = new HashMap<>();
        Iterable<Map.Entry<String, String>> data = writer.getLiveCommitData();
        if (data != null) {
            data.forEach(entry -> {
                if (entry.getKey().startsWith("offset.")) {
                    offsets.put(
                            Integer.valueOf(entry.getKey().substring("offset.".length())),
                            Long.valueOf(entry.getValue()));
                }
            });
        }
        return offsets;
    }

    @Override
    public List<Scored> nearest(float[] vector, int limit, List<String> collections) {
        // Lucene's score of a cosine is (1 + cosine) / 2
        return search(
                new KnnFloatVectorQuery(VECTOR, vector, limit, filter(collections)), limit, score -> 2.0 * score - 1.0);
    }

    @Override
    public List<Scored> matching(String text, int limit, List<String> collections) {
        BooleanQuery.Builder any = new BooleanQuery.Builder();
        Set<String> terms = terms(text);
        if (terms.isEmpty()) {
            return List.of();
        }
        for (String term : terms) {
            any.add(new TermQuery(new Term(TEXT, term)), Occur.SHOULD);
            any.add(new BoostQuery(new TermQuery(new Term(TITLE, term)), TITLE_BOOST), Occur.SHOULD);
        }
        Query query = new BooleanQuery.Builder()
                .add(any.build(), Occur.MUST)
                .add(filter(collections), Occur.FILTER)
                .build();
        return search(query, limit, score -> score);
    }

    @Override
    public double coverage(String text, List<Passage> passages) {
        Set<String> asked = terms(text);
        Set<String> held = new LinkedHashSet<>();
        passages.forEach(passage -> held.addAll(terms(passage.getTitle() + " " + passage.getText())));
        return read(searcher -> {
            double all = 0;
            double covered = 0;
            int documents = Math.max(1, searcher.getIndexReader().numDocs());
            for (String term : asked) {
                int frequency = searcher.getIndexReader().docFreq(new Term(TEXT, term));
                double rarity = Math.log(1 + (documents - frequency + 0.5) / (frequency + 0.5));
                all += rarity;
                covered += held.contains(term) ? rarity : 0;
            }
            return all == 0 ? 0 : covered / all;
        });
    }

    @Override
    public List<Passage> section(String documentId, int from, int to) {
        Query query = new BooleanQuery.Builder()
                .add(new TermQuery(new Term(DOCUMENT, documentId)), Occur.FILTER)
                .add(new TermQuery(new Term(QUARANTINED, "false")), Occur.FILTER)
                .build();
        return search(query, 100_000, score -> score).stream()
                .map(Scored::passage)
                .filter(passage -> passage.getChunkIndex() >= from && passage.getChunkIndex() <= to)
                .sorted(Comparator.comparingInt(Passage::getChunkIndex))
                .toList();
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
        return read(searcher ->
                made + "|" + (searcher.getIndexReader() instanceof DirectoryReader reader ? reader.getVersion() : 0));
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

    private interface Unit {
        double of(float score);
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

    private List<Scored> search(Query query, int limit, Unit unit) {
        return read(searcher -> {
            IndexReader reader = searcher.getIndexReader();
            if (reader.numDocs() == 0) {
                return List.of();
            }
            List<Scored> found = new ArrayList<>();
            for (ScoreDoc hit : searcher.search(query, limit).scoreDocs) {
                BytesRef record = searcher.storedFields()
                        .document(hit.doc, Set.of(RECORD))
                        .getBinaryValue(RECORD);
                found.add(new Scored(decode(record), unit.of(hit.score)));
            }
            return found;
        });
    }

    private static Query filter(List<String> collections) {
        BooleanQuery.Builder filter =
                new BooleanQuery.Builder().add(new TermQuery(new Term(QUARANTINED, "false")), Occur.FILTER);
        if (!collections.isEmpty()) {
            filter.add(
                    new TermInSetQuery(
                            COLLECTION, collections.stream().map(BytesRef::new).toList()),
                    Occur.FILTER);
        }
        return filter.build();
    }

    private Set<String> terms(String text) {
        Set<String> terms = new LinkedHashSet<>();
        try (TokenStream tokens = analyzer.tokenStream(TEXT, text)) {
            CharTermAttribute term = tokens.addAttribute(CharTermAttribute.class);
            tokens.reset();
            while (tokens.incrementToken()) {
                terms.add(term.toString());
            }
            tokens.end();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return terms;
    }

    private byte[] encode(Passage passage) {
        try {
            ByteArrayOutputStream out = new ByteArrayOutputStream(4096);
            BinaryEncoder binary = EncoderFactory.get().directBinaryEncoder(out, null);
            encoder.write(passage, binary);
            return out.toByteArray();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private Passage decode(BytesRef bytes) throws IOException {
        return decoder.read(null, DecoderFactory.get().binaryDecoder(bytes.bytes, bytes.offset, bytes.length, null));
    }
}
