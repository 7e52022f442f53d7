package io.millrace.standalone.parts;

/** A server of our own. Started once, and again when it died; stopped once. */
public interface Part {
    /** Name in messages, log files and pid records; kebab-case. */
    String name();

    /**
     * Starts and returns when it serves.
     *
     * @throws UserException when it cannot
     */
    void start();

    /** Whether its process, or its threads, are there. Cheap enough to ask twice a second. */
    boolean isAlive();

    /** Stops within a few seconds, cleanly if it can. Does nothing when it is not running. */
    void stop();
}
