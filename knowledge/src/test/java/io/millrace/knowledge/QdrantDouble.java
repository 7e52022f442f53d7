package io.millrace.knowledge;

import com.google.protobuf.Message;
import io.grpc.Server;
import io.grpc.Status;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.StreamObserver;
import io.qdrant.client.grpc.Collections.CollectionDescription;
import io.qdrant.client.grpc.Collections.CollectionOperationResponse;
import io.qdrant.client.grpc.Collections.CreateCollection;
import io.qdrant.client.grpc.Collections.DeleteCollection;
import io.qdrant.client.grpc.Collections.ListCollectionsRequest;
import io.qdrant.client.grpc.Collections.ListCollectionsResponse;
import io.qdrant.client.grpc.CollectionsGrpc;
import io.qdrant.client.grpc.Common.Condition;
import io.qdrant.client.grpc.Common.FieldCondition;
import io.qdrant.client.grpc.Common.Filter;
import io.qdrant.client.grpc.Common.PointId;
import io.qdrant.client.grpc.JsonWithInt.Value;
import io.qdrant.client.grpc.Points.BatchResult;
import io.qdrant.client.grpc.Points.CountPoints;
import io.qdrant.client.grpc.Points.CountResponse;
import io.qdrant.client.grpc.Points.CountResult;
import io.qdrant.client.grpc.Points.CreateFieldIndexCollection;
import io.qdrant.client.grpc.Points.DeletePoints;
import io.qdrant.client.grpc.Points.DenseVector;
import io.qdrant.client.grpc.Points.GetPoints;
import io.qdrant.client.grpc.Points.GetResponse;
import io.qdrant.client.grpc.Points.NamedVectorsOutput;
import io.qdrant.client.grpc.Points.PointStruct;
import io.qdrant.client.grpc.Points.PointsOperationResponse;
import io.qdrant.client.grpc.Points.PrefetchQuery;
import io.qdrant.client.grpc.Points.Query;
import io.qdrant.client.grpc.Points.QueryBatchPoints;
import io.qdrant.client.grpc.Points.QueryBatchResponse;
import io.qdrant.client.grpc.Points.QueryPoints;
import io.qdrant.client.grpc.Points.RetrievedPoint;
import io.qdrant.client.grpc.Points.ScoredPoint;
import io.qdrant.client.grpc.Points.ScrollPoints;
import io.qdrant.client.grpc.Points.ScrollResponse;
import io.qdrant.client.grpc.Points.SparseVector;
import io.qdrant.client.grpc.Points.UpdateResult;
import io.qdrant.client.grpc.Points.UpdateStatus;
import io.qdrant.client.grpc.Points.UpsertPoints;
import io.qdrant.client.grpc.Points.Vector;
import io.qdrant.client.grpc.Points.VectorOutput;
import io.qdrant.client.grpc.Points.VectorsOutput;
import io.qdrant.client.grpc.Points.WithPayloadSelector;
import io.qdrant.client.grpc.PointsGrpc;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Supplier;

/**
 * As much of a Qdrant server as the adapter uses, in memory, behind the client's own stubs: exact search, cosine, sparse dot products
 * with idf, prefetch, filters. What it does not know it refuses, so that the adapter cannot come to rely on it.
 */
public final class QdrantDouble implements AutoCloseable {
    private static final int PAGE = 2;

    /** Answers no question for a count. */
    volatile boolean silent;

    final Map<String, CreateCollection> created = new ConcurrentHashMap<>();
    public final Map<String, Map<PointId, PointStruct>> collections = new ConcurrentHashMap<>();
    /** While it is, every call fails as without a server. */
    public volatile boolean away;

    private final Server server;
    private final int port;

