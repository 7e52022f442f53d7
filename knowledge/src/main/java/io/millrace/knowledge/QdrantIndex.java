package io.millrace.knowledge;

import static io.qdrant.client.ConditionFactory.match;
import static io.qdrant.client.ConditionFactory.matchKeyword;
import static io.qdrant.client.ConditionFactory.range;
import static io.qdrant.client.QueryFactory.nearest;
import static io.qdrant.client.ValueFactory.list;
import static io.qdrant.client.ValueFactory.value;

import com.github.benmanes.caffeine.cache.Cache;
import com.github.benmanes.caffeine.cache.Caffeine;
import com.google.common.util.concurrent.ListenableFuture;
import io.millrace.log.Records;
import io.millrace.schema.Passage;
import io.qdrant.client.PointIdFactory;
import io.qdrant.client.QdrantClient;
import io.qdrant.client.QdrantGrpcClient;
import io.qdrant.client.VectorFactory;
import io.qdrant.client.VectorsFactory;
import io.qdrant.client.WithPayloadSelectorFactory;
import io.qdrant.client.WithVectorsSelectorFactory;
import io.qdrant.client.grpc.Collections.CreateCollection;
import io.qdrant.client.grpc.Collections.Distance;
import io.qdrant.client.grpc.Collections.HnswConfigDiff;
import io.qdrant.client.grpc.Collections.Modifier;
import io.qdrant.client.grpc.Collections.PayloadSchemaType;
import io.qdrant.client.grpc.Collections.SparseVectorConfig;
import io.qdrant.client.grpc.Collections.SparseVectorParams;
import io.qdrant.client.grpc.Collections.VectorParams;
import io.qdrant.client.grpc.Collections.VectorParamsMap;
import io.qdrant.client.grpc.Collections.VectorsConfig;
import io.qdrant.client.grpc.Common;
import io.qdrant.client.grpc.Common.PointId;
import io.qdrant.client.grpc.Common.Range;
import io.qdrant.client.grpc.JsonWithInt.Value;
import io.qdrant.client.grpc.Points.BatchResult;
import io.qdrant.client.grpc.Points.DeletePoints;
import io.qdrant.client.grpc.Points.PointStruct;
import io.qdrant.client.grpc.Points.PointsIdsList;
import io.qdrant.client.grpc.Points.PointsSelector;
import io.qdrant.client.grpc.Points.PrefetchQuery;
import io.qdrant.client.grpc.Points.QueryPoints;
import io.qdrant.client.grpc.Points.RetrievedPoint;
import io.qdrant.client.grpc.Points.ScoredPoint;
import io.qdrant.client.grpc.Points.ScrollPoints;
import io.qdrant.client.grpc.Points.ScrollResponse;
import io.qdrant.client.grpc.Points.UpsertPoints;
import io.qdrant.client.grpc.Points.Vector;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.ToDoubleFunction;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The vector index on a Qdrant server, 1.15 or later: one Qdrant collection for each of ours, with a dense vector (cosine, HNSW m = 16,
 * ef_construct = 64) and a sparse one that holds the document's side of BM25; the server multiplies the idf in
 * ({@code Modifier.IDF}).
 *
 * <p>A question to both sides is one batch of two queries over the same prefetch (the nearest and the best by words): one scores the
 * union by the dense vector, the other by the sparse one. So each candidate has both exact scores, which fusion needs and the server's
 * own fusion would not give (decision 013).
 *
 * <p>Several processes may keep one server up with the log: writes are the same whoever does them. Offsets and the maker of the index
 * are in a collection of their own; an index made by another model or format is dropped, and the log fills it again.
 */
public final class QdrantIndex implements VectorIndex {
    private static final Logger LOG = LoggerFactory.getLogger(QdrantIndex.class);
    private static final String FORMAT = "1";
    private static final String DENSE = "dense";
    private static final String WORDS = "words";
    private static final String RECORD = "record";
    private static final String PASSAGE = "passage_id";
    private static final String DOCUMENT = "document_id";
    private static final String CHUNK = "chunk_index";
    private static final String QUARANTINED = "quarantined";
    private static final String CHECKSUM = "checksum";
    private static final String TAGS = "tags";
    private static final String TERMS = "terms";
    private static final String SUCCESS = "success_rate";
    private static final String SINCE = "since";
    private static final String LAST_USED = "last_used_at";
    private static final String VERIFIED = "is_verified";
    private static final String LINKED = "is_feedback_linked";
    private static final List<String> FACTS = List.of(PASSAGE, DOCUMENT, SUCCESS, SINCE, LAST_USED, VERIFIED, LINKED);

