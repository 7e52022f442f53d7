package io.millrace.gateway;

import io.millrace.log.Vocabulary.FailureReason;
import io.millrace.log.Vocabulary.ReplyKind;
import io.millrace.schema.Failure;
import io.millrace.schema.Query;
import io.millrace.schema.Reply;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicReference;

/**
 * A query between its client and the log. Replies, ends and time-outs are handled on one event loop, so nothing here is locked; only
 * {@link #sending} is shared with the thread that sends.
 *
 * <p>A worker sends an answer to the client with its end to the log, or beside it. The client gets it when the end has been read back: a
 * record that can be read is on all in-sync replicas, so nobody holds an answer that the log has not. Of several ends the first counts, as in the
 * ledger: what a broker took late, when routing had given its attempt up and ended the query otherwise, is not told.
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
    private final CompletableFuture<Void> taken = new CompletableFuture<>();
    private final long startedNanos = System.nanoTime();
    private boolean done;
    private int attempt;
    private int next;
    private Optional<String> streaming = Optional.empty();

    /** Answers that came before any end on the log, by attempt. */
    private final Map<Integer, Reply> unrecorded = new HashMap<>();

    private boolean recorded;

    /** Attempt whose answer the recorded end is; 0 for any other end. */
    private int answered;

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

    /** Done when the log has the query, which may be after its end; never when it does not take it. */
    CompletableFuture<Void> taken() {
        return taken;
    }

    /** Route of the answer that is being streamed; empty until something of it came. */
    Optional<String> streaming() {
        return streaming;
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

    /**
     * The log has an end of the interaction.
     *
     * @param by attempt whose answer it is; 0 for any other end
     * @param told the answer, where the record carries it and no reply does
     */
    void recorded(int by, Optional<Reply> told, long now) {
        if (recorded) {
            return;
        }
        recorded = true;
        answered = by;
        Reply waiting = told.isPresent() ? told.get() : unrecorded.remove(answered);
        unrecorded.clear();
        if (answered != 0 && attempt != 0 && attempt != answered) {
            // the client has a part of what the record is not; who asks again with the same key is to find that
            end(new Outcome.Failed(lostPart(), Optional.empty(), true));
        } else if (waiting != null) {
            answer(waiting, now);
        }
    }

    /** Tells the client, unless it is too late: the ledger ends what is not there by the deadline. */
    private void answer(Reply reply, long now) {
        if (!recorded) {
            unrecorded.put(reply.getAttempt(), reply);
        } else if (reply.getAttempt() != answered) {
            // the client is told of the end that was first
            return;
        } else if (now > query.getDeadlineAt()) {
            late();
        } else {
            end(new Outcome.Answered(reply));
        }
    }

    void late() {
        Problem late = Problem.of(
                504,
                FailureReason.DEADLINE_EXCEEDED,
                "no answer came before the deadline; GET /interactions/" + query.getInteractionId()
                        + " says what it waited for");
        end(new Outcome.Failed(late, Optional.empty(), answered != 0));
    }

    /** @param now milliseconds since the epoch */
    void receive(Reply reply, long now) {
        if (done) {
            return;
        }
        switch (reply.getKind()) {
            case ReplyKind.DELTA -> delta(reply);
            case ReplyKind.FINAL -> {
                if (!client.streams()
                        || attempt == 0
                        || (reply.getAttempt() == attempt && reply.getSequence() <= next)) {
                    answer(reply, now);
                } else if (reply.getAttempt() >= attempt && (!recorded || reply.getAttempt() == answered)) {
                    // a part of one answer cannot be completed by another, nor an answer with a hole be called whole
                    broken(reply);
                }
            }
            case ReplyKind.ERROR -> {
                // not of an attempt that was given up before the one that speaks now, nor when the record is an answer,
                // which is on its way
                if (reply.getAttempt() >= attempt && answered == 0) {
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
        if (!client.streams() || (recorded && answered != 0 && reply.getAttempt() != answered)) {
            // nobody wants pieces, or not of what is not the answer that the log has; those of an attempt that broke
            // may
            // be read after its end, and an error follows
            return;
        }
        if (attempt == 0) {
            attempt = reply.getAttempt();
            streaming = Optional.of(reply.getRoute());
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
        end(new Outcome.Failed(lostPart(), Optional.of(reply)));
    }

    private static Problem lostPart() {
        return Problem.of(502, FailureReason.STREAM_BROKEN, "a part of the stream was lost");
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
