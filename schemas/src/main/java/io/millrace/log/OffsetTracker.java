package io.millrace.log;

import java.util.NavigableSet;
import java.util.TreeSet;

/**
 * Which records of one partition are unfinished. Records are taken in order and finish in any order; what may be committed is the
 * lowest unfinished offset, or the one after the last taken when all are finished. Thread-safe.
 */
final class OffsetTracker {
    private final NavigableSet<Long> unfinished = new TreeSet<>();
    private long next;
    private long committed;

    /** @param position the first offset that will be taken */
    OffsetTracker(long position) {
        this.next = position;
        this.committed = position;
    }

    synchronized void take(long offset) {
        unfinished.add(offset);
        next = offset + 1;
    }

    synchronized void finish(long offset) {
        unfinished.remove(offset);
    }

    /** The offset to commit. */
    synchronized long committable() {
        return unfinished.isEmpty() ? next : unfinished.first();
    }

    /** The offset to commit if it is news since the last call, else -1. */
    synchronized long advance() {
        long now = committable();
        if (now == committed) {
            return -1;
        }
        committed = now;
        return now;
    }
}
