package io.millrace.gateway;

import io.millrace.log.Vocabulary.FailureReason;
import java.util.concurrent.atomic.AtomicLong;

/**
 * The memory that requests may take. Each byte of a query is held some thirty times over while it goes through the log in one process: read,
 * written and decoded by every step. Without a bound a handful of large requests takes the process down, and what is on the log with it.
 */
final class Room {
    /**
     * Bytes of heap for each byte of a query, its text and its body counted apart. Measured: 512 MB take a request of 16 million
     * such bytes and break at 20 million.
     */
    private static final int HEAP_PER_BYTE = 32;

    /** Bodies up to this size are not counted while they come in. */
    static final int SMALL_BYTES = 64 * 1024;

    private final long bytes;
    private final AtomicLong taken = new AtomicLong();

    /** @param heapBytes largest size of this process's heap */
    Room(long heapBytes) {
        this.bytes = heapBytes / HEAP_PER_BYTE;
    }

    /** Whether so many bytes fit when nothing else is held. */
    boolean fits(long wanted) {
        return wanted <= bytes;
    }

    /** @throws Problem 413 when so many bytes never fit */
    void requireFits(long wanted) {
        if (!fits(wanted)) {
            throw Problem.field(
                    413,
                    "too_large",
                    "body",
                    "the request takes " + wanted + " bytes, its text counted beside its body, and the memory of this"
                            + " process is enough for " + bytes
                            + ": send less, or start it with a larger heap, MILLRACE_JAVA_OPTS=-Xmx2g");
        }
    }

    /** A part of it, empty at first; closed when its holder has gone. */
    Share share() {
        return new Share();
    }

    /** Used by one thread at a time. */
    final class Share implements AutoCloseable {
        private long held;

        /**
         * Makes it hold so many bytes.
         *
         * @throws Problem 413 when they never fit, 503 when they do not now
         */
        void hold(long wanted) {
            long more = wanted - held;
            requireFits(wanted);
            if (taken.addAndGet(more) > bytes && more > 0) {
                taken.addAndGet(-more);
                throw Problem.unavailable(
                        FailureReason.OVERLOADED, "other large requests take the memory of this process; try again");
            }
            held = wanted;
        }

        @Override
        public void close() {
            taken.addAndGet(-held);
            held = 0;
        }
    }
}
