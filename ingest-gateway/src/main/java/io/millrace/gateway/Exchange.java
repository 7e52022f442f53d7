package io.millrace.gateway;

import io.millrace.log.Vocabulary.FailureReason;
import io.millrace.log.Vocabulary.ReplyKind;
import io.millrace.schema.Failure;
import io.millrace.schema.Query;
import io.millrace.schema.Reply;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicReference;

/**
 * A query between its client and the log. Replies, ends and time-outs are handled on one event loop, so nothing here is locked; only
 * {@link #sending} is shared with the thread that sends.
 */
final class Exchange {
    /** How far the query is on its way into the log. */
    enum Sending {
        /** Not yet given to the producer. */
        QUEUED,
        /** With the producer; it may or may not reach the log. */
        SENT,
        ACKED,
        /** Given up; when the log acknowledges it after all, it is cancelled. */
        ABANDONED
    }

    private final Query query;
    private final Client client;
    private final LoopInbox inbox;
    private final Exchanges home;
    private final Room.Share memory;
    private final AtomicReference<Sending> sending = new AtomicReference<>(Sending.QUEUED);
    private final long startedNanos = System.nanoTime();
    private boolean done;
    private int attempt;
    private int next;

    Exchange(Query query, Client client, LoopInbox inbox, Exchanges home, Room.Share memory) {
        this.query = query;
        this.client = client;
        this.inbox = inbox;
        this.home = home;
        this.memory = memory;
    }

    Query query() {
        return query;
    }

    LoopInbox inbox() {
        return inbox;
    }

    AtomicReference<Sending> sending() {
        return sending;
    }

    double elapsedMs() {
        return (System.nanoTime() - startedNanos) / 1e6;
    }

    boolean isDone() {
        return done;
    }

    void accepted() {
        if (!done) {
            client.accepted();
        }
    }

    void receive(Reply reply) {
        if (done) {
            return;
        }
        switch (reply.getKind()) {
            case ReplyKind.DELTA -> delta(reply);
            case ReplyKind.FINAL -> {
                if (!client.streams()
                        || attempt == 0
                        || (reply.getAttempt() == attempt && reply.getSequence() <= next)) {
                    end(new Outcome.Answered(reply));
                } else if (reply.getAttempt() >= attempt) {
                    // a part of one answer cannot be completed by another, nor an answer with a hole be called whole
                    broken(reply);
                }
            }
            case ReplyKind.ERROR -> {
                // the error of an attempt that was given up before the one that speaks now
                if (reply.getAttempt() >= attempt) {
                    Failure failure = reply.getFailure();
                    Problem problem = failure == null
                            ? Problem.of(502, FailureReason.BACKEND_ERROR, "the attempt failed without a reason")
                            : Problem.of(failure);
                    end(new Outcome.Failed(problem, Optional.of(reply)));
                }
            }
            // written by a newer version
            default -> {}
        }
    }

    private void delta(Reply reply) {
        if (!client.streams()) {
            return;
        }
        if (attempt == 0) {
            attempt = reply.getAttempt();
        }
        if (reply.getAttempt() != attempt || reply.getSequence() < next) {
            // another attempt's, or one that was delivered twice
            return;
        }
        if (reply.getSequence() > next) {
            home.cancel(this);
            broken(reply);
            return;
        }
        next++;
        client.delta(reply);
    }

    private void broken(Reply reply) {
        end(new Outcome.Failed(
                Problem.of(502, FailureReason.STREAM_BROKEN, "a part of the stream was lost"), Optional.of(reply)));
    }

    /** Ends it once; later calls do nothing. */
    void end(Outcome outcome) {
        if (done) {
            return;
        }
        done = true;
        memory.close();
        home.ended(this, outcome);
        client.ended(outcome);
    }
}
