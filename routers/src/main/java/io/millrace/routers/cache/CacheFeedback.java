package io.millrace.routers.cache;

import io.micrometer.core.instrument.Counter;
import io.micrometer.core.instrument.MeterRegistry;
import io.millrace.log.Log;
import io.millrace.log.LogRecord;
import io.millrace.log.LogWorker;
import io.millrace.log.LogWorker.RetryLaterException;
import io.millrace.log.Topics;
import io.millrace.routers.cache.Bans.Verdict;
import io.millrace.routers.redis.RedisValues;
import io.millrace.schema.CachedAnswer;
import io.millrace.schema.Feedback;
import io.millrace.service.Service;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantReadWriteLock;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * What people say of cached answers, from the log into the response cache.
 *
 * <p>Who rejects an answer that was another question's says that the two are different: this question never gets that one's answer
 * again, in its tenant. Who rejects an answer to the very same request, or the first one, says that the answer is bad: it is never served
 * again, also when it is kept later than it is rejected, and the entry goes. An
 * approval takes a rejection of the same pair back. Nothing here moves the threshold: people rate what annoys them, so the ratings say little of
 * the share of wrong answers; as labelled pairs they are kept with the feedback, for the next verdict that is learned.
 *
 * <p>Idempotent. A write that Redis does not confirm is repeated until it does, and until then nothing is served ({@link Rejections}). A Redis that has lost what it knew is told the rejections again, from
 * the log ({@link Bans}). Synthetic feedback changes nothing.
 */
public final class CacheFeedback implements Service {
    private static final Logger LOG = LoggerFactory.getLogger(CacheFeedback.class);
    private static final byte[] YES = "1".getBytes(StandardCharsets.UTF_8);
    private static final int CONCURRENCY = 16;
    private static final Duration LOOK = Duration.ofSeconds(1);
    private static final Duration LOOK_FIRST = Duration.ofMillis(100);
    private static final String NOT_JOINED = "";

    /** Longer than a command or a connection to Redis may take; to read all rejections again may take longer, and is broken off. */
    private static final Duration PATIENCE = Duration.ofSeconds(2);

    private final Log log;
    private final RedisValues redis;
    private final Rejections rejections;
    private final MeterRegistry metrics;
    private final Counter evicted;
    private final LogWorker<Feedback> worker;
    private final ReentrantReadWriteLock restoring = new ReentrantReadWriteLock();
    private final CountDownLatch closed = new CountDownLatch(1);
    private final Thread watch = Thread.ofVirtual().name("cache-bans").unstarted(this::watch);
    private volatile boolean joined;
    private volatile boolean known;

    /**
     * @param redis that of the response cache; it is not closed here
     * @param rejections where they are written; those who look in this process ask the same
     */
    public CacheFeedback(Log log, RedisValues redis, Rejections rejections) {
        this.log = log;
        this.rejections = rejections;
        // what was said while nobody listened may be about what this process would serve at once
        rejections.heard(NOT_JOINED);
        this.redis = redis;
        this.metrics = log.metrics();
        this.evicted = metrics.counter("millrace.response.cache", "result", "evicted");
        // a zero and not a hole where nothing was said yet
        for (String kind : List.of("exact", "semantic")) {
            said(kind, Verdict.REJECTED);
            said(kind, Verdict.APPROVED);
        }
        this.worker = new LogWorker<>("cache-feedback", Topics.FEEDBACK, log, CONCURRENCY, this::hear);
    }

    private void hear(LogRecord<Feedback> record) throws InterruptedException {
        Feedback feedback = record.required();
        Verdict verdict = Verdict.of(feedback);
        if (verdict == Verdict.NONE) {
            return;
        }
        if (verdict == Verdict.REJECTED) {
            rejections.heard(feedback.getFeedbackId());
        }
        restoring.readLock().lockInterruptibly();
        try {
            take(feedback.getInteractionId(), verdict);
        } finally {
            restoring.readLock().unlock();
        }
        rejections.held(feedback.getFeedbackId());
    }

