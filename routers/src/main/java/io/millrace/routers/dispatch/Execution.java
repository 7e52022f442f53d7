package io.millrace.routers.dispatch;

import io.github.resilience4j.circuitbreaker.CircuitBreaker;
import io.millrace.config.MillraceConfig.Deployment;
import io.millrace.log.Vocabulary.CompletionKind;
import io.millrace.log.Vocabulary.FailureReason;
import io.millrace.log.Vocabulary.ReplyKind;
import io.millrace.log.Vocabulary.Route;
import io.millrace.routers.backend.AnswerQuality;
import io.millrace.routers.backend.BackendException;
import io.millrace.routers.backend.Builtins;
import io.millrace.routers.backend.ChatModel;
import io.millrace.routers.dispatch.Claims.Claim;
import io.millrace.schema.Answer;
import io.millrace.schema.Completion;
import io.millrace.schema.Dispatch;
import io.millrace.schema.Failure;
import io.millrace.schema.Reply;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One attempt, on a virtual thread, from the lease to its end.
 *
 * <p>The order in which things leave is what law 4 stands on: the end of the attempt is acknowledged by the log before the final leaves
 * for the client, and no final leaves after the deadline. So a client that holds a final holds an answer that the log has too.
 */
final class Execution {
    private static final Logger LOG = LoggerFactory.getLogger(Execution.class);

    /** Without an acknowledged heartbeat for this long the lease counts as lost: routing waits 5 s, so this worker gives up first. */
    private static final long LEASE_NANOS = TimeUnit.MILLISECONDS.toNanos(3_500);

    /** Kept back from the deadline, for the end to reach the log. */
    private static final long MARGIN_MS = 50;

    /** Why an attempt is broken off. */
    enum Abort {
        CANCELLED,
        LEASE_LOST,
        DEADLINE,
        TIMEOUT
    }

    private final Attempts attempts;
    private final Dispatch dispatch;
    private final boolean overloaded;
    private final long startedNanos = System.nanoTime();
    private final AtomicReference<@Nullable Abort> abort = new AtomicReference<>();
    private volatile long leaseNanos = startedNanos;
    private volatile boolean contentSent;
    private volatile @Nullable Thread thread;
    private int sequence;
    private @Nullable Double firstTokenMs;
    private boolean unclaimed;

    /** @param overloaded there is no room for it: it ends at once */
    Execution(Attempts attempts, Dispatch dispatch, boolean overloaded) {
        this.attempts = attempts;
        this.dispatch = dispatch;
        this.overloaded = overloaded;
    }

    String interactionId() {
        return dispatch.getInteractionId();
    }

    /** Breaks the attempt off. The first reason counts. */
    void abort(Abort reason) {
        if (abort.compareAndSet(null, reason)) {
            Thread working = thread;
            if (working != null) {
                working.interrupt();
            }
        }
    }

    /** Renews the lease; called by a timer. */
    void heartbeat() {
        long now = System.nanoTime();
        if (now - leaseNanos > LEASE_NANOS) {
            abort(Abort.LEASE_LOST);
            return;
        }
        attempts.complete(attempts.completion(dispatch, CompletionKind.HEARTBEAT)
                        .setContentSent(contentSent)
                        .build())
                .thenRun(() -> leaseNanos = Math.max(leaseNanos, now));
    }

    void run() {
        thread = Thread.currentThread();
        ScheduledFuture<?> deadline = attempts.after(remainingMs() - MARGIN_MS, () -> abort(Abort.DEADLINE));
        try {
            if (abort.get() != null) {
                throw new InterruptedException("aborted before it began");
            }
            if (overloaded) {
                throw new BackendException(
                        FailureReason.OVERLOADED,
                        dispatch.getBackend() + " is busy and its queue is full",
                        503,
                        5_000,
                        true);
            }
            work();
        } catch (BackendException e) {
            fail(e.failure());
        } catch (InterruptedException e) {
            aborted();
        } catch (ExecutionException | TimeoutException e) {
            // the log did not acknowledge: nothing was told to the client, and the lease ends this attempt
            LOG.error(
                    "attempt {} of {} could not be recorded: {}", dispatch.getAttempt(), interactionId(), e.toString());
        } catch (RuntimeException e) {
            LOG.error("attempt {} of {} failed unexpectedly", dispatch.getAttempt(), interactionId(), e);
            fail(Failure.newBuilder()
                    .setReason(FailureReason.BACKEND_ERROR)
                    .setMessage("the worker failed: " + e.getClass().getSimpleName())
                    .setHttpStatus(502)
                    .setRetryable(true)
                    .build());
        } finally {
            deadline.cancel(false);
            thread = null;
        }
    }

    private void work() throws BackendException, InterruptedException, ExecutionException, TimeoutException {
        switch (dispatch.getRoute()) {
            case Route.EXTRACTIVE -> answer(Builtins.extractive(dispatch), List.of(), true, null);
            case Route.EVIDENCE -> answer(Builtins.evidence(), List.of(), true, null);
            case Route.CACHE, Route.DELIVER ->
                answer(Objects.requireNonNull(dispatch.getAnswer()), List.of(), true, null);
            case Route.REJECT -> reject(Objects.requireNonNull(dispatch.getFailure()));
            default -> ask();
        }
    }

