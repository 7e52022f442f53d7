package io.millrace.routers.cache;

import io.micrometer.core.instrument.MeterRegistry;
import io.millrace.log.Log;
import io.millrace.log.LogRecord;
import io.millrace.log.LogWorker;
import io.millrace.log.LogWorker.RetryLaterException;
import io.millrace.log.Topics;
import io.millrace.routers.redis.RedisValues;
import io.millrace.schema.CachedAnswer;
import io.millrace.schema.Feedback;
import io.millrace.service.Service;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/**
 * What people say of cached answers, from the log into the response cache.
 *
 * <p>Who rejects an answer that was another question's says that the two are different: this question never gets that one's answer
 * again, in its tenant. Who rejects an answer to the very same request, or the first one, says that the answer is bad: the entry goes. An
 * approval takes a rejection of the same pair back. Nothing here moves the threshold: people rate what annoys them, so the ratings say little of
 * the share of wrong answers; as labelled pairs they are kept with the feedback, for the next verdict that is learned.
 *
 * <p>Idempotent. While Redis is down the feedback waits in the log. Synthetic feedback changes nothing.
 */
public final class CacheFeedback implements Service {
    /** As long as the log keeps the feedback. */
    private static final Duration KEEP_BAN = Duration.ofDays(400);

    private static final byte[] BANNED = "1".getBytes(StandardCharsets.UTF_8);
    private static final int CONCURRENCY = 16;

    private final RedisValues redis;
    private final MeterRegistry metrics;
    private final LogWorker<Feedback> worker;

    /** @param redis that of the response cache; it is not closed here */
    public CacheFeedback(Log log, RedisValues redis) {
        this.redis = redis;
        this.metrics = log.metrics();
        this.worker = new LogWorker<>("cache-feedback", Topics.FEEDBACK, log, CONCURRENCY, this::hear);
    }

    private enum Verdict {
        REJECTED,
        APPROVED,
        NONE
    }

    private static Verdict verdict(Feedback feedback) {
        int rating = feedback.getRating() == null ? 0 : feedback.getRating();
        if (rating < 0
                || feedback.getOutcome().equals("failure")
                || !feedback.getCorrection().isBlank()) {
            return Verdict.REJECTED;
        }
        return rating > 0 ? Verdict.APPROVED : Verdict.NONE;
    }

    private void hear(LogRecord<Feedback> record) throws InterruptedException {
        Feedback feedback = record.required();
        Verdict verdict = verdict(feedback);
        if (verdict == Verdict.NONE
                || feedback.getInteractionId().isEmpty()
                || feedback.getEnvelope().getSynthetic()) {
            return;
        }
        Optional<Served> served = value(Served.key(feedback.getInteractionId())).flatMap(Served::read);
        if (served.isEmpty()) {
            // not cached, or so long ago that the entry is gone too
            return;
        }
        switch (served.get()) {
            case Served.Semantic semantic
            when verdict == Verdict.REJECTED -> {
                require(redis.setNow(semantic.banKey(), BANNED, KEEP_BAN));
                label("different");
            }
            case Served.Semantic semantic -> {
                require(redis.delete(semantic.banKey(), BANNED));
                label("same");
            }
            case Served.Exact exact when verdict == Verdict.REJECTED -> evict(exact);
            case Served.Exact approved -> {}
        }
    }

    private void evict(Served.Exact exact) throws InterruptedException {
        Optional<byte[]> entry = value(exact.key());
        Optional<CachedAnswer> answer = entry.flatMap(bytes -> ResponseCache.read(bytes, exact.epoch()));
        if (answer.isPresent() && answer.get().getInteractionId().equals(exact.interactionId())) {
            require(redis.delete(exact.key(), entry.get()));
            metrics.counter("millrace.response.cache", "result", "evicted").increment();
        }
    }

    private void label(String label) {
        metrics.counter("millrace.semantic.cache.feedback", "label", label).increment();
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
    }

    /** What is said meanwhile waits in the log. */
    @Override
    public boolean isEssential() {
        return false;
    }

    @Override
    public boolean isReady() {
        return worker.isReady();
    }

    @Override
    public void close() {
        worker.close();
    }
}