    public QdrantDouble() throws IOException {
        server = NettyServerBuilder.forAddress(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0))
                .addService(new CollectionsDouble())
                .addService(new PointsDouble())
                .build()
                .start();
        port = server.getPort();
    }

    /** Where it listens, on loopback. */
    public int port() {
        return port;
    }

    @Override
    public void close() {
        server.shutdownNow();
        try {
            server.awaitTermination();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private <T extends Message> void answer(StreamObserver<T> observer, Supplier<T> response) {
        if (away) {
            observer.onError(Status.UNAVAILABLE.withDescription("away").asRuntimeException());
            return;
        }
        try {
            observer.onNext(response.get());
            observer.onCompleted();
        } catch (RuntimeException e) {
            observer.onError(
                    Status.INVALID_ARGUMENT.withDescription(e.getMessage()).asRuntimeException());
        }
    }

    private Map<PointId, PointStruct> points(String collection) {
        Map<PointId, PointStruct> points = collections.get(collection);
        if (points == null) {
            throw new IllegalArgumentException("Not found: Collection `" + collection + "` doesn't exist!");
        }
        return points;
    }

    private final class CollectionsDouble extends CollectionsGrpc.CollectionsImplBase {
        @Override
        public void create(CreateCollection request, StreamObserver<CollectionOperationResponse> observer) {
            answer(observer, () -> {
                if (collections.putIfAbsent(request.getCollectionName(), new LinkedHashMap<>()) != null) {
                    throw new IllegalArgumentException("already exists");
                }
                created.put(request.getCollectionName(), request);
                return CollectionOperationResponse.newBuilder().setResult(true).build();
            });
        }

        @Override
        public void delete(DeleteCollection request, StreamObserver<CollectionOperationResponse> observer) {
            answer(
                    observer,
                    () -> CollectionOperationResponse.newBuilder()
                            .setResult(collections.remove(request.getCollectionName()) != null)
                            .build());
        }

        @Override
        public void list(ListCollectionsRequest request, StreamObserver<ListCollectionsResponse> observer) {
            answer(observer, () -> {
                ListCollectionsResponse.Builder list = ListCollectionsResponse.newBuilder();
                collections
                        .keySet()
                        .forEach(name -> list.addCollections(
                                CollectionDescription.newBuilder().setName(name)));
                return list.build();
            });
        }
    }

    private final class PointsDouble extends PointsGrpc.PointsImplBase {
        @Override
        public void upsert(UpsertPoints request, StreamObserver<PointsOperationResponse> observer) {
            answer(observer, () -> {
                Map<PointId, PointStruct> points = points(request.getCollectionName());
                synchronized (points) {
                    request.getPointsList().forEach(point -> points.put(point.getId(), point));
                }
                return done();
            });
        }

        @Override
        public void delete(DeletePoints request, StreamObserver<PointsOperationResponse> observer) {
            answer(observer, () -> {
                Map<PointId, PointStruct> points = points(request.getCollectionName());
                synchronized (points) {
                    request.getPoints().getPoints().getIdsList().forEach(points::remove);
                }
                return done();
            });
        }

        @Override
        public void createFieldIndex(
                CreateFieldIndexCollection request, StreamObserver<PointsOperationResponse> observer) {
            answer(observer, () -> {
                points(request.getCollectionName());
                return done();
            });
        }

        @Override
        public void get(GetPoints request, StreamObserver<GetResponse> observer) {
            answer(observer, () -> {
                GetResponse.Builder response = GetResponse.newBuilder();
                Map<PointId, PointStruct> points = points(request.getCollectionName());
                request.getIdsList().stream()
                        .map(points::get)
                        .filter(Objects::nonNull)
                        .forEach(point -> response.addResult(retrieved(point, request.getWithPayload())));
                return response.build();
            });
        }

        @Override
        public void scroll(ScrollPoints request, StreamObserver<ScrollResponse> observer) {
            answer(observer, () -> {
                List<PointStruct> matching = matching(request.getCollectionName(), request.getFilter());
                int from = 0;
                while (request.hasOffset() && !matching.get(from).getId().equals(request.getOffset())) {
                    from++;
                }
                // smaller pages than were asked for, as a server may give
                int to = Math.min(matching.size(), from + PAGE);
                ScrollResponse.Builder response = ScrollResponse.newBuilder();
                matching.subList(from, to)
                        .forEach(point -> response.addResult(retrieved(point, request.getWithPayload())));
                if (to < matching.size()) {
                    response.setNextPageOffset(matching.get(to).getId());
                }
                return response.build();
            });
        }

        @Override
        public void count(CountPoints request, StreamObserver<CountResponse> observer) {
            if (silent) {
                return;
            }
            answer(
                    observer,
                    () -> CountResponse.newBuilder()
                            .setResult(CountResult.newBuilder()
                                    .setCount(matching(request.getCollectionName(), request.getFilter())
                                            .size()))
                            .build());
        }

        @Override
        public void queryBatch(QueryBatchPoints request, StreamObserver<QueryBatchResponse> observer) {
            answer(observer, () -> {
                QueryBatchResponse.Builder response = QueryBatchResponse.newBuilder();
                request.getQueryPointsList().forEach(query -> response.addResult(result(query)));
                return response.build();
            });
        }

        private BatchResult result(QueryPoints query) {
            String collection = query.getCollectionName();
            Collection<PointStruct> pool;
            if (query.getPrefetchCount() == 0) {
                pool = matching(collection, query.getFilter());
            } else {
                Map<PointId, PointStruct> union = new LinkedHashMap<>();
                for (PrefetchQuery prefetch : query.getPrefetchList()) {
                    best(
                                    collection,
                                    prefetch.getQuery(),
                                    prefetch.getUsing(),
                                    matching(collection, prefetch.getFilter()),
                                    prefetch.getLimit())
                            .keySet()
                            .forEach(point -> union.put(point.getId(), point));
                }
                pool = union.values();
            }
            BatchResult.Builder result = BatchResult.newBuilder();
            best(collection, query.getQuery(), query.getUsing(), pool, query.getLimit())
                    .forEach((point, score) -> result.addResult(scored(point, score, query)));
            return result.build();
        }
    }

    /** Best first. A point that shares no index with a sparse query is not found by it. */
    private Map<PointStruct, Double> best(
            String collection, Query query, String using, Collection<PointStruct> pool, long limit) {
        if (!query.hasNearest()) {
            throw new IllegalArgumentException("only nearest is known here");
        }
        Map<PointStruct, Double> scores = new HashMap<>();
        for (PointStruct point : pool) {
            Vector own = point.getVectors().getVectors().getVectorsMap().get(using);
            if (own == null) {
                continue;
            }
            if (query.getNearest().hasDense()) {
                scores.put(point, cosine(query.getNearest().getDense(), own.getDense()));
            } else {
                double score = sparse(collection, using, query.getNearest().getSparse(), own.getSparse());
                if (score > 0) {
                    scores.put(point, score);
                }
            }
        }
        Map<PointStruct, Double> best = new LinkedHashMap<>();
        scores.entrySet().stream()
                .sorted(Map.Entry.<PointStruct, Double>comparingByValue(Comparator.reverseOrder()))
                .limit(limit)
                .forEach(entry -> best.put(entry.getKey(), entry.getValue()));
        return best;
    }

    private static double cosine(DenseVector a, DenseVector b) {
        double dot = 0;
        double aa = 0;
        double bb = 0;
        for (int i = 0; i < a.getDataCount(); i++) {
            dot += a.getData(i) * b.getData(i);
            aa += a.getData(i) * a.getData(i);
            bb += b.getData(i) * b.getData(i);
        }
        return dot / Math.sqrt(aa * bb);
    }

    private double sparse(String collection, String using, SparseVector query, SparseVector own) {
        double score = 0;
        for (int i = 0; i < query.getIndicesCount(); i++) {
            int at = own.getIndicesList().indexOf(query.getIndices(i));
            if (at >= 0) {
                score += query.getValues(i) * own.getValues(at) * idf(collection, using, query.getIndices(i));
            }
        }
        return score;
    }

    /** As the server has it: ln((N − n + 0.5) / (n + 0.5) + 1). */
    private double idf(String collection, String using, int index) {
        Collection<PointStruct> all = points(collection).values();
        long with = all.stream()
                .filter(point -> point.getVectors().getVectors().containsVectors(using))
                .filter(point -> point.getVectors()
                        .getVectors()
                        .getVectorsOrThrow(using)
                        .getSparse()
                        .getIndicesList()
                        .contains(index))
                .count();
        return Math.log((all.size() - with + 0.5) / (with + 0.5) + 1);
    }

    private List<PointStruct> matching(String collection, Filter filter) {
        if (filter.getShouldCount() + filter.getMustNotCount() > 0) {
            throw new IllegalArgumentException("only must is known here");
        }
        Map<PointId, PointStruct> points = points(collection);
        synchronized (points) {
            return new ArrayList<>(points.values().stream()
                    .filter(point -> filter.getMustList().stream().allMatch(each -> holds(point, each)))
                    .toList());
        }
    }

    private static boolean holds(PointStruct point, Condition condition) {
        if (!condition.hasField()) {
            throw new IllegalArgumentException("only fields are known here");
        }
        FieldCondition field = condition.getField();
        Value value = point.getPayloadOrDefault(field.getKey(), Value.getDefaultInstance());
        if (field.hasRange()) {
            double number = value.hasIntegerValue() ? value.getIntegerValue() : value.getDoubleValue();
            return (!field.getRange().hasGte() || number >= field.getRange().getGte())
                    && (!field.getRange().hasLte() || number <= field.getRange().getLte());
        }
        return switch (field.getMatch().getMatchValueCase()) {
            case KEYWORD ->
                value.hasListValue()
                        ? value.getListValue().getValuesList().stream()
                                .anyMatch(each -> each.getStringValue()
                                        .equals(field.getMatch().getKeyword()))
                        : value.hasStringValue()
                                && value.getStringValue()
                                        .equals(field.getMatch().getKeyword());
            case BOOLEAN ->
                value.hasBoolValue() && value.getBoolValue() == field.getMatch().getBoolean();
            default -> throw new IllegalArgumentException("this match is not known here");
        };
    }

    private static RetrievedPoint retrieved(PointStruct point, WithPayloadSelector selector) {
        return RetrievedPoint.newBuilder()
                .setId(point.getId())
                .putAllPayload(payload(point, selector))
                .build();
    }

    private static ScoredPoint scored(PointStruct point, double score, QueryPoints query) {
        ScoredPoint.Builder scored = ScoredPoint.newBuilder()
                .setId(point.getId())
                .setScore((float) score)
                .putAllPayload(payload(point, query.getWithPayload()));
        NamedVectorsOutput.Builder vectors = NamedVectorsOutput.newBuilder();
        query.getWithVectors()
                .getInclude()
                .getNamesList()
                .forEach(name -> vectors.putVectors(
                        name,
                        VectorOutput.newBuilder()
                                .setDense(point.getVectors()
                                        .getVectors()
                                        .getVectorsOrThrow(name)
                                        .getDense())
                                .build()));
        return scored.setVectors(VectorsOutput.newBuilder().setVectors(vectors)).build();
    }

    private static Map<String, Value> payload(PointStruct point, WithPayloadSelector selector) {
        if (selector.hasEnable()) {
            return selector.getEnable() ? point.getPayloadMap() : Map.of();
        }
        Map<String, Value> payload = new HashMap<>();
        selector.getInclude().getFieldsList().forEach(field -> {
            if (point.containsPayload(field)) {
                payload.put(field, point.getPayloadOrThrow(field));
            }
        });
        return payload;
    }

    private static PointsOperationResponse done() {
        return PointsOperationResponse.newBuilder()
                .setResult(UpdateResult.newBuilder().setStatus(UpdateStatus.Completed))
                .build();
    }
}