    private void ask() throws BackendException, InterruptedException, ExecutionException, TimeoutException {
        Deployment deployment = attempts.config()
                .deployment(dispatch.getDeployment())
                .orElseThrow(() -> new BackendException(
                        FailureReason.BACKEND_UNREACHABLE,
                        dispatch.getDeployment() + " is not configured here",
                        502,
                        true));
        CircuitBreaker circuit = attempts.circuit(deployment);
        if (!circuit.tryAcquirePermission()) {
            throw new BackendException(
                    FailureReason.CIRCUIT_OPEN,
                    deployment.name() + " failed too often and is left alone for a while",
                    503,
                    5_000,
                    true);
        }
        long called = System.nanoTime();
        try {
            if (!attempts.slots(deployment).tryAcquire(Math.max(0, remainingMs() - MARGIN_MS), TimeUnit.MILLISECONDS)) {
                circuit.releasePermission();
                throw new BackendException(
                        FailureReason.DEADLINE_EXCEEDED, "no slot became free before the deadline", 504, false);
            }
        } catch (InterruptedException e) {
            circuit.releasePermission();
            throw e;
        }
        try {
            if (!claimed(deployment)) {
                circuit.releasePermission();
                LOG.warn("attempt {} of {} is another worker's", dispatch.getAttempt(), interactionId());
                return;
            }
            ChatModel.Result result = bounded(deployment);
            circuit.onSuccess(System.nanoTime() - called, TimeUnit.NANOSECONDS);
            judge(result);
        } catch (BackendException e) {
            if (e.failure().getRetryable()) {
                circuit.onError(System.nanoTime() - called, TimeUnit.NANOSECONDS, e);
            } else {
                // the request was wrong, not the deployment
                circuit.onSuccess(System.nanoTime() - called, TimeUnit.NANOSECONDS);
            }
            throw e;
        } catch (InterruptedException e) {
            if (abort.get() == Abort.TIMEOUT) {
                circuit.onError(System.nanoTime() - called, TimeUnit.NANOSECONDS, e);
            } else {
                circuit.releasePermission();
            }
            throw e;
        } finally {
            attempts.slots(deployment).release();
        }
    }

    private boolean claimed(Deployment deployment) throws InterruptedException {
        if (!attempts.isPaid(dispatch, deployment)) {
            return true;
        }
        Claim claim = attempts.claims().isPresent()
                ? attempts.claims().get().claim(interactionId(), dispatch.getAttempt(), attempts.worker())
                : Claim.UNKNOWN;
        if (claim == Claim.UNKNOWN) {
            unclaimed = true;
            attempts.countUnclaimed();
        }
        return claim != Claim.TAKEN;
    }

    /** Calls under the deployment's timeout, which bounds the whole answer and not only its head. */
    private ChatModel.Result bounded(Deployment deployment) throws BackendException, InterruptedException {
        ScheduledFuture<?> alarm = attempts.after(deployment.timeout().toMillis(), () -> abort(Abort.TIMEOUT));
        try {
            return call(deployment, Duration.ofMillis(Math.max(1, remainingMs() - MARGIN_MS)));
        } finally {
            alarm.cancel(false);
        }
    }

    private ChatModel.Result call(Deployment deployment, Duration timeout)
            throws BackendException, InterruptedException {
        boolean direct = dispatch.getQuery().getStream() && dispatch.getQualityBar() == null;
        if (!direct) {
            return attempts.model().ask(dispatch, deployment, timeout);
        }
        List<String> held = new ArrayList<>();
        return attempts.model().stream(dispatch, deployment, timeout, (data, hasContent) -> {
            held.add(data);
            if (hasContent || contentSent) {
                announceContent();
                held.forEach(this::delta);
                held.clear();
            }
        });
    }

    /** Before the first content leaves, the log knows that it will: a second attempt is then out of the question. */
    private void announceContent() throws InterruptedException {
        if (contentSent) {
            return;
        }
        firstTokenMs = elapsedMs();
        contentSent = true;
        try {
            attempts.complete(attempts.completion(dispatch, CompletionKind.HEARTBEAT)
                            .setContentSent(true)
                            .build())
                    .get(5, TimeUnit.SECONDS);
        } catch (ExecutionException | TimeoutException e) {
            contentSent = false;
            abort(Abort.LEASE_LOST);
            throw new InterruptedException("the log does not answer");
        }
    }

    private void judge(ChatModel.Result result) throws InterruptedException, ExecutionException, TimeoutException {
        Double bar = dispatch.getQualityBar();
        if (bar == null) {
            answer(result.answer(), result.last(), false, null);
            return;
        }
        AnswerQuality.Verdict verdict = AnswerQuality.judge(dispatch, result.answer());
        if (verdict.score() >= bar) {
            answer(result.answer(), List.of(), true, verdict);
            return;
        }
        record(ended(CompletionKind.WITHHELD, false)
                .setAnswer(result.answer())
                .setQuality(verdict.score())
                .setQualityReasons(verdict.reasons()));
    }

