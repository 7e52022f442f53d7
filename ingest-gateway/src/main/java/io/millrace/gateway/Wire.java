package io.millrace.gateway;

import io.millrace.log.Topic;
import io.millrace.schema.BackendStatus;
import io.millrace.schema.Reply;
import java.util.concurrent.CompletableFuture;
import java.util.function.BooleanSupplier;
import java.util.function.Consumer;
import org.apache.avro.specific.SpecificRecord;

/** The log as the gateway uses it. Never blocks its caller. */
interface Wire extends AutoCloseable {
    /**
     * Appends a value; completes, on any thread, when all in-sync replicas have it.
     *
     * @param wanted asked when its turn has come: false drops it, and the future fails with a CancellationException
     */
    <V extends SpecificRecord> CompletableFuture<Void> send(
            Topic<V> topic, String key, V value, BooleanSupplier wanted);

    /**
     * Begins to read a partition of replies at its end, and the backends' states; completes when no reply to a query sent from then on
     * can be missed. Tries for ever while the log is away.
     */
    CompletableFuture<Void> open(int partition, Consumer<Reply> replies, Consumer<BackendStatus> states);

    @Override
    void close();
}