    private void take(String interactionId, Verdict verdict) throws InterruptedException {
        Optional<Served> served = (verdict == Verdict.REJECTED
                        ? reject(interactionId)
                        : value(Served.key(interactionId)))
                .flatMap(Served::read);
        if (served.isEmpty()) {
            // not from a cache, or not kept yet; a rejected answer that is kept from now on is never served
            return;
        }
        switch (served.get()) {
            case Served.Semantic semantic
            when verdict == Verdict.APPROVED -> require(redis.delete(Bans.key(semantic.pair()), YES));
            case Served.Semantic rejected -> {}
            case Served.Exact exact when verdict == Verdict.REJECTED -> evict(exact);
            case Served.Exact approved -> {}
        }
        said(served.get() instanceof Served.Semantic ? "semantic" : "exact", verdict)
                .increment();
    }

    private Optional<byte[]> reject(String interactionId) throws InterruptedException {
        Optional<byte[]> served = rejections.reject(interactionId);
        require(served.isPresent());
        return served;
    }

    private Counter said(String kind, Verdict verdict) {
        return metrics.counter(
                "millrace.response.cache.feedback",
                "kind",
                kind,
                "verdict",
                verdict.name().toLowerCase(Locale.ROOT));
    }

    private void evict(Served.Exact exact) throws InterruptedException {
        Optional<byte[]> entry = value(exact.key());
        Optional<CachedAnswer> answer = entry.flatMap(bytes -> ResponseCache.read(bytes, exact.epoch()));
        if (answer.isPresent() && answer.get().getInteractionId().equals(exact.interactionId())) {
            require(redis.delete(exact.key(), entry.get()));
            evicted.increment();
        }
    }

    private Optional<byte[]> value(String key) throws InterruptedException {
        Optional<List<Optional<byte[]>>> values = redis.get(key);
        require(values.isPresent());
        return values.flatMap(List::getFirst);
    }

    private static void require(boolean done) {
        if (!done) {
            throw new RetryLaterException(
                    "redis does not take what was said of a cached answer", new IllegalStateException("redis is down"));
        }
    }

    @Override
    public String name() {
        return "cache-feedback";
    }

    @Override
    public void start() {
        worker.start();
        watch.start();
    }

    /** Looks whether Redis still knows what was rejected, and tells it when it does not. */
    private void watch() {
        try {
            do {
                if (!joined && worker.isReady()) {
                    rejections.held(NOT_JOINED);
                    joined = true;
                }
                try {
                    Optional<Rejections.Memory> memory = rejections.memory();
                    known = memory.isPresent() && (memory.get().known() || restore(memory.get()));
                } catch (RuntimeException e) {
                    LOG.warn("the rejections of cached answers are not restored yet: {}", e.toString());
                }
            } while (!closed.await((joined ? LOOK : LOOK_FIRST).toMillis(), TimeUnit.MILLISECONDS));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /** What is said meanwhile is heard afterwards, so that nothing older overwrites it. */
    private boolean restore(Rejections.Memory memory) throws InterruptedException {
        restoring.writeLock().lockInterruptibly();
        try {
            Bans.All all = Bans.read(log, memory.since());
            boolean restored = rejections.restore(all.keys(), memory.run());
            if (restored) {
                LOG.info("{} rejections of cached answers were restored from the log", all.pairs());
            }
            return restored;
        } finally {
            restoring.writeLock().unlock();
        }
    }

    /** What is said meanwhile waits in the log. */
    @Override
    public boolean isEssential() {
        return false;
    }

    @Override
    public boolean isReady() {
        return joined && worker.isReady() && (known || redis.isDown());
    }

    @Override
    public Map<String, String> details() {
        Map<String, String> details = new HashMap<>();
        if (!known) {
            details.put(
                    "bans",
                    redis.isDown()
                            ? "redis is down: ratings of cached answers wait"
                            : "rejections are being read from the log: nothing is served from a cache until then");
        }
        int waiting = joined ? rejections.waiting() : 0;
        if (waiting > 0) {
            details.put(
                    "rejections",
                    waiting
                            + " not taken by redis: nothing is served from a cache until then, or, where one became a dead letter of "
                            + name() + ", until this process is started again");
        }
        return Map.copyOf(details);
    }

    @Override
    public void close() {
        closed.countDown();
        worker.close();
        try {
            // not interrupted at once: it may be connecting to Redis, and a connection that comes after the client is
            // closed stays open
            watch.join(PATIENCE.toMillis());
            watch.interrupt();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
