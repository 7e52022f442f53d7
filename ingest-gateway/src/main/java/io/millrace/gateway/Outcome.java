package io.millrace.gateway;

import io.millrace.schema.Reply;
import java.util.Optional;

/** How an exchange ended. */
sealed interface Outcome {
    /** With the final reply of an attempt. */
    record Answered(Reply reply) implements Outcome {}

    /** Without an answer; the reply is there when the log said so, and not when the gateway's own timer did. */
    record Failed(Problem problem, Optional<Reply> reply) implements Outcome {}
}