    /** Where offsets and the maker are kept, after the prefix. */
    private static final String STATE = "millrace-state";

    private static final String SHOWN = "shown";
    private static final Duration COUNT_PATIENCE = Duration.ofMillis(200);
    private static final PointId STATE_POINT = PointIdFactory.id(1);

    private static final int BATCH = 256;
    private static final int PAGE = 1_000;
    private static final int HNSW_M = 16;
    private static final int HNSW_EF = 64;

    /** kB of vectors below which all are compared. */
    private static final int FULL_SCAN = 10_000;

    /** BM25's constants, and the lengths that it compares to: the server cannot know the averages, the chunker makes them nearly so. */
    private static final double K1 = 1.2;

    private static final double B = 0.75;
    private static final double AVERAGE_TEXT = 90;
    private static final double AVERAGE_TITLE = 8;

    static {
        Records.trust();
    }

    private final QdrantClient client;
    private final String prefix;
    private final List<String> collections;
    private final int dimension;
    private final String made;
    private final Duration timeout;
    private final Map<String, Optional<Passage>> waiting = new LinkedHashMap<>();

    /** When searches last saw something new, in milliseconds; kept with the offsets, so that a restart has no version of older texts again. */
    private volatile long shown = System.currentTimeMillis();

    private volatile long counted;

    private final Cache<String, Long> frequencies = Caffeine.newBuilder()
            .maximumSize(20_000)
            .expireAfterWrite(Duration.ofMinutes(1))
            .build();

    private QdrantIndex(Server server, List<String> collections, int dimension, String fingerprint) {
        QdrantGrpcClient.Builder grpc = QdrantGrpcClient.newBuilder(server.host(), server.port(), server.tls(), false);
        if (!server.key().isEmpty()) {
            grpc.withApiKey(server.key());
        }
        this.timeout = server.timeout();
        this.client = new QdrantClient(grpc.withTimeout(timeout).build());
        this.prefix = server.prefix();
        this.collections = List.copyOf(collections);
        this.dimension = dimension;
        this.made = FORMAT + "|" + fingerprint + "|" + Chunker.VERSION;
    }

    /**
     * Where the server is.
     *
     * @param port of gRPC, usually 6334
     * @param key API key; empty for none
     * @param prefix put before the names of our collections
     * @param timeout for each call
     */
    public record Server(String host, int port, boolean tls, String key, String prefix, Duration timeout) {}

    /** The server did not do what it was asked. */
    public static final class QdrantException extends IllegalStateException {
        private static final long serialVersionUID = 1L;

        QdrantException(String message, Throwable cause) {
            super(message, cause);
        }
    }

    /**
     * Opens the collections, and makes those that are missing.
     *
     * @param dimension of the vectors
     * @param fingerprint of the embedding model
     * @throws QdrantException when the server does not answer
     */
    public static QdrantIndex open(Server server, List<String> collections, int dimension, String fingerprint) {
        QdrantIndex index = new QdrantIndex(server, collections, dimension, fingerprint);
        try {
            index.prepare();
            return index;
        } catch (RuntimeException e) {
            index.client.close();
            throw e;
        }
    }

    /**
     * Drops the collections and makes them anew, empty.
     *
     * @param dimension of the vectors
     * @param fingerprint of the embedding model
     * @throws QdrantException when the server does not answer
     */
    public static QdrantIndex anew(Server server, List<String> collections, int dimension, String fingerprint) {
        QdrantIndex index = new QdrantIndex(server, collections, dimension, fingerprint);
        try {
            index.drop(new HashSet<>(index.get(index.client.listCollectionsAsync())));
            index.prepare();
            return index;
        } catch (RuntimeException e) {
            index.client.close();
            throw e;
        }
    }

