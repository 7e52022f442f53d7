package io.millrace.sinks.index;

import io.micrometer.core.instrument.Gauge;
import io.micrometer.core.instrument.Timer;
import io.millrace.knowledge.VectorIndex;
import io.millrace.log.Log;
import io.millrace.log.LogRecord;
import io.millrace.log.LogTail;
import io.millrace.log.Topics;
import io.millrace.schema.Passage;
import io.millrace.service.Service;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Keeps the vector index of this process up with {@code passages}. The offsets are committed with the index, so a restart goes on where
 * the index is, and a lost index is read from the beginning. While the index takes nothing (its server is away, its disk is full) this
 * waits at the passage it is at and says why: nothing is lost, and nothing is a dead letter. It stays ready, once it was: queries are answered
 * by what is in the index, or without evidence. An embedded index whose writer was closed by an error of the disk takes nothing until the process starts again, from its last commit.
 */
public final class IndexProjection implements Service {
    private static final Logger LOG = LoggerFactory.getLogger(IndexProjection.class);

    /** How long a passage may stay invisible when no other follows it at once. */
    private static final long REFRESH_MS = 200;

    /**
     * And while others do. Each refresh makes a segment with a graph of its own, which merges make again: a fifth of them costs
     * a good part less.
     */
    private static final long BUSY_REFRESH_MS = 1_000;

    /** Between two tries to write what the index did not take. */
    private static final long RETRY_MS = 1_000;

    /** How much is read again after a kill; a commit syncs files. */
    private static final long COMMIT_MS = 5_000;

    private static final String WRITE = "writing to the vector index";
    private static final String COMMIT = "committing the vector index";

    private final VectorIndex index;
    private final Duration settleAfter;
    private final Timer settled;
    private final LogTail<Passage> tail;
    private final Map<Integer, Long> offsets = new ConcurrentHashMap<>();
    private final ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor(
            Thread.ofPlatform().name("index").daemon().factory());
    /** Of its own: what was written meanwhile must not wait for it to be visible. */
    private final ScheduledExecutorService settling = Executors.newSingleThreadScheduledExecutor(
            Thread.ofPlatform().name("index-settle").daemon().factory());

    private final String model;
    private volatile boolean dirty;

    /** Of the timer's thread only. */
    private long refreshedAt = System.nanoTime();

    private long triedAt = System.nanoTime();

    private volatile boolean uncommitted;

    /** Also of an index that an earlier process left. */
    private volatile boolean unsettled = true;

    private volatile long writtenAt = System.nanoTime();
    private volatile Map<Integer, Long> visible = Map.of();
    private volatile long lastLagMs;
    private final AtomicLong projected = new AtomicLong();
    private volatile boolean closing;

    /** What does not work just now, by what was tried: tried again until it does. */
    private final Map<String, String> trouble = new ConcurrentHashMap<>();

    /**
     * @param model fingerprint of the embedding model whose vectors the index holds
     * @param settleAfter without a passage for so long, the index is put in order: long enough, it costs ingest nothing, since the next batch
     *     of a source has come by then
     */
    public IndexProjection(Log log, VectorIndex index, String model, Duration settleAfter) {
        this.index = index;
        this.model = model;
        this.settleAfter = settleAfter;
        this.settled = Timer.builder("millrace.index.settled")
                .description(
                        "What it took to merge the segments of the index when it was quiet; nothing to merge is not counted")
                .register(log.metrics());
        this.offsets.putAll(index.committed());
        this.tail = new LogTail<>("index", Topics.PASSAGES, Map.copyOf(offsets), log, this::project);
        Gauge.builder("millrace.projection.lag", () -> lastLagMs / 1e3)
                .tag("projection", "index")
                .baseUnit("seconds")
                .register(log.metrics());
    }

    /** An index that is away keeps no passage: the same one is tried again until it is taken. What no index would take is thrown. */
    private void project(LogRecord<Passage> record) {
        while (!write(record)) {
            lastLagMs = Math.max(0, System.currentTimeMillis() - record.timestamp());
            try {
                Thread.sleep(RETRY_MS);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                return;
            }
            if (closing) {
                return;
            }
        }
        projected.incrementAndGet();
        offsets.put(record.partition(), record.offset() + 1);
        lastLagMs = Math.max(0, System.currentTimeMillis() - record.timestamp());
        writtenAt = System.nanoTime();
        dirty = true;
        uncommitted = true;
        unsettled = true;
    }

