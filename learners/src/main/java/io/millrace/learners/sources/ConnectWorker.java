package io.millrace.learners.sources;

import java.net.URI;

/** Where Kafka Connect runs: a process of ours, or a cluster. */
public interface ConnectWorker {
    /**
     * Base of its REST API; starts it if it is ours and does not run yet.
     *
     * @throws IllegalStateException when there is none; the message says why, for people
     */
    URI url();
}