    private void prepare() {
        Set<String> there = new HashSet<>(get(client.listCollectionsAsync()));
        if (there.contains(prefix + STATE)) {
            Map<String, Value> state = state();
            String by = state.getOrDefault("made", value("")).getStringValue();
            if (by.equals(made)) {
                shown = state.getOrDefault(SHOWN, value(shown)).getIntegerValue();
            } else {
                LOG.info("the collections of {}* were made by {}, not {}: they are rebuilt", prefix, by, made);
                drop(there);
            }
        }
        for (String name : collections) {
            if (!there.contains(prefix + name)) {
                create(prefix + name);
            }
        }
        if (!there.contains(prefix + STATE)) {
            get(client.createCollectionAsync(
                    prefix + STATE,
                    VectorParams.newBuilder()
                            .setSize(1)
                            .setDistance(Distance.Cosine)
                            .build()));
            commit(Map.of());
        }
    }

    /** @param there the collections of the server; those that are dropped are taken out */
    private void drop(Set<String> there) {
        if (there.contains(prefix + STATE)) {
            // by nobody: broken off here, what is left of it is not taken for an index, and dropped by the next that
            // opens it
            note("", Map.of());
        }
        Stream.concat(collections.stream(), Stream.of(STATE))
                .map(name -> prefix + name)
                .filter(there::contains)
                .forEach(name -> {
                    get(client.deleteCollectionAsync(name));
                    there.remove(name);
                });
    }

    private void create(String name) {
        VectorParams dense = VectorParams.newBuilder()
                .setSize(dimension)
                .setDistance(Distance.Cosine)
                .setHnswConfig(HnswConfigDiff.newBuilder()
                        .setM(HNSW_M)
                        .setEfConstruct(HNSW_EF)
                        .setFullScanThreshold(FULL_SCAN))
                .build();
        get(client.createCollectionAsync(CreateCollection.newBuilder()
                .setCollectionName(name)
                .setOnDiskPayload(true)
                .setVectorsConfig(VectorsConfig.newBuilder()
                        .setParamsMap(VectorParamsMap.newBuilder().putMap(DENSE, dense)))
                .setSparseVectorsConfig(SparseVectorConfig.newBuilder()
                        .putMap(
                                WORDS,
                                SparseVectorParams.newBuilder()
                                        .setModifier(Modifier.Idf)
                                        .build()))
                .build()));
        List<String> keywords = new ArrayList<>(Filter.FIELDS);
        keywords.addAll(List.of(DOCUMENT, CHECKSUM, TAGS, TERMS));
        keywords.forEach(field -> index(name, field, PayloadSchemaType.Keyword));
        index(name, QUARANTINED, PayloadSchemaType.Bool);
        index(name, CHUNK, PayloadSchemaType.Integer);
        index(name, SUCCESS, PayloadSchemaType.Float);
    }

    private void index(String collection, String field, PayloadSchemaType type) {
        get(client.createPayloadIndexAsync(collection, field, type, null, true, null, timeout));
    }

    @Override
    public void put(Passage passage) {
        if (!collections.contains(passage.getCollection())) {
            // the configuration lost a collection that the log still has: what nobody can ask for is not kept
            LOG.debug("{} is in {}, which is not configured", passage.getPassageId(), passage.getCollection());
            delete(passage.getPassageId());
            return;
        }
        buffer(passage.getPassageId(), Optional.of(passage));
    }

    @Override
    public void delete(String passageId) {
        buffer(passageId, Optional.empty());
    }

    private void buffer(String id, Optional<Passage> passage) {
        boolean full;
        synchronized (waiting) {
            waiting.put(id, passage);
            full = waiting.size() >= BATCH;
        }
        if (full) {
            refresh();
        }
    }

    /** The server does that by itself. */
    @Override
    public boolean settle() {
        return false;
    }

