package io.millrace.log;

import io.millrace.service.Service;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.avro.specific.SpecificRecord;

/** A small compacted topic, held whole in memory: the last value of every key. */
public final class LogTable<V extends SpecificRecord> implements Service {
    private final String name;
    private final Map<String, V> values = new ConcurrentHashMap<>();
    private final LogTail<V> tail;

    /** @param name of the service */
    public LogTable(String name, Topic<V> topic, Log log) {
        this.name = name;
        this.tail = new LogTail<>(name, topic, LogTail.From.BEGINNING, log, record -> {
            V value = record.value();
            if (value == null) {
                values.remove(record.key());
            } else {
                values.put(record.key(), value);
            }
        });
    }

    /** A snapshot, in no order. */
    public List<V> all() {
        return new ArrayList<>(values.values());
    }

    @Override
    public String name() {
        return name;
    }

    @Override
    public void start() {
        tail.start();
    }

    @Override
    public boolean isReady() {
        return tail.caughtUp().isDone() && !tail.caughtUp().isCompletedExceptionally();
    }

    @Override
    public void close() {
        tail.close();
    }
}
