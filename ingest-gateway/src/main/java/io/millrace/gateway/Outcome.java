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
     * @param open the interaction goes on in the log, and only this gateway does not wait for it any more
     */
    record Failed(Problem problem, Optional<Reply> reply, boolean open) implements Outcome {
        Failed(Problem problem, Optional<Reply> reply) {
            this(problem, reply, false);
        }
    }
}