    /** Sends what waits. What cannot be sent waits on, and the caller learns of it. */
    @Override
    public void refresh() {
        synchronized (waiting) {
            if (waiting.isEmpty()) {
                return;
            }
            List<ListenableFuture<?>> sent = new ArrayList<>();
            for (String collection : collections) {
                List<PointStruct> here = new ArrayList<>();
                List<PointId> elsewhere = new ArrayList<>();
                waiting.forEach((id, passage) -> {
                    if (passage.filter(each -> each.getCollection().equals(collection))
                            .isPresent()) {
                        here.add(point(passage.get()));
                    } else {
                        elsewhere.add(pointId(id));
                    }
                });
                if (!here.isEmpty()) {
                    sent.add(client.upsertAsync(UpsertPoints.newBuilder()
                            .setCollectionName(prefix + collection)
                            .setWait(true)
                            .addAllPoints(here)
                            .build()));
                }
                if (!elsewhere.isEmpty()) {
                    sent.add(client.deleteAsync(DeletePoints.newBuilder()
                            .setCollectionName(prefix + collection)
                            .setWait(true)
                            .setPoints(PointsSelector.newBuilder()
                                    .setPoints(PointsIdsList.newBuilder().addAllIds(elsewhere)))
                            .build()));
                }
            }
            sent.forEach(this::get);
            waiting.clear();
            frequencies.invalidateAll();
            shown = Math.max(shown + 1, System.currentTimeMillis());
        }
    }

    private PointStruct point(Passage passage) {
        List<String> text = Terms.of(passage.getText());
        List<String> title =
                Terms.of(passage.getTitle() + " " + passage.getPath().replaceAll("[/._-]", " "));
        Map<Integer, Float> weights = new HashMap<>();
        add(weights, text, AVERAGE_TEXT);
        add(weights, title, AVERAGE_TITLE);
        Facts facts = Facts.of(passage);
        Map<String, Value> payload = new HashMap<>();
        // the seeds' payload fields come with the metadata; our own names win
        passage.getMetadata().forEach((name, text0) -> payload.put(name, value(text0)));
        payload.put("file_path", value(passage.getPath()));
        payload.put("title", value(passage.getTitle()));
        payload.put("content", value(passage.getText()));
        payload.put(PASSAGE, value(passage.getPassageId()));
        payload.put(DOCUMENT, value(passage.getDocumentId()));
        payload.put(CHUNK, value((long) passage.getChunkIndex()));
        payload.put(QUARANTINED, value(passage.getQuarantined()));
        payload.put(CHECKSUM, value(passage.getMetadata().getOrDefault(CHECKSUM, "")));
        Filter.FIELDS.forEach(field -> payload.put(field, value(Filter.value(passage, field))));
        payload.put(TAGS, strings(passage.getTags()));
        payload.put(TERMS, strings(new LinkedHashSet<>(text)));
        payload.put(SUCCESS, value(facts.successRate()));
        payload.put(SINCE, value(facts.since()));
        payload.put(LAST_USED, value(facts.lastUsed()));
        payload.put(VERIFIED, value(facts.verified()));
        payload.put(LINKED, value(facts.feedbackLinked()));
        payload.put(RECORD, value(Base64.getEncoder().encodeToString(PassageBytes.encode(passage))));
        Map<String, Vector> vectors = new HashMap<>();
        vectors.put(DENSE, VectorFactory.vector(Vectors.fromBytes(passage.getVector())));
        if (!weights.isEmpty()) {
            List<Integer> indices = List.copyOf(weights.keySet());
            vectors.put(
                    WORDS,
                    VectorFactory.vector(
                            indices.stream()
                                    .map(index -> Objects.requireNonNull(weights.get(index)))
                                    .toList(),
                            indices));
        }
        return PointStruct.newBuilder()
                .setId(pointId(passage.getPassageId()))
                .setVectors(VectorsFactory.namedVectors(vectors))
                .putAllPayload(payload)
                .build();
    }

    private static Value strings(Collection<String> texts) {
        return list(texts.stream().map(text -> value(text)).toList());
    }

    private static void add(Map<Integer, Float> weights, List<String> terms, double average) {
        Map<String, Integer> counts = new HashMap<>();
        terms.forEach(term -> counts.merge(term, 1, Integer::sum));
        double norm = K1 * (1 - B + B * terms.size() / average);
        counts.forEach((term, count) -> weights.merge(hash(term), (float) (count / (count + norm)), Float::sum));
    }

    /** FNV-1a: the same everywhere and for ever. Of two terms in 4 billion that share a number, each is found by the other. */
    static int hash(String term) {
        int hash = 0x811c9dc5;
        for (byte each : term.getBytes(StandardCharsets.UTF_8)) {
            hash = (hash ^ (each & 0xff)) * 0x01000193;
        }
        return hash;
    }

