package io.millrace.sinks.postgres;

import io.micrometer.core.instrument.Counter;
import io.micrometer.core.instrument.Gauge;
import io.millrace.log.ClientConfig;
import io.millrace.log.DeadLetters;
import io.millrace.log.Log;
import io.millrace.log.SchemaRegistry;
import io.millrace.log.Topics;
import io.millrace.log.UndecodableException;
import io.millrace.service.Service;
import java.sql.SQLException;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Deque;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.errors.WakeupException;
import org.flywaydb.core.api.FlywayException;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Projects interactions, decisions, feedback, telemetry and documents into PostgreSQL, each record exactly once.
 *
 * <p>The group only says who reads which partition. How far a partition is projected is a row in {@code sink_offsets}, written in
 * the transaction of the rows themselves and only if it is where this process left it: a member that lost its partitions without
 * noticing (a zombie) finds another offset there and writes nothing.
 *
 * <p>One thread polls, so that it stays a member, decodes, and hands what it holds to a second one, which writes it meanwhile: there is
 * one transaction at a time, and the connection is used by nobody else before it has ended. While PostgreSQL or the registry is down it
 * reads no further, says so in {@link #details()}, tries again with a growing pause, and goes on where it stopped. A record that cannot
 * be decoded, or that PostgreSQL refuses, becomes a dead letter.
 *
 * <p>Metrics: {@code millrace_projection_lag_seconds{projection="postgres"}} is the age of the oldest record that was read and not
 * written; {@code millrace_projection_rows_total} counts rows written, by table, and {@code millrace_projection_fenced_total} aborted
 * transactions of a zombie.
 */
public final class PostgresSink implements Service {
    private static final Logger LOG = LoggerFactory.getLogger(PostgresSink.class);
    private static final String STEP = "sink-postgres";

    /** Rows of a batch. More are hardly faster, and one is gathered while another is written. */
    private static final int MAX_ROWS = 2_000;

    /** Wire bytes of a batch; rows may be megabytes each, and as JSON text they double. */
    private static final long MAX_BYTES = 8L * 1024 * 1024;

    /** From a transaction to the next when there is less than a batch: ten a second cost nothing and nobody waits longer. */
    private static final Duration LINGER = Duration.ofMillis(100);

    private static final Duration FIRST_BACKOFF = Duration.ofMillis(100);
    private static final Duration LAST_BACKOFF = Duration.ofSeconds(3);

    private final Log log;
    private final Database database;
    private final KafkaConsumer<byte[], byte[]> consumer;
    private final DeadLetters deadLetters;
    private final Map<String, Projection<?>> projections = new HashMap<>();
    private final Set<String> usage;
    private final Counter fenced;
    private final Gauge lag;
    private final Thread thread;

    /** Partitions that are ours, with the offset at which the database will expect the transaction after the one under way. */
    private final Map<TopicPartition, Long> placed = new HashMap<>();

    /** Partitions that are ours and whose offset is not read yet; they stay paused. */
    private final Set<TopicPartition> unplaced = new HashSet<>();

    /** Partitions whose offset the log does not hold, to be moved to its beginning. */
    private final Set<TopicPartition> outOfRange = new HashSet<>();

    private final Deque<ConsumerRecord<byte[], byte[]>> taken = new ArrayDeque<>();
    private final List<Row> rows = new ArrayList<>();
    private long bytes;

    /** When the oldest of the records taken and the rows was made, milliseconds since the epoch. */
    private long oldest;

    private @Nullable Batch underWay;
    private long lastWrite;
    private boolean joined;
    private boolean healthy;
    private String warned = "";
    private Instant troubleSince = Instant.now();
    private long retryAt = System.nanoTime();
    private Duration backoff = FIRST_BACKOFF;

    /** When the oldest record that is read and not written was made, milliseconds since the epoch; 0 when there is none. */
    private volatile long oldestUnwritten = System.currentTimeMillis();

    private volatile long behind;
    private volatile Map<String, String> details = Map.of("postgres", "starting");
    private volatile Map<String, String> gaps = Map.of();
    private volatile boolean running = true;
    private volatile boolean ready;

    /** @param jdbcUrl {@code jdbc:postgresql://host:port/database}; the user may create tables in it */
    public PostgresSink(Log log, String jdbcUrl, String user, String password) {
        this.log = log;
        this.database = new Database(jdbcUrl, user, password);
        for (Projection<?> projection : Projections.ALL) {
            projections.put(log.settings().name(projection.topic()), projection);
            rowsOf(projection.table());
        }
        this.usage =
                Set.of(log.settings().name(Topics.INTERACTIONS), log.settings().name(Topics.TELEMETRY));
        this.fenced = Counter.builder("millrace.projection.fenced")
                .tag("projection", "postgres")
                .register(log.metrics());
        this.lag = Gauge.builder("millrace.projection.lag", this, PostgresSink::lagSeconds)
                .tag("projection", "postgres")
                .baseUnit("seconds")
                .register(log.metrics());
        this.deadLetters = new DeadLetters(log.producer(), log.metrics());
        this.consumer = new KafkaConsumer<>(config(log));
        this.thread = Thread.ofPlatform().name(STEP).daemon(true).unstarted(this::run);
    }

    private static Map<String, Object> config(Log log) {
        Map<String, Object> config = ClientConfig.member(log.settings(), STEP);
        config.putAll(ClientConfig.batching(ClientConfig.BATCH_WAIT_MS));
        config.put(ConsumerConfig.MAX_POLL_RECORDS_CONFIG, MAX_ROWS);
        config.put(ConsumerConfig.FETCH_MAX_BYTES_CONFIG, (int) MAX_BYTES);
        // The database says where to go on. An offset that the log does not hold is an event to be told, not to be
        // skipped.
        config.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "none");
        return config;
    }

    @Override
    public String name() {
        return STEP;
    }

    @Override
    public void start() {
        thread.start();
    }

    @Override
    public boolean isEssential() {
        return false;
    }

    @Override
    public boolean isReady() {
        return ready && thread.isAlive();
    }

    @Override
    public Map<String, String> details() {
        Map<String, String> all = new HashMap<>(gaps);
        all.putAll(details);
        return Map.copyOf(all);
    }

    /** Records on the log that are not written yet, as far as this member has seen of it; at least 0. */
    public long behind() {
        return behind;
    }

    private Counter rowsOf(String table) {
        return log.metrics().counter("millrace.projection.rows", "projection", "postgres", "table", table);
    }

    private double lagSeconds() {
        long oldest = oldestUnwritten;
        return oldest == 0 ? 0 : Math.max(0, System.currentTimeMillis() - oldest) / 1000.0;
    }

    private void run() {
        try {
            consumer.subscribe(projections.keySet(), new Rebalances());
            while (running) {
                turn();
            }
        } finally {
            ready = false;
            abandon();
            stopWork();
        }
    }

    private void turn() {
        try {
            if (System.nanoTime() - retryAt >= 0) {
                advance();
            }
            poll();
        } catch (WakeupException e) {
            LOG.debug("{}: woken to stop", STEP);
        } catch (RuntimeException e) {
            // nobody starts another sink: whatever it is, it may pass
            forgetPlaces();
            String why = "trying again after " + e;
            if (!why.equals(warned)) {
                LOG.warn("{}: not foreseen", STEP, e);
            }
            wait(why);
        }
    }

    private void stopWork() {
        database.close();
        consumer.close(CloseOptions.timeout(Duration.ofSeconds(2)));
    }

    private void poll() {
        try {
            ConsumerRecords<byte[], byte[]> records = consumer.poll(LINGER);
            for (ConsumerRecord<byte[], byte[]> record : records) {
                taken.add(record);
                bytes += Math.max(record.serializedValueSize(), 0);
            }
            if (rows.isEmpty()) {
                taken.stream().mapToLong(ConsumerRecord::timestamp).min().ifPresent(first -> oldest = first);
            }
            Batch written = underWay;
            if (written != null) {
                oldestUnwritten = written.oldest();
            } else if (!rows.isEmpty() || !taken.isEmpty()) {
                oldestUnwritten = oldest;
            } else if (isCaughtUp()) {
                oldestUnwritten = 0;
            }
            long unread = placed.keySet().stream()
                    .mapToLong(partition -> consumer.currentLag(partition).orElse(0))
                    .sum();
            behind = unread + taken.size() + rows.size() + (written == null ? 0 : written.rows());
        } catch (OffsetOutOfRangeException e) {
            outOfRange.addAll(e.offsetOutOfRangePartitions().keySet());
        }
    }

    /** Whether the log is known to hold nothing after what was read. */
    private boolean isCaughtUp() {
        return joined
                && unplaced.isEmpty()
                && placed.keySet().stream()
                        .allMatch(partition -> consumer.currentLag(partition).orElse(1) == 0);
    }

    /** Does what can be done now; on trouble, says so and plans the next try. */
    private void advance() {
        try {
            database.migrate();
            if (underWay != null && underWay.hasEnded()) {
                settle();
            }
            place();
            decode();
            write();
            moveToBeginning();
            recovered();
        } catch (StaleOffsetsException e) {
            LOG.warn("{}: nothing was written, reading the offsets again: {}", STEP, e.getMessage());
            fenced.increment();
            forgetPlaces();
        } catch (SQLException | FlywayException e) {
            // the outcome of a commit is not known when its connection breaks: the next place() reads what is true
            forgetPlaces();
            wait("waiting for PostgreSQL: " + firstLine(e));
        } catch (SchemaRegistry.RegistryUnavailableException e) {
            wait("waiting for the schema registry: " + firstLine(e));
        } catch (CompletionException e) {
            // it may be of the rows under way, which are not held here any more
            forgetPlaces();
            wait("waiting for Kafka to take a dead letter: " + firstLine(e));
        } catch (RetriableException e) {
            wait("waiting for Kafka: " + firstLine(e));
        }
    }

    private static String firstLine(Throwable error) {
        return String.valueOf(error.getMessage()).strip().lines().findFirst().orElse("");
    }

    /** Waits for the transaction under way, if there is one, and throws what it threw. */
    private void settle() throws SQLException, StaleOffsetsException {
        Batch batch = underWay;
        if (batch != null) {
            underWay = null;
            batch.await();
        }
    }

    /** The same for one whose outcome does not matter any more: the database will be asked where it is. */
    private void abandon() {
        try {
            settle();
        } catch (SQLException | StaleOffsetsException | RuntimeException e) {
            LOG.debug("{}: a transaction that nobody waits for failed", STEP, e);
        }
    }

    private void wait(String why) {
        if (!why.equals(warned)) {
            LOG.warn("{}: {}", STEP, why);
            warned = why;
        }
        if (healthy) {
            healthy = false;
            troubleSince = Instant.now();
        }
        details = Map.of("postgres", why + ", since " + troubleSince.truncatedTo(ChronoUnit.SECONDS));
        ready = false;
        if (underWay == null) {
            database.close();
        }
        consumer.pause(consumer.assignment());
        retryAt = System.nanoTime() + backoff.toNanos();
        backoff = backoff.multipliedBy(2).compareTo(LAST_BACKOFF) > 0 ? LAST_BACKOFF : backoff.multipliedBy(2);
    }

    private void recovered() {
        backoff = FIRST_BACKOFF;
        ready = joined && unplaced.isEmpty();
        if (!healthy) {
            LOG.info("{}: going on", STEP);
            healthy = true;
            warned = "";
            details = Map.of();
            consumer.resume(placed.keySet());
        }
    }

    /** Seeks the partitions that are new here to where the database is. */
    private void place() throws SQLException, StaleOffsetsException {
        if (unplaced.isEmpty()) {
            return;
        }
        settle();
        Map<TopicPartition, Long> offsets = database.offsets(unplaced);
        offsets.forEach(consumer::seek);
        consumer.resume(offsets.keySet());
        placed.putAll(offsets);
        unplaced.removeAll(offsets.keySet());
    }

    /** Drops what is held; the database tells where it has to be read again. */
    private void forgetPlaces() {
        abandon();
        consumer.pause(placed.keySet());
        unplaced.addAll(placed.keySet());
        placed.clear();
        outOfRange.clear();
        taken.clear();
        rows.clear();
        bytes = 0;
    }

    /** Makes rows of the records taken. What was decoded stays decoded when a later one has to wait for the registry. */
    private void decode() {
        for (ConsumerRecord<byte[], byte[]> record = taken.peek(); record != null; record = taken.peek()) {
            Projection<?> projection = projections.get(record.topic());
            if (projection == null) {
                throw new IllegalStateException("not subscribed to " + record.topic());
            }
            try {
                rows.add(Row.of(log.codecs(), projection, record));
            } catch (UndecodableException e) {
                deadLetters.bury(record, STEP, e, 1);
            }
            taken.remove();
        }
    }

    private void write() throws SQLException, StaleOffsetsException {
        boolean full = rows.size() >= MAX_ROWS || bytes >= MAX_BYTES;
        if (!full && (underWay != null || System.nanoTime() - lastWrite < LINGER.toNanos())) {
            return;
        }
        settle();
        // Positions, not the offsets of the last records: they also pass the markers of transactions and what
        // compaction took.
        Map<TopicPartition, Database.Advance> advances = new HashMap<>();
        placed.forEach((partition, expected) -> {
            long position = consumer.position(partition);
            if (position > expected) {
                advances.put(partition, new Database.Advance(expected, position));
            }
        });
        if (advances.isEmpty()) {
            return;
        }
        underWay = Batch.begin(rows.size(), oldest, hand(List.copyOf(rows), advances));
        lastWrite = System.nanoTime();
        advances.forEach((partition, advance) -> placed.put(partition, advance.next()));
        rows.clear();
        bytes = 0;
        if (!healthy) {
            // it has recovered when something was written
            settle();
        }
    }

    private Callable<@Nullable Void> hand(List<Row> batch, Map<TopicPartition, Database.Advance> advances) {
        return () -> {
            database.write(batch, advances, (row, why) -> deadLetters.bury(row.source(), STEP, why, 1));
            batch.stream()
                    .collect(Collectors.groupingBy(row -> row.projection().table(), Collectors.counting()))
                    .forEach((table, count) -> rowsOf(table).increment(count));
            return null;
        };
    }

    /**
     * The log does not hold the offset where the database is: its records expired while this sink was away (they are in the archive),
     * or the topic was made anew. Either way what there is gets projected, and upserts make it harmless to see a record again. Uses
     * of documents are missed then, and count from now on; also where nothing was ever projected, since that may have been long ago.
     */
    private void moveToBeginning() throws SQLException, StaleOffsetsException {
        if (outOfRange.isEmpty() || !rows.isEmpty()) {
            return;
        }
        settle();
        outOfRange.retainAll(placed.keySet());
        Map<TopicPartition, Database.Advance> advances = new HashMap<>();
        consumer.beginningOffsets(outOfRange)
                .forEach((partition, beginning) ->
                        advances.put(partition, new Database.Advance(placed.getOrDefault(partition, 0L), beginning)));
        database.pass(
                advances, advances.keySet().stream().map(TopicPartition::topic).anyMatch(usage::contains));
        Map<String, String> seen = new HashMap<>(gaps);
        advances.forEach((partition, advance) -> {
            placed.put(partition, advance.next());
            consumer.seek(partition, advance.next());
            // 0 is where a partition starts that was never projected: nothing of ours was missed
            if (advance.expected() != 0) {
                String what = "was at " + advance.expected() + ", the log begins at " + advance.next() + ": went there";
                LOG.warn("{}: {} {}", STEP, partition, what);
                seen.put("postgres gap in " + partition, what);
            }
        });
        gaps = Map.copyOf(seen);
        outOfRange.clear();
    }

    @Override
    public void close() {
        running = false;
        log.metrics().remove(lag);
        consumer.wakeup();
        if (thread.getState() == Thread.State.NEW) {
            // a start that was broken off: nobody else closes what the constructor opened
            stopWork();
            return;
        }
        try {
            if (!thread.join(Duration.ofSeconds(3))) {
                // it hangs in a statement: break its connection
                database.close();
                thread.join(Duration.ofNanos(TimeUnit.SECONDS.toNanos(2)));
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private final class Rebalances implements ConsumerRebalanceListener {
        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            // Any position will do until the database has told the real one: without one, poll would fail.
            partitions.forEach(partition -> consumer.seek(partition, 0));
            consumer.pause(partitions);
            unplaced.addAll(partitions);
            joined = true;
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            // What is read and not written belongs to the next owner, who finds the offset in the database: not before
            // a
            // transaction has ended that moves it. What that one throws is for the next turn.
            Batch last = underWay;
            abandon();
            underWay = last;
            Set<TopicPartition> gone = new HashSet<>(partitions);
            placed.keySet().removeAll(gone);
            unplaced.removeAll(gone);
            outOfRange.removeAll(gone);
            taken.removeIf(record -> gone.contains(new TopicPartition(record.topic(), record.partition())));
            rows.removeIf(row -> gone.contains(row.partition()));
        }
    }
}
