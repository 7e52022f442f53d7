package io.millrace.gateway;

import io.millrace.log.Codecs;
import io.millrace.log.InMemorySchemaRegistry;
import io.millrace.log.Topic;
import io.millrace.log.Topics;
import io.millrace.log.Vocabulary.CompletionKind;
import io.millrace.log.Vocabulary.ReplyKind;
import io.millrace.schema.Answer;
import io.millrace.schema.BackendStatus;
import io.millrace.schema.Completion;
import io.millrace.schema.Failure;
import io.millrace.schema.Query;
import io.millrace.schema.Reply;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.function.BiConsumer;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.common.TopicPartition;
import org.jspecify.annotations.Nullable;

/** A log in memory, whose other side the test plays. */
final class FakeWire implements Wire {
    static {
        // a codec vouches for our records to Avro, which would not build their defaults otherwise
        new Codecs(new InMemorySchemaRegistry(), "").of(Topics.QUERIES);
    }

    /** What was sent. */
    record Sent(String topic, String key, SpecificRecord value) {}

    final Queue<Sent> sent = new ConcurrentLinkedQueue<>();
    volatile @Nullable Reader reader;
    volatile BiConsumer<FakeWire, Query> onQuery = (wire, query) -> {};
    volatile boolean down;
    /** Of each topic at any time. */
    volatile Map<TopicPartition, Long> offsets = Map.of();

    @Override
    public <V extends SpecificRecord> CompletableFuture<Void> send(
            Topic<V> topic, String key, V value, BooleanSupplier wanted) {
        CompletableFuture<Void> done = new CompletableFuture<>();
        if (down || !wanted.getAsBoolean()) {
            return done;
        }
        sent.add(new Sent(topic.name(), key, value));
        done.complete(null);
        if (value instanceof Query query) {
            onQuery.accept(this, query);
        }
        return done;
    }

    @Override
    public CompletableFuture<Map<TopicPartition, Long>> offsetsAt(Topic<?> topic, Instant time) {
        return CompletableFuture.completedFuture(offsets.entrySet().stream()
                .filter(each -> each.getKey().topic().equals(topic.name()))
                .collect(Collectors.toMap(Map.Entry::getKey, Map.Entry::getValue)));
    }

    @Override
    public CompletableFuture<Void> open(int partition, Reader by) {
        reader = by;
        return CompletableFuture.completedFuture(null);
    }

    <V extends SpecificRecord> List<V> sent(Class<V> type) {
        return sent.stream()
                .map(Sent::value)
                .filter(type::isInstance)
                .map(type::cast)
                .toList();
    }

    /** A reply, and the record of its end when it is a final, as a worker sends them. */
    void reply(Reply.Builder reply) {
        Reply sending = reply.build();
        replyOnly(sending);
        if (sending.getKind().equals(ReplyKind.FINAL)) {
            completed(sending, CompletionKind.ANSWERED);
        }
    }

    void replyOnly(Reply reply) {
        reader().reply(reply);
        reader().handled();
    }

    /** A step of the attempt of a reply; an answer is an end. */
    void completed(Reply of, String kind) {
        completed(of, kind, kind.equals(CompletionKind.ANSWERED));
    }

    void completed(Reply of, String kind, boolean terminal) {
        if (reader().awaits(of.getInteractionId())) {
            reader().completed(Completion.newBuilder()
                    .setInteractionId(of.getInteractionId())
                    .setAttempt(of.getAttempt())
                    .setKind(kind)
                    .setTerminal(terminal)
                    .build());
            reader().handled();
        }
    }

    /** The record of an answer that carries it, as a worker writes it for a gateway that can read that. */
    void told(Query query, int attempt, String text) {
        if (reader().awaits(query.getInteractionId())) {
            reader().completed(Completion.newBuilder()
                    .setInteractionId(query.getInteractionId())
                    .setAttempt(attempt)
                    .setKind(CompletionKind.ANSWERED)
                    .setTerminal(true)
                    .setBackend("llama")
                    .setDeployment("llama-1")
                    .setAnswer(
                            Answer.newBuilder().setText(text).setModel("stub").build())
                    .setReply(Reply.newBuilder()
                            .setRoute("local")
                            .setReason("confidence_high")
                            .setConfidence(0.9)
                            .build())
                    .build());
            reader().handled();
        }
    }

    void state(BackendStatus state) {
        reader().state(state);
    }

    private Reader reader() {
        return Objects.requireNonNull(reader, "open comes first");
    }

    static Reply.Builder from(Query query, String kind, int sequence) {
        return Reply.newBuilder()
                .setInteractionId(query.getInteractionId())
                .setGatewayId(query.getGatewayId())
                .setKind(kind)
                .setSequence(sequence)
                .setRoute("local")
                .setBackend("llama")
                .setDeployment("llama-1")
                .setReason("confidence_high")
                .setConfidence(0.9)
                .setConfidenceKind("prior")
                .setContextScore(0.9);
    }

    static Reply.Builder answer(Query query, int sequence, String text) {
        return from(query, "final", sequence)
                .setAnswer(Answer.newBuilder()
                        .setText(text)
                        .setModel("stub")
                        .setTokensIn(3)
                        .setTokensOut(5)
                        .setCostUsd(0.25)
                        .build());
    }

    static Reply.Builder delta(Query query, int sequence, String data) {
        return from(query, "delta", sequence).setData(data);
    }

    static Reply.Builder error(Query query, int sequence, String reason, int status) {
        return from(query, "error", sequence)
                .setFailure(Failure.newBuilder()
                        .setReason(reason)
                        .setMessage("it broke")
                        .setHttpStatus(status)
                        .setRetryAfterMs(1_500)
                        .build());
    }

    @Override
    public void close() {
        // nothing is held
    }
}