    private static PointId pointId(String passageId) {
        // 32 hex digits are a UUID without its dashes; anything else is given one
        UUID uuid = passageId.matches("[0-9a-f]{32}")
                ? UUID.fromString(passageId.replaceFirst("(.{8})(.{4})(.{4})(.{4})(.{12})", "$1-$2-$3-$4-$5"))
                : UUID.nameUUIDFromBytes(passageId.getBytes(StandardCharsets.UTF_8));
        return PointIdFactory.id(uuid);
    }

    @Override
    public void commit(Map<Integer, Long> offsets) {
        refresh();
        note(made, offsets);
    }

    private void note(String by, Map<Integer, Long> offsets) {
        Map<String, Value> payload = new HashMap<>();
        payload.put("made", value(by));
        payload.put(SHOWN, value(shown));
        offsets.forEach((partition, offset) -> payload.put("offset." + partition, value((long) offset)));
        get(client.upsertAsync(UpsertPoints.newBuilder()
                .setCollectionName(prefix + STATE)
                .setWait(true)
                .addPoints(PointStruct.newBuilder()
                        .setId(STATE_POINT)
                        .setVectors(VectorsFactory.vectors(1f))
                        .putAllPayload(payload))
                .build()));
    }

    @Override
    public Map<Integer, Long> committed() {
        Map<Integer, Long> offsets = new HashMap<>();
        state().forEach((name, value) -> {
            if (name.startsWith("offset.")) {
                offsets.put(Integer.valueOf(name.substring("offset.".length())), value.getIntegerValue());
            }
        });
        return offsets;
    }

    private Map<String, Value> state() {
        List<RetrievedPoint> points =
                get(client.retrieveAsync(prefix + STATE, List.of(STATE_POINT), true, false, null));
        return points.isEmpty() ? Map.of() : points.getFirst().getPayloadMap();
    }

    @Override
    public List<Candidate> candidates(Question question) {
        boolean dense = question.vector().length > 0;
        boolean sparse = !question.terms().isEmpty();
        Common.Filter filter = filter(question.filter()).build();
        List<String> asked = question.filter().collections().isEmpty()
                ? collections
                : collections.stream()
                        .filter(question.filter().collections()::contains)
                        .toList();
        List<ListenableFuture<List<BatchResult>>> answers = asked.stream()
                .map(name -> client.queryBatchAsync(prefix + name, queries(prefix + name, question, filter)))
                .toList();
        List<Candidate> found = new ArrayList<>();
        for (ListenableFuture<List<BatchResult>> answer : answers) {
            List<BatchResult> results = get(answer);
            Map<PointId, Double> words = new HashMap<>();
            if (sparse) {
                results.getLast().getResultList().forEach(point -> words.put(point.getId(), (double) point.getScore()));
            }
            for (ScoredPoint point : results.getFirst().getResultList()) {
                Double bm25 = words.get(point.getId());
                found.add(candidate(
                        point, dense ? (double) point.getScore() : null, bm25 != null && bm25 > 0 ? bm25 : null));
            }
        }
        return best(found, question.limit());
    }

    private List<QueryPoints> queries(String collection, Question question, Common.Filter filter) {
        QueryPoints.Builder base = QueryPoints.newBuilder().setCollectionName(collection);
        io.qdrant.client.grpc.Points.Query near = nearest(question.vector());
        List<Float> weights = new ArrayList<>();
        List<Integer> indices = new ArrayList<>();
        question.terms().forEach((term, weight) -> {
            indices.add(hash(term));
            weights.add(weight.floatValue());
        });
        io.qdrant.client.grpc.Points.Query byWords = nearest(weights, indices);
        boolean dense = question.vector().length > 0;
        boolean sparse = !question.terms().isEmpty();
        if (dense && sparse) {
            base.addPrefetch(PrefetchQuery.newBuilder()
                            .setQuery(near)
                            .setUsing(DENSE)
                            .setFilter(filter)
                            .setLimit(question.limit()))
                    .addPrefetch(PrefetchQuery.newBuilder()
                            .setQuery(byWords)
                            .setUsing(WORDS)
                            .setFilter(filter)
                            .setLimit(question.limit()))
                    .setLimit(2L * question.limit());
        } else {
            base.setFilter(filter).setLimit(question.limit());
        }
        List<QueryPoints> queries = new ArrayList<>();
        QueryPoints.Builder first = base.clone()
                .setWithPayload(WithPayloadSelectorFactory.include(FACTS))
                .setWithVectors(WithVectorsSelectorFactory.include(List.of(DENSE)));
        if (dense) {
            queries.add(first.setQuery(near).setUsing(DENSE).build());
        }
        if (sparse) {
            queries.add((dense ? base : first).setQuery(byWords).setUsing(WORDS).build());
        }
        return queries;
    }

