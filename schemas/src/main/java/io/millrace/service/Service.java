package io.millrace.service;

import java.util.Map;

/** A service: a worker, a topology, a projection or the gateway. Started once, closed once. */
public interface Service extends AutoCloseable {
    /** Name in health, logs and metrics; kebab-case. */
    String name();

    /** Starts; returns as soon as nothing needs this thread any more. Throws when it can never become ready. */
    void start();

    /** Whether it would do its work now. */
    boolean isReady();

    /**
     * Whether queries are answered only while it is ready. What is not essential catches up from the log: while it is not ready the
     * process is degraded, and still takes queries.
     */
    default boolean isEssential() {
        return true;
    }

    /**
     * How much it has read of what it must have read to be ready, in records; at least 0. Grows while it comes on: whoever starts it waits
     * as long as that.
     */
    default long progress() {
        return 0;
    }

    /** What {@code /health/detailed} says of it: states and degradations by name. Empty when all is well. */
    default Map<String, String> details() {
        return Map.of();
    }

    /** Stops within 5 s and gives back what it holds. */
    @Override
    void close();
}