    /**
     * Records the answer, then sends it.
     *
     * @param last chunks that close the stream
     * @param whole nothing of it was streamed yet: a streaming client needs chunks made for it
     */
    private void answer(Answer answer, List<String> last, boolean whole, AnswerQuality.@Nullable Verdict verdict)
            throws InterruptedException, ExecutionException, TimeoutException {
        if (remainingMs() <= 0) {
            abort(Abort.DEADLINE);
            throw new InterruptedException("too late");
        }
        Completion.Builder completion = ended(CompletionKind.ANSWERED, true).setAnswer(answer);
        if (verdict != null) {
            completion.setQuality(verdict.score()).setQualityReasons(verdict.reasons());
        }
        record(completion);
        if (remainingMs() <= 0) {
            return;
        }
        List<String> closing = new ArrayList<>(last);
        if (whole && dispatch.getQuery().getStream()) {
            delta(Builtins.chunk(dispatch, answer, answer.getText(), null));
            closing.add(Builtins.chunk(dispatch, answer, null, answer.getFinishReason()));
        }
        Reply reply = attempts.reply(dispatch, ReplyKind.FINAL, sequence++)
                .setData(String.join("\n", closing))
                .setAnswer(answer)
                .setHits(dispatch.getHits())
                .build();
        attempts.send(dispatch, reply);
    }

    private void reject(Failure failure) throws InterruptedException, ExecutionException, TimeoutException {
        boolean cancelled = failure.getReason().equals(FailureReason.CANCELLED);
        record(ended(cancelled ? CompletionKind.CANCELLED : CompletionKind.FAILED, true)
                .setFailure(failure));
        error(failure);
    }

    private void fail(Failure failure) {
        boolean broken = contentSent;
        try {
            record(ended(CompletionKind.FAILED, broken).setFailure(failure));
            if (broken) {
                error(failure);
            }
        } catch (InterruptedException e) {
            aborted();
        } catch (ExecutionException | TimeoutException e) {
            LOG.error(
                    "the failure of attempt {} of {} could not be recorded: {}",
                    dispatch.getAttempt(),
                    interactionId(),
                    e.toString());
        }
    }

    private void aborted() {
        // the interrupt has done its work; what follows may block again
        Thread.interrupted();
        Abort reason = abort.get();
        try {
            if (reason == Abort.CANCELLED) {
                record(ended(CompletionKind.CANCELLED, true)
                        .setFailure(Failure.newBuilder()
                                .setReason(FailureReason.CANCELLED)
                                .setMessage("the client went away")
                                .setHttpStatus(499)
                                .build()));
            } else if (reason == Abort.TIMEOUT) {
                fail(Failure.newBuilder()
                        .setReason(FailureReason.BACKEND_TIMEOUT)
                        .setMessage(dispatch.getDeployment() + " did not finish in time")
                        .setHttpStatus(504)
                        .setRetryable(true)
                        .build());
            } else if (reason == Abort.DEADLINE) {
                fail(Failure.newBuilder()
                        .setReason(FailureReason.DEADLINE_EXCEEDED)
                        .setMessage("the deadline passed before the answer was there")
                        .setHttpStatus(504)
                        .build());
            } else {
                LOG.warn(
                        "attempt {} of {} is given up: {}",
                        dispatch.getAttempt(),
                        interactionId(),
                        reason == null ? "stopping" : reason);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } catch (ExecutionException | TimeoutException e) {
            LOG.error(
                    "the end of attempt {} of {} could not be recorded: {}",
                    dispatch.getAttempt(),
                    interactionId(),
                    e.toString());
        }
    }

    private void delta(String data) {
        attempts.send(
                dispatch,
                attempts.reply(dispatch, ReplyKind.DELTA, sequence++)
                        .setData(data)
                        .build());
    }

    private void error(Failure failure) {
        attempts.send(
                dispatch,
                attempts.reply(dispatch, ReplyKind.ERROR, sequence++)
                        .setFailure(failure)
                        .build());
    }

    private Completion.Builder ended(String kind, boolean terminal) {
        return attempts.completion(dispatch, kind)
                .setTerminal(terminal)
                .setContentSent(contentSent)
                .setUnclaimed(unclaimed)
                .setFirstTokenMs(firstTokenMs)
                .setTotalMs(elapsedMs());
    }

    /** Puts the end on the log and waits until it is there. */
    private void record(Completion.Builder completion)
            throws InterruptedException, ExecutionException, TimeoutException {
        attempts.complete(completion.build()).get(10, TimeUnit.SECONDS);
    }

    private double elapsedMs() {
        return (System.nanoTime() - startedNanos) / 1e6;
    }

    private long remainingMs() {
        return dispatch.getQuery().getDeadlineAt() - System.currentTimeMillis();
    }
}