    private static Candidate candidate(ScoredPoint point, @Nullable Double cosine, @Nullable Double bm25) {
        Map<String, Value> payload = point.getPayloadMap();
        List<Float> stored = point.getVectors()
                .getVectors()
                .getVectorsOrThrow(DENSE)
                .getDense()
                .getDataList();
        float[] vector = new float[stored.size()];
        for (int i = 0; i < vector.length; i++) {
            vector[i] = stored.get(i);
        }
        return new Candidate(
                field(payload, PASSAGE).getStringValue(),
                field(payload, DOCUMENT).getStringValue(),
                vector,
                cosine,
                bm25,
                new Facts(
                        field(payload, SINCE).getIntegerValue(),
                        field(payload, LAST_USED).getIntegerValue(),
                        field(payload, SUCCESS).getDoubleValue(),
                        field(payload, VERIFIED).getBoolValue(),
                        field(payload, LINKED).getBoolValue()));
    }

    private static Value field(Map<String, Value> payload, String name) {
        return payload.getOrDefault(name, Value.getDefaultInstance());
    }

    /** Each collection gave its best; of them all, the best of either side are wanted. */
    private static List<Candidate> best(List<Candidate> found, int limit) {
        Set<Candidate> best = new LinkedHashSet<>();
        List<ToDoubleFunction<Candidate>> sides = List.of(
                each -> Objects.requireNonNullElse(each.cosine(), -2.0),
                each -> Objects.requireNonNullElse(each.bm25(), -1.0));
        for (ToDoubleFunction<Candidate> side : sides) {
            found.stream()
                    .filter(each -> side.applyAsDouble(each) > (side.equals(sides.getFirst()) ? -2 : 0))
                    .sorted(Comparator.comparingDouble(side).reversed())
                    .limit(limit)
                    .forEach(best::add);
        }
        return List.copyOf(best);
    }

    private static Common.Filter.Builder filter(Filter wanted) {
        Common.Filter.Builder filter = Common.Filter.newBuilder().addMust(match(QUARANTINED, false));
        wanted.fields().forEach((field, text) -> filter.addMust(matchKeyword(field, text)));
        wanted.tags().forEach(tag -> filter.addMust(matchKeyword(TAGS, tag)));
        if (wanted.minSuccessRate() > 0) {
            filter.addMust(range(
                    SUCCESS, Range.newBuilder().setGte(wanted.minSuccessRate()).build()));
        }
        return filter;
    }

    @Override
    public Map<String, Passage> load(Collection<String> passageIds) {
        if (passageIds.isEmpty()) {
            return Map.of();
        }
        List<PointId> ids = passageIds.stream().map(QdrantIndex::pointId).toList();
        List<ListenableFuture<List<RetrievedPoint>>> answers = collections.stream()
                .map(name -> client.retrieveAsync(
                        prefix + name,
                        ids,
                        WithPayloadSelectorFactory.include(List.of(RECORD)),
                        WithVectorsSelectorFactory.enable(false),
                        null))
                .toList();
        Map<String, Passage> passages = new HashMap<>();
        for (ListenableFuture<List<RetrievedPoint>> answer : answers) {
            get(answer).forEach(point -> {
                Passage passage = passage(point);
                passages.put(passage.getPassageId(), passage);
            });
        }
        return passages;
    }

    private static Passage passage(RetrievedPoint point) {
        byte[] bytes =
                Base64.getDecoder().decode(field(point.getPayloadMap(), RECORD).getStringValue());
        return PassageBytes.decode(bytes, 0, bytes.length);
    }

    @Override
    public List<Passage> section(String documentId, int from, int to) {
        Common.Filter filter = filter(Filter.NONE)
                .addMust(matchKeyword(DOCUMENT, documentId))
                .addMust(range(CHUNK, Range.newBuilder().setGte(from).setLte(to).build()))
                .build();
        return scroll(filter, RECORD).stream()
                .map(QdrantIndex::passage)
                .sorted(Comparator.comparingInt(Passage::getChunkIndex))
                .toList();
    }

