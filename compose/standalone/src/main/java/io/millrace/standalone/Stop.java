package io.millrace.standalone;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** The end of a process that runs until SIGTERM, SIGINT or SIGHUP. */
final class Stop {
    private final CountDownLatch asked = new CountDownLatch(1);
    private final CountDownLatch done = new CountDownLatch(1);

    /** Holds the JVM's exit until {@link #finished}. */
    Stop() {
        Runtime.getRuntime().addShutdownHook(Thread.ofPlatform().name("stop").unstarted(() -> {
            asked.countDown();
            try {
                // services 5 s, then the parts; whoever sent the signal gave us 10 s
                done.await(12, TimeUnit.SECONDS);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }));
    }

    /** Whether a signal came. */
    boolean isAsked() {
        return asked.getCount() == 0;
    }

    /** Waits for the signal. */
    void await() {
        try {
            asked.await();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /** All is stopped: the JVM may exit. */
    void finished() {
        done.countDown();
    }
}
