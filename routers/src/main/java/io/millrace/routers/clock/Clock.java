package io.millrace.routers.clock;

import io.millrace.log.Log;
import io.millrace.log.Topics;
import io.millrace.log.Vocabulary.CompletionKind;
import io.millrace.schema.Completion;
import io.millrace.schema.Envelope;
import io.millrace.schema.Tick;
import io.millrace.service.Service;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Writes a tick to every partition each 250 ms, so that time passes without traffic, and each 2 s a watermark to every partition of
 * {@code completions}, by which the ledger knows that it has read what was written there before. Several clocks do no harm.
 */
public final class Clock implements Service {
    private static final Logger LOG = LoggerFactory.getLogger(Clock.class);
    /** A quarter of the shortest lease and grace that ride on it. */
    public static final Duration PERIOD = Duration.ofMillis(250);

    /** Ticks from one watermark to the next: they are kept for days, and only what nobody ends otherwise waits for one. */
    private static final int TICKS_A_WATERMARK = 8;

    private final Log log;
    private final AtomicLong sequence = new AtomicLong();
    private final ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor(
            Thread.ofPlatform().name("clock").daemon().factory());
    private volatile long lastAckNanos;
    private volatile String trouble = "no tick was acknowledged yet";

    public Clock(Log log) {
        this.log = log;
    }

    @Override
    public String name() {
        return "clock";
    }

    @Override
    public void start() {
        timer.scheduleAtFixedRate(this::tickOn, 0, PERIOD.toMillis(), TimeUnit.MILLISECONDS);
    }

    /** A timer whose task threw once stops for ever, and with it all deadlines. */
    private void tickOn() {
        try {
            tick();
        } catch (RuntimeException e) {
            trouble = e.toString();
            LOG.error("a tick failed; the next one follows", e);
        }
    }

    private void tick() {
        long now = System.currentTimeMillis();
        long count = sequence.incrementAndGet();
        for (int partition = 0; partition < log.settings().partitions(Topics.TICKS); partition++) {
            Tick tick = new Tick(Envelope.newBuilder().setOccurredAt(now).build(), partition, count);
            log.producer()
                    .send(Topics.TICKS, partition, String.valueOf(partition), tick)
                    .whenComplete((metadata, error) -> {
                        if (error == null) {
                            lastAckNanos = System.nanoTime();
                        } else {
                            trouble = error.toString();
                        }
                    });
        }
        if (count % TICKS_A_WATERMARK == 1) {
            watermark(now);
        }
    }

    private void watermark(long now) {
        Completion watermark = Completion.newBuilder()
                .setEnvelope(Envelope.newBuilder().setOccurredAt(now).build())
                .setAttempt(0)
                .setKind(CompletionKind.WATERMARK)
                .build();
        for (int partition = 0; partition < log.settings().partitions(Topics.COMPLETIONS); partition++) {
            // the next one says the same and more
            log.producer()
                    .send(Topics.COMPLETIONS, partition, String.valueOf(partition), watermark)
                    .exceptionally(error -> {
                        LOG.debug("a watermark was not written", error);
                        return null;
                    });
        }
    }

    @Override
    public boolean isReady() {
        return lastAckNanos != 0
                && System.nanoTime() - lastAckNanos < Duration.ofSeconds(5).toNanos();
    }

    @Override
    public Map<String, String> details() {
        return isReady() ? Map.of() : Map.of("ticks", trouble);
    }

    @Override
    public void close() {
        timer.shutdownNow();
    }
}
