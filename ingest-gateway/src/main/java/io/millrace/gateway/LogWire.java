package io.millrace.gateway;

import io.millrace.log.ClientConfig;
import io.millrace.log.Log;
import io.millrace.log.LogTail;
import io.millrace.log.Topic;
import io.millrace.log.Topics;
import io.millrace.schema.BackendStatus;
import io.millrace.schema.Reply;
import java.time.Duration;
import java.time.Instant;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.TopicPartition;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * {@link Wire} on Kafka.
 *
 * <p>A producer's send blocks for up to 5 s when metadata has expired or its buffer is full, so sends run on a thread of their own and
 * not on an event loop; it costs a hand-over of some 10 µs. While there is no broker that thread is stuck, those behind it are given
 * up by their own timers, and are dropped when their turn comes.
 */
final class LogWire implements Wire {
    private static final Logger LOG = LoggerFactory.getLogger(LogWire.class);
    private static final List<Topic<?>> WRITTEN =
            List.of(Topics.QUERIES, Topics.COMMANDS, Topics.FEEDBACK, Topics.RAW_API, Topics.DEAD_LETTERS);
    private static final Duration RETRY = Duration.ofMillis(500);

    private static final Duration ASK = Duration.ofSeconds(3);

    private final Log log;
    private final Admin admin;
    private final DiskSpace disk;
    private final ThreadPoolExecutor sender;
    private final Thread opener;
    private final CompletableFuture<Void> opened = new CompletableFuture<>();
    private volatile int partition;
    private volatile @Nullable LogTail<Reply> replies;
    private volatile @Nullable LogTail<BackendStatus> states;
    private volatile @Nullable Reader reader;

    /**
     * @param disk where the log is kept
     * @param backlog most records that wait for the sending thread
     */
    LogWire(Log log, DiskSpace disk, int backlog) {
        this.log = log;
        this.disk = disk;
        this.admin = Admin.create(ClientConfig.admin(log.settings().bootstrapServers()));
        this.sender = new ThreadPoolExecutor(
                1,
                1,
                0,
                TimeUnit.MILLISECONDS,
                new ArrayBlockingQueue<>(backlog),
                Thread.ofPlatform().name("gateway-sender").daemon(true).factory());
        this.opener = Thread.ofPlatform().name("gateway-opener").daemon(true).unstarted(this::tryToOpen);
    }

    @Override
    public <V extends SpecificRecord> CompletableFuture<Void> send(
            Topic<V> topic, String key, V value, BooleanSupplier wanted) {
        CompletableFuture<Void> done = new CompletableFuture<>();
        try {
            // what ends something takes next to nothing
            if (!topic.equals(Topics.COMMANDS)) {
                disk.require();
            }
            sender.execute(() -> {
                if (!wanted.getAsBoolean()) {
                    done.completeExceptionally(new CancellationException("given up before it was sent"));
                    return;
                }
                log.producer().send(topic, key, value).whenComplete((metadata, error) -> {
                    if (error == null) {
                        done.complete(null);
                    } else {
                        done.completeExceptionally(error);
                    }
                });
            });
        } catch (Problem | RejectedExecutionException e) {
            done.completeExceptionally(e);
        }
        return done;
    }

    @Override
    public CompletableFuture<Void> open(int toRead, Reader by) {
        partition = toRead;
        reader = by;
        opener.start();
        return opened;
    }

    private void tryToOpen() {
        Reader by = Objects.requireNonNull(reader, "opened");
        while (!Thread.currentThread().isInterrupted()) {
            try {
                WRITTEN.forEach(log.producer()::prepare);
                LogTail<Reply> tail = new LogTail<>(
                                "gateway-replies",
                                Topics.REPLIES,
                                LogTail.From.END,
                                List.of(partition),
                                log,
                                record -> by.reply(record.required()))
                        .alongside(Topics.COMPLETIONS, by::awaits, record -> by.completed(record.required()))
                        .afterwards(by::handled);
                replies = tail.start();
                tail.caughtUp().join();
                states = new LogTail<>("gateway-states", Topics.BACKEND_STATUS, LogTail.From.BEGINNING, log, record -> {
                            BackendStatus state = record.value();
                            if (state != null) {
                                by.state(state);
                            }
                        })
                        .start();
                opened.complete(null);
                return;
            } catch (CompletionException | org.apache.kafka.common.KafkaException e) {
                LOG.warn("waiting for the log: {}", e.getMessage());
            } catch (RuntimeException e) {
                LOG.warn("waiting for the log and its registry", e);
            }
            close(replies);
            try {
                Thread.sleep(RETRY);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }
    }

    @Override
    public CompletableFuture<Map<TopicPartition, Long>> offsetsAt(Topic<?> topic, Instant time) {
        return offsets(topic, OffsetSpec.forTimestamp(time.toEpochMilli()))
                .thenCombine(offsets(topic, OffsetSpec.latest()), (at, ends) -> {
                    Map<TopicPartition, Long> reached = new HashMap<>(ends);
                    // -1 where nothing is as new as that
                    at.forEach((partition, offset) -> {
                        if (offset >= 0) {
                            reached.put(partition, offset);
                        }
                    });
                    return reached;
                });
    }

    private CompletableFuture<Map<TopicPartition, Long>> offsets(Topic<?> topic, OffsetSpec which) {
        String name = log.settings().name(topic);
        Map<TopicPartition, OffsetSpec> asked = IntStream.range(
                        0, log.settings().partitions(topic))
                .mapToObj(number -> new TopicPartition(name, number))
                .collect(Collectors.toMap(Function.identity(), each -> which));
        return admin.listOffsets(
                        asked, new ListOffsetsOptions(IsolationLevel.READ_COMMITTED).timeoutMs((int) ASK.toMillis()))
                .all()
                .toCompletionStage()
                .toCompletableFuture()
                .thenApply(told -> told.entrySet().stream()
                        .collect(Collectors.toMap(
                                Map.Entry::getKey, each -> each.getValue().offset())));
    }

    private static void close(@Nullable LogTail<?> tail) {
        if (tail != null) {
            tail.close();
        }
    }

    @Override
    public void close() {
        opener.interrupt();
        sender.shutdown();
        try {
            if (opener.getState() != Thread.State.NEW) {
                opener.join(Duration.ofSeconds(1));
            }
            if (!sender.awaitTermination(1, TimeUnit.SECONDS)) {
                sender.shutdownNow();
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        close(replies);
        close(states);
        admin.close(Duration.ofSeconds(1));
    }
}