    private boolean write(LogRecord<Passage> record) {
        Passage passage = record.value();
        try {
            // one of another model has a place in another space; it is embedded anew and comes again
            if (passage == null || !passage.getEmbeddingModel().equals(model)) {
                index.delete(record.key());
            } else {
                index.put(passage);
            }
            return true;
        } catch (IllegalStateException | UncheckedIOException e) {
            failed(WRITE, e);
            return false;
        }
    }

    private void failed(String what, RuntimeException error) {
        if (trouble.put(what, String.valueOf(error.getMessage())) == null) {
            LOG.error("{} does not work, and is tried again until it does", what, error);
        }
    }

    private void worked(String what) {
        if (trouble.remove(what) != null) {
            LOG.info("{} works again", what);
        }
    }

    private void refresh() {
        Map<Integer, Long> handled = tail.positions();
        try {
            long now = System.nanoTime();
            if (!dirty) {
                if (trouble.isEmpty()) {
                    lastLagMs = 0;
                }
            } else if (trouble.containsKey(WRITE) && now - triedAt < TimeUnit.MILLISECONDS.toNanos(RETRY_MS)) {
                return;
            } else if (now - writtenAt < TimeUnit.MILLISECONDS.toNanos(REFRESH_MS)
                    && now - refreshedAt < TimeUnit.MILLISECONDS.toNanos(BUSY_REFRESH_MS)) {
                return;
            } else {
                dirty = false;
                triedAt = now;
                index.refresh();
                refreshedAt = System.nanoTime();
                worked(WRITE);
            }
            visible = handled;
        } catch (RuntimeException e) {
            dirty = true;
            failed(WRITE, e);
        }
    }

    private void settle() {
        try {
            long began = System.nanoTime();
            if (unsettled && began - writtenAt >= settleAfter.toNanos()) {
                unsettled = false;
                if (index.settle()) {
                    uncommitted = true;
                    settled.record(System.nanoTime() - began, TimeUnit.NANOSECONDS);
                }
            }
        } catch (RuntimeException e) {
            if (settling.isShutdown()) {
                LOG.debug("closed while it was put in order", e);
                return;
            }
            LOG.error("the vector index could not be put in order; searches take longer until the next passages", e);
        }
    }

    private void commit() {
        try {
            if (uncommitted) {
                uncommitted = false;
                index.commit(Map.copyOf(offsets));
                worked(COMMIT);
            }
        } catch (RuntimeException e) {
            uncommitted = true;
            // what is not committed is read from the log again
            failed(COMMIT, e);
        }
    }

    /** The offset of {@code passages}, by partition, up to which searches see everything. */
    public Map<Integer, Long> visible() {
        return visible;
    }

    @Override
    public String name() {
        return "index";
    }

    @Override
    public void start() {
        tail.start();
        timer.scheduleWithFixedDelay(this::refresh, REFRESH_MS, REFRESH_MS / 4, TimeUnit.MILLISECONDS);
        timer.scheduleWithFixedDelay(this::commit, COMMIT_MS, COMMIT_MS, TimeUnit.MILLISECONDS);
        long quiet = settleAfter.toMillis();
        settling.scheduleWithFixedDelay(this::settle, quiet, quiet / 10, TimeUnit.MILLISECONDS);
    }

    @Override
    public boolean isReady() {
        return tail.caughtUp().isDone() && !tail.caughtUp().isCompletedExceptionally();
    }

    @Override
    public Map<String, String> details() {
        return Map.copyOf(trouble);
    }

    @Override
    public long progress() {
        return projected.get();
    }

    @Override
    public void close() {
        closing = true;
        tail.close();
        // not interrupted: a commit that is would end the index, and what came since the last one be read again
        timer.close();
        settling.shutdown();
        commit();
        // ends what settles, too
        index.close();
    }
}
