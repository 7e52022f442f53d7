package io.millrace.learners.knowledge;

import io.millrace.log.Log;
import io.millrace.log.LogRecord;
import io.millrace.log.LogTail;
import io.millrace.log.Topic;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.jspecify.annotations.Nullable;

/**
 * A compacted topic as its writer knows it: what was written is there at once, and what the tail reads of the time before does not undo
 * it.
 */
final class WrittenTable<V extends SpecificRecord> implements AutoCloseable {
    /** Takes a key's last value, null for none; one call at a time. */
    @FunctionalInterface
    interface Change<V> {
        void apply(String key, @Nullable V value);
    }

    /** Offsets of our own writes that the tail has yet to reach. */
    final Map<String, Long> ahead = new HashMap<>();

    /** The last offset that the tail read, by partition: it may be quicker than the answer to the writer. */
    private final Map<Integer, Long> reached = new HashMap<>();

    private final Change<V> change;
    private final LogTail<V> tail;

    WrittenTable(String name, Topic<V> topic, Log log, Change<V> change) {
        this.change = change;
        this.tail = new LogTail<>(name, topic, LogTail.From.BEGINNING, log, this::read);
    }

    synchronized void read(LogRecord<V> record) {
        reached.put(record.partition(), record.offset());
        Long own = ahead.get(record.key());
        if (own != null) {
            if (record.offset() < own) {
                return;
            }
            ahead.remove(record.key());
        }
        change.apply(record.key(), record.value());
    }

    /** Says what was written, and where; changes nothing when the tail has read it, or more. */
    synchronized void wrote(String key, @Nullable V value, RecordMetadata at) {
        if (reached.getOrDefault(at.partition(), -1L) < at.offset()) {
            ahead.put(key, at.offset());
            change.apply(key, value);
        }
    }

    void start() {
        tail.start();
    }

    /** Waits until what was on the log at the start is here. */
    void await() throws InterruptedException {
        try {
            tail.caughtUp().get();
        } catch (ExecutionException e) {
            throw new IllegalStateException("the log cannot be read", e.getCause());
        }
    }

    boolean isReady() {
        return tail.caughtUp().isDone() && !tail.caughtUp().isCompletedExceptionally();
    }

    @Override
    public void close() {
        tail.close();
    }
}