    private List<RetrievedPoint> scroll(Common.Filter filter, String field) {
        List<RetrievedPoint> points = new ArrayList<>();
        for (String collection : collections) {
            ScrollPoints.Builder scroll = ScrollPoints.newBuilder()
                    .setCollectionName(prefix + collection)
                    .setFilter(filter)
                    .setLimit(PAGE)
                    .setWithPayload(WithPayloadSelectorFactory.include(List.of(field)));
            ScrollResponse page = get(client.scrollAsync(scroll.build()));
            points.addAll(page.getResultList());
            while (page.hasNextPageOffset()) {
                page = get(client.scrollAsync(
                        scroll.setOffset(page.getNextPageOffset()).build()));
                points.addAll(page.getResultList());
            }
        }
        return points;
    }

    @Override
    public Map<String, Long> frequencies(Collection<String> terms) {
        Map<String, List<ListenableFuture<Long>>> counts = new HashMap<>();
        Map<String, Long> known = new HashMap<>();
        for (String term : terms) {
            Long cached = frequencies.getIfPresent(term);
            if (cached == null) {
                counts.put(term, counts(Common.Filter.newBuilder().addMust(matchKeyword(TERMS, term))));
            } else {
                known.put(term, cached);
            }
        }
        counts.forEach((term, parts) -> {
            long sum = parts.stream().mapToLong(this::get).sum();
            frequencies.put(term, sum);
            known.put(term, sum);
        });
        return known;
    }

    private List<ListenableFuture<Long>> counts(Common.Filter.Builder filter) {
        return collections.stream()
                .map(name -> client.countAsync(prefix + name, filter.build(), true))
                .toList();
    }

    private long count(Common.Filter.Builder filter) {
        return counts(filter).stream().mapToLong(this::get).sum();
    }

    @Override
    public boolean hasDocument(String documentId, @Nullable String checksum) {
        Common.Filter.Builder filter = Common.Filter.newBuilder().addMust(matchKeyword(DOCUMENT, documentId));
        if (checksum != null) {
            filter.addMust(matchKeyword(CHECKSUM, checksum));
        }
        return count(filter) > 0;
    }

    @Override
    public List<String> passagesOf(String documentId) {
        return scroll(
                        Common.Filter.newBuilder()
                                .addMust(matchKeyword(DOCUMENT, documentId))
                                .build(),
                        PASSAGE)
                .stream()
                .map(point -> field(point.getPayloadMap(), PASSAGE).getStringValue())
                .toList();
    }

    @Override
    public long count() {
        return count(Common.Filter.newBuilder());
    }

    /**
     * What other processes write is seen in the count only: they write the same log. Of a server that is slow to count the last count
     * stands: every query asks this, before its time for retrieval begins.
     */
    @Override
    public String version() {
        long end = System.nanoTime() + COUNT_PATIENCE.toNanos();
        List<ListenableFuture<Long>> counts = counts(Common.Filter.newBuilder());
        try {
            long sum = 0;
            for (ListenableFuture<Long> each : counts) {
                sum += get(each, Math.max(0, end - System.nanoTime()));
            }
            counted = sum;
        } catch (TimeoutException e) {
            counts.forEach(each -> each.cancel(true));
        }
        return made + "|" + shown + "|" + counted;
    }

    private <T> T get(ListenableFuture<T> answer) {
        try {
            return get(answer, timeout.plusSeconds(1).toNanos());
        } catch (TimeoutException e) {
            throw new QdrantException("Qdrant did not answer within " + timeout, e);
        }
    }

    private static <T> T get(ListenableFuture<T> answer, long nanos) throws TimeoutException {
        try {
            return answer.get(nanos, TimeUnit.NANOSECONDS);
        } catch (ExecutionException e) {
            Throwable cause = e.getCause() == null ? e : e.getCause();
            throw new QdrantException("Qdrant did not do it: " + cause.getMessage(), cause);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new QdrantException("interrupted", e);
        }
    }

    /** What was not sent is read from the log again. */
    @Override
    public void close() {
        client.close();
    }
}
