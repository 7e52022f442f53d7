package io.millrace.gateway;

import io.millrace.schema.Reply;
import java.util.Optional;

/** How an exchange ended. */
sealed interface Outcome {
    /** With the final reply of an attempt. */
    record Answered(Reply reply) implements Outcome {}

    /**
     * Without an answer; the reply is there when the log said so, and not when the gateway's own timer did.
     *
     * @param open the log has an end of it, or will, that the client was not told: to ask again is to ask for that
     */
    record Failed(Problem problem, Optional<Reply> reply, boolean open) implements Outcome {
        Failed(Problem problem, Optional<Reply> reply) {
            this(problem, reply, false);
        }
    }
}
