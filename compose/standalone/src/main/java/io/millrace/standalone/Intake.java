package io.millrace.standalone;

import io.millrace.gateway.SearchPort;
import io.millrace.log.ClientConfig;
import io.millrace.log.LogSettings;
import io.millrace.log.Topic;
import io.millrace.log.Topics;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Function;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.jspecify.annotations.Nullable;

/**
 * The way of a document from the log into the index of this process, as offsets: what was written is visible when the normalizer has
 * committed the end that the raw topic had then, the passage worker the end that {@code documents} had after that, and the index the end
 * of {@code passages}. Offsets tell that of a change, a deletion and a document without a change alike, which contents do not.
 */
final class Intake implements AutoCloseable {
    private static final long TIMEOUT_SECONDS = 5;

    /** A topic on that way and the group that works on it. */
    private record Stage(Topic<?> topic, String group) {}

    private static final List<Stage> STAGES =
            List.of(new Stage(Topics.RAW_API, "normalizer"), new Stage(Topics.DOCUMENTS, "passages"));

    private final LogSettings log;
    private final Supplier<Map<Integer, Long>> visible;
    private final Admin admin;

    /** @param visible the offset of {@code passages}, by partition, up to which searches see everything */
    Intake(LogSettings log, Supplier<Map<Integer, Long>> visible) {
        this.log = log;
        this.visible = visible;
        this.admin = Admin.create(ClientConfig.admin(log.bootstrapServers()));
    }

    /** Follows what was written until its first question. */
    SearchPort.Progress writtenUntilNow() {
        return new SearchPort.Progress() {
            private int stage;
            private @Nullable Map<Integer, Long> goal;

            @Override
            public synchronized boolean isVisible() throws Exception {
                while (stage < STAGES.size()) {
                    Stage current = STAGES.get(stage);
                    if (!isReached(current.topic, committed(current))) {
                        return false;
                    }
                }
                return isReached(Topics.PASSAGES, visible.get());
            }

            private boolean isReached(Topic<?> topic, Map<Integer, Long> position) throws Exception {
                Map<Integer, Long> ends = goal;
                if (ends == null) {
                    ends = ends(topic);
                    goal = ends;
                }
                boolean reached = ends.entrySet().stream()
                        .allMatch(end -> position.getOrDefault(end.getKey(), 0L) >= end.getValue());
                if (reached && stage < STAGES.size()) {
                    stage++;
                    goal = null;
                }
                return reached;
            }
        };
    }

    private Map<Integer, Long> ends(Topic<?> topic) throws ExecutionException, InterruptedException, TimeoutException {
        String name = log.name(topic);
        return admin
                .listOffsets(IntStream.range(0, log.partitions(topic))
                        .mapToObj(partition -> new TopicPartition(name, partition))
                        .collect(Collectors.toMap(Function.identity(), partition -> OffsetSpec.latest())))
                .all()
                .get(TIMEOUT_SECONDS, TimeUnit.SECONDS)
                .entrySet()
                .stream()
                .collect(Collectors.toMap(
                        end -> end.getKey().partition(), end -> end.getValue().offset()));
    }

    private Map<Integer, Long> committed(Stage stage)
            throws ExecutionException, InterruptedException, TimeoutException {
        Map<TopicPartition, OffsetAndMetadata> offsets = admin.listConsumerGroupOffsets(log.group(stage.group))
                .partitionsToOffsetAndMetadata()
                .get(TIMEOUT_SECONDS, TimeUnit.SECONDS);
        String name = log.name(stage.topic);
        return offsets.entrySet().stream()
                .filter(offset -> offset.getKey().topic().equals(name) && offset.getValue() != null)
                .collect(Collectors.toMap(
                        offset -> offset.getKey().partition(),
                        offset -> offset.getValue().offset()));
    }

    @Override
    public void close() {
        admin.close();
    }
}
