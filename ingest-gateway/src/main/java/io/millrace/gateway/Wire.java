package io.millrace.gateway;

import io.millrace.log.Topic;
import io.millrace.schema.BackendStatus;
import io.millrace.schema.Completion;
import io.millrace.schema.Reply;
import java.time.Instant;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.function.BooleanSupplier;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.common.TopicPartition;

/** The log as the gateway uses it. Never blocks its caller. */
interface Wire extends AutoCloseable {
    /**
     * Appends a value; completes, on any thread, when all in-sync replicas have it.
     *
     * @param wanted asked when its turn has come: false drops it, and the future fails with a CancellationException
     */
    <V extends SpecificRecord> CompletableFuture<Void> send(
            Topic<V> topic, String key, V value, BooleanSupplier wanted);

    /** Who gets what is read. Replies and ends come on one thread, in any order between them. */
    interface Reader {
        /** A reply of the partition; it may be another gateway's. */
        void reply(Reply reply);

        /** Whether somebody here waits for this interaction. */
        boolean awaits(String interactionId);

        /** The log has a step of an attempt at an awaited interaction. */
        void completed(Completion completion);

        /** What was there to be read of replies and completions is passed on. */
        void handled();

        void state(BackendStatus state);
    }

    /**
     * Begins to read a partition of replies and all completions at their ends, and the backends' states; completes when nothing that
     * belongs to a query sent from then on can be missed. Tries for ever while the log is away.
     */
    CompletableFuture<Void> open(int partition, Reader reader);

    /**
     * Where a topic was at a time, by partition: the offset of the first record that is not older, or the committed end. Fails after 3 s without
     * an answer.
     */
    CompletableFuture<Map<TopicPartition, Long>> offsetsAt(Topic<?> topic, Instant time);

    @Override
    void close();
}
