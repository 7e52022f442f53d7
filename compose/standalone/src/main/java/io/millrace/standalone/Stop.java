package io.millrace.standalone;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** The end of a process that runs until SIGTERM, SIGINT or SIGHUP: it says so, whatever the main thread does is interrupted, and it cleans up. */
final class Stop implements AutoCloseable {
    /** Whoever sent the signal gives 10 s as a rule. What is not stopped by then is stopped as by a kill, and mended by the next start. */
    private static final long PATIENCE_SECONDS = 9;

    private volatile boolean signalled;
    private final CountDownLatch asked = new CountDownLatch(1);
    private final CountDownLatch done = new CountDownLatch(1);

    /** To be made, and closed when all is stopped, by the thread that does the work. */
    Stop() {
        Thread worker = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(Thread.ofPlatform().name("stop").unstarted(() -> {
            if (done.getCount() == 0) {
                // it ended by itself
                return;
            }
            System.out.println("millrace stops");
            ask(worker);
            try {
                done.await(PATIENCE_SECONDS, TimeUnit.SECONDS);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }));
    }

    /**
     * What a signal does. The interrupt first: it would otherwise come after {@link #await} has taken it back, and end each wait of the
     * cleaning up, the broker's controlled shutdown among them, so that the next start waits until its registration times out.
     */
    void ask(Thread worker) {
        signalled = true;
        worker.interrupt();
        asked.countDown();
    }

    /** Waits for the signal; what is cleaned up afterwards is not interrupted. */
    void await() {
        while (asked.getCount() > 0) {
            try {
                asked.await();
            } catch (InterruptedException e) {
                // the signal, or nothing
            }
        }
        Thread.interrupted();
    }

    /** Whether the signal has come. */
    boolean isAsked() {
        return signalled;
    }

    /** All is stopped: the JVM may exit. */
    @Override
    public void close() {
        done.countDown();
    }
}
