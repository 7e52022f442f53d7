package io.millrace.log;

import java.nio.charset.StandardCharsets;
import java.util.concurrent.CompletableFuture;
import java.util.function.Supplier;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.errors.AuthenticationException;
import org.apache.kafka.common.errors.AuthorizationException;
import org.apache.kafka.common.errors.RetriableException;
import org.jspecify.annotations.Nullable;

/** Writes values to the log. Thread-safe; one per process is enough. */
public final class LogProducer implements AutoCloseable {
    private final LogSettings log;
    private final Codecs codecs;
    private final KafkaProducer<byte[], byte[]> producer;

    public LogProducer(LogSettings log, Codecs codecs) {
        this.log = log;
        this.codecs = codecs;
        this.producer = new KafkaProducer<>(ClientConfig.producer(log));
    }

    /**
     * Appends a value; the future completes when all in-sync replicas have it. May block up to 5 s for metadata: the first call for
     * a topic does not belong on an event loop (see {@link #prepare}).
     */
    public <V extends SpecificRecord> CompletableFuture<RecordMetadata> send(Topic<V> topic, String key, V value) {
        return send(topic, null, key, value);
    }

    /** The same to a given partition; null lets the key choose. */
    public <V extends SpecificRecord> CompletableFuture<RecordMetadata> send(
            Topic<V> topic, @Nullable Integer partition, String key, @Nullable V value) {
        return ready(topic, partition, key, value).get();
    }

    /**
     * Encodes a value and sends it when it is asked to, once. Two records that are ready leave in one request; while the second was encoded
     * the first would leave alone, and the second wait for its acknowledgement.
     */
    public <V extends SpecificRecord> Supplier<CompletableFuture<RecordMetadata>> ready(
            Topic<V> topic, @Nullable Integer partition, String key, @Nullable V value) {
        try {
            byte[] bytes = value == null ? null : codecs.of(topic).encode(value);
            ProducerRecord<byte[], byte[]> record =
                    new ProducerRecord<>(log.name(topic), partition, key.getBytes(StandardCharsets.UTF_8), bytes);
            return () -> send(record);
        } catch (RuntimeException e) {
            return () -> CompletableFuture.failedFuture(e);
        }
    }

    private CompletableFuture<RecordMetadata> send(ProducerRecord<byte[], byte[]> record) {
        CompletableFuture<RecordMetadata> done = new CompletableFuture<>();
        try {
            producer.send(record, (metadata, error) -> {
                if (error == null) {
                    done.complete(metadata);
                } else {
                    done.completeExceptionally(error);
                }
            });
        } catch (RuntimeException e) {
            done.completeExceptionally(e);
        }
        return done;
    }

    /** Deletes a key from a compacted topic. */
    public CompletableFuture<RecordMetadata> tombstone(Topic<?> topic, String key) {
        return send(topic, null, key, null);
    }

    /** Fetches metadata and registers the schema of a topic, so that later sends do not block. */
    public void prepare(Topic<?> topic) {
        producer.partitionsFor(log.name(topic));
        codecs.of(topic).prepare();
    }

    /** Sends a record's raw bytes; for dead letters and tests of undecodable input. */
    public CompletableFuture<RecordMetadata> sendRaw(Topic<?> topic, byte[] key, byte[] value) {
        return send(new ProducerRecord<>(log.name(topic), key, value));
    }

    /**
     * Whether something failed, at whatever depth, because the log or the registry is away or lets nobody in, and not for what was sent:
     * the same is worth sending again, for as long as it takes. A producer that was closed is neither; it writes no dead letter either.
     */
    public static boolean isOutage(Throwable error) {
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            if (cause instanceof RetriableException
                    || cause instanceof AuthenticationException
                    || cause instanceof AuthorizationException
                    || cause instanceof SchemaRegistry.RegistryUnavailableException) {
                return true;
            }
        }
        return false;
    }

    /** Waits until everything sent is acknowledged or failed. */
    public void flush() {
        producer.flush();
    }

    @Override
    public void close() {
        producer.close(java.time.Duration.ofSeconds(5));
    }
}
