package io.millrace.gateway;

import io.millrace.schema.Reply;

/** Who waits for an exchange. Called on the exchange's event loop. */
interface Client {
    /** Whether {@link #accepted} does anything: it costs a wake-up of the loop in the middle of the way of a query. */
    default boolean wantsAcceptance() {
        return false;
    }

    /** The log has the query. */
    default void accepted() {}

    /** A piece of the answer, in order, of one attempt only. */
    default void delta(Reply reply) {}

    /** Called exactly once, and last. */
    void ended(Outcome outcome);

    /** Whether pieces are wanted. */
    default boolean streams() {
        return false;
    }
}
