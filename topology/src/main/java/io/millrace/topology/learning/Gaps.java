package io.millrace.topology.learning;

import io.millrace.log.AvroCodec;
import io.millrace.log.Codecs;
import io.millrace.log.LogSettings;
import io.millrace.log.Topics;
import io.millrace.log.UndecodableException;
import io.millrace.schema.QueryGap;
import io.millrace.topology.internal.Expiries;
import java.time.Instant;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.Objects;
import java.util.TreeMap;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.jspecify.annotations.Nullable;

/**
 * Counts questions that the knowledge does not cover, by day. A question is forgotten when it is covered at last, or was not asked for
 * seven days.
 */
final class Gaps extends ContextualProcessor<String, byte[], String, byte[]> {
    /** Below this context score a question is a gap (the seeds' bar). */
    static final double COVERED = 0.4;

    /** Days that count. */
    static final int DAYS = 7;

    private static final long DAY_MS = 86_400_000;

    private final String ticks;
    private final AvroCodec<QueryGap> gaps;
    private final Expiries due = new Expiries();
    private @Nullable KeyValueStore<String, QueryGap> store;

    Gaps(LogSettings log, Codecs codecs) {
        this.ticks = log.name(Topics.TICKS);
        this.gaps = codecs.of(Topics.QUERY_GAPS);
    }

    @Override
    public void init(ProcessorContext<String, byte[]> context) {
        super.init(context);
        KeyValueStore<String, QueryGap> found = context.getStateStore(LearningTopology.STORE);
        store = found;
        try (var all = found.all()) {
            all.forEachRemaining(entry -> due.set(entry.key, entry.value.getLastAskedAt() + DAYS * DAY_MS));
        }
    }

    @Override
    public void process(Record<String, byte[]> record) {
        KeyValueStore<String, QueryGap> known = Objects.requireNonNull(store);
        if (context().recordMetadata().orElseThrow().topic().equals(ticks)) {
            due.take(record.timestamp(), key -> forget(known, key, record));
            return;
        }
        try {
            QueryGap asked = gaps.decode(record.value());
            if (asked.getContextScore() >= COVERED) {
                if (known.get(record.key()) != null) {
                    forget(known, record.key(), record);
                }
                return;
            }
            QueryGap counted = count(known.get(record.key()), asked);
            known.put(record.key(), counted);
            due.set(record.key(), counted.getLastAskedAt() + DAYS * DAY_MS);
            context().forward(record.withValue(gaps.encode(counted)));
        } catch (UndecodableException e) {
            // written by this application, so that it can only be of a version that is gone
            return;
        }
    }

    private void forget(KeyValueStore<String, QueryGap> known, String key, Record<String, byte[]> record) {
        known.delete(key);
        due.remove(key);
        tombstone(key, record);
    }

    @SuppressWarnings("NullAway") // a tombstone
    private void tombstone(String key, Record<String, byte[]> record) {
        context().forward(record.withKey(key).withValue(null));
    }

    private static QueryGap count(@Nullable QueryGap before, QueryGap asked) {
        LocalDate today = LocalDate.ofInstant(Instant.ofEpochMilli(asked.getLastAskedAt()), ZoneOffset.UTC);
        TreeMap<String, Long> byDay = new TreeMap<>(before == null ? java.util.Map.of() : before.getByDay());
        byDay.merge(today.toString(), 1L, Long::sum);
        byDay.headMap(today.minusDays(DAYS - 1L).toString()).clear();
        return QueryGap.newBuilder(asked)
                .setContextScore(
                        before == null
                                ? asked.getContextScore()
                                : Math.min(before.getContextScore(), asked.getContextScore()))
                .setCount(byDay.values().stream().mapToLong(Long::longValue).sum())
                .setLastAskedAt(
                        before == null
                                ? asked.getLastAskedAt()
                                : Math.max(before.getLastAskedAt(), asked.getLastAskedAt()))
                .setByDay(byDay)
                .build();
    }
}
