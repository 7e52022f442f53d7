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
import io.millrace.schema.Query;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * One attempt, on a virtual thread, from the lease to its end.
 *
 * <p>What law 4 stands on: the client's gateway tells an answer when it has read the end of its attempt from the log, and not after the
 * deadline. So a client that holds a final holds an answer that the log has too. A whole answer without evidence leaves in that record alone;
 * others leave beside it, as replies.
 *
 * <p>Timers and commands break an attempt off by {@link #abort}; the first reason counts, and none counts once the end is on its way to
 * the log. An attempt therefore writes at most one end.
 */
final class Execution {
    private static final Logger LOG = LoggerFactory.getLogger(Execution.class);

    /** Without an acknowledged heartbeat for this long the lease counts as lost: routing waits 5 s, so this worker gives up first. */
    static final Duration LEASE = Duration.ofMillis(3_500);

    /** Kept back from the deadline, for the end to reach the log. */
    private static final long MARGIN_MS = 50;

    /** How often a server that loads its model is asked again. */
    private static final Duration LOADING_PAUSE = Duration.ofMillis(250);

    private static final long BUSY_RETRY_AFTER_MS = 5_000;

    /** Why an attempt is broken off. */
    enum Abort {
        CANCELLED,
        LEASE_LOST,
        DEADLINE,
        TIMEOUT,
        STOPPING,
        /** It is not: its end is being written, and it is too late for any of the others. */
        NOT_ANY_MORE
    }

    private final Attempts attempts;
    private final Dispatch dispatch;
    private final boolean overloaded;
    private final Lease lease;
    private final long startedNanos = System.nanoTime();
    private final double queuedMs;
    private volatile long leaseNanos = startedNanos;
    private volatile boolean contentSent;
    private volatile boolean heartbeatPending;
    private @Nullable Abort abort;
    private @Nullable Thread thread;
    private int sequence;
    private @Nullable Double firstTokenMs;
    private boolean unclaimed;
    private boolean recorded;
    private Optional<Future<String>> begun = Optional.empty();

    /**
     * @param overloaded there is no room for it: it ends at once
     * @param lease the attempt is given up when it cannot be written
     */
    Execution(Attempts attempts, Dispatch dispatch, boolean overloaded, Lease lease) {
        this.attempts = attempts;
        this.lease = lease;
        this.dispatch = dispatch;
        this.overloaded = overloaded;
        this.queuedMs =
                Math.max(0, System.currentTimeMillis() - dispatch.getEnvelope().getOccurredAt());
    }

    String interactionId() {
        return dispatch.getInteractionId();
    }

    /** Breaks the attempt off. The first reason counts. */
    synchronized void abort(Abort reason) {
        if (abort == null) {
            abort = reason;
            if (thread != null) {
                thread.interrupt();
            }
        }
    }

    /** Whether the end may be written; from here on nothing breaks the attempt off. */
    private synchronized boolean ending() {
        checkLease();
        if (abort == null) {
            abort = Abort.NOT_ANY_MORE;
        }
        return abort == Abort.NOT_ANY_MORE;
    }

    private synchronized @Nullable Abort aborted() {
        return abort;
    }

    private synchronized boolean begin() {
        thread = Thread.currentThread();
        return abort == null;
    }

    /** Gives the lease up when the log has been silent for too long. */
    void checkLease() {
        if (System.nanoTime() - leaseNanos > LEASE.toNanos()) {
            abort(Abort.LEASE_LOST);
        }
    }

    /**
     * Renews the lease, unless the last renewal is still on its way. One that is lost is not renewed: a process that was stopped for a
     * while would come to itself with this and the check both due, and the attempt go on beside the one that routing began since.
     */
    void heartbeat() {
        checkLease();
        // one that is not on the log yet cannot be renewed: started comes first
        if (heartbeatPending || !lease.isTaken() || aborted() == Abort.LEASE_LOST) {
            return;
        }
        heartbeatPending = true;
        long now = System.nanoTime();
        attempts.complete(completion(CompletionKind.HEARTBEAT)
                        .setContentSent(contentSent)
                        .build())
                .whenComplete((done, error) -> {
                    heartbeatPending = false;
                    if (error == null) {
                        leaseNanos = Math.max(leaseNanos, now);
                    }
                });
    }

    /** Begins what an attempt waits for at first; called before {@link #run}, and does not wait itself. */
    void prepare() {
        if (!overloaded && attempts.claims().isPresent()) {
            begun = attempts.deployment(dispatch)
                    .filter(deployment -> attempts.isPaid(dispatch, deployment))
                    .flatMap(deployment ->
                            attempts.claims().get().begin(interactionId(), dispatch.getAttempt(), attempts.worker()));
        }
    }

    void run() {
        Optional<ScheduledFuture<?>> deadline = Optional.empty();
        try {
            // a refusal is told even after the deadline: it is what ends a query that came too late
            if (!dispatch.getRoute().equals(Route.REJECT)) {
                deadline = Optional.of(attempts.after(remainingMs() - MARGIN_MS, () -> abort(Abort.DEADLINE)));
            }
            if (!begin()) {
                throw new InterruptedException("aborted before it began");
            }
            if (overloaded) {
                throw new BackendException(
                        FailureReason.OVERLOADED,
                        dispatch.getBackend() + " is busy and its queue is full",
                        503,
                        BUSY_RETRY_AFTER_MS,
                        true);
            }
            work();
        } catch (BackendException e) {
            fail(e.failure());
        } catch (InterruptedException e) {
            brokenOff();
        } catch (ExecutionException e) {
            // the log did not acknowledge: nothing was told to the client, and the lease ends this attempt
            LOG.error(
                    "attempt {} of {} could not be recorded: {}", dispatch.getAttempt(), interactionId(), e.toString());
        } catch (RuntimeException e) {
            LOG.error("attempt {} of {} failed unexpectedly", dispatch.getAttempt(), interactionId(), e);
            fail(failure(
                    FailureReason.BACKEND_ERROR,
                    "the worker failed: " + e.getClass().getSimpleName(),
                    502,
                    true));
        } finally {
            deadline.ifPresent(timer -> timer.cancel(false));
        }
    }

    private void work() throws BackendException, InterruptedException, ExecutionException {
        switch (dispatch.getRoute()) {
            case Route.EXTRACTIVE -> give(Builtins.extractive(dispatch));
            case Route.EVIDENCE -> give(Builtins.evidence(dispatch));
            case Route.CACHE, Route.DELIVER ->
                give(Objects.requireNonNull(dispatch.getAnswer(), "a route that sends an answer has one"));
            case Route.REJECT ->
                reject(Objects.requireNonNull(dispatch.getFailure(), "a rejection says what the client is told"));
            default -> ask();
        }
    }

    private void ask() throws BackendException, InterruptedException, ExecutionException {
        Deployment deployment = attempts.deployment(dispatch)
                .orElseThrow(() -> new BackendException(
                        FailureReason.BACKEND_UNREACHABLE,
                        dispatch.getDeployment() + " is not configured here",
                        502,
                        true));
        // the deadline breaks this wait off
        attempts.slots(deployment).acquire();
        Asked asked;
        try {
            if (!claimed(deployment)) {
                // Whoever holds the claim is alive, and ends the attempt, or is not, and then silence ends it: to
                // publish a failure here would make routing start a second paid call beside a live one.
                LOG.warn("attempt {} of {} is another worker's", dispatch.getAttempt(), interactionId());
                return;
            }
            asked = guarded(deployment);
        } finally {
            attempts.slots(deployment).release();
        }
        judge(asked);
    }

    /**
     * Waits until the log has the lease: before a call that could be paid twice, and before anything leaves for the client. What is cheap
     * to do again does not wait: the acknowledgement takes as long as a hop.
     */
    private void leased() throws InterruptedException {
        try {
            lease.take().get(LEASE.toMillis(), TimeUnit.MILLISECONDS);
        } catch (ExecutionException | TimeoutException e) {
            // the record goes back to the share group, and another worker begins anew
            abort(Abort.LEASE_LOST);
            throw new InterruptedException("the lease could not be written");
        }
    }

    private boolean claimed(Deployment deployment) throws InterruptedException {
        if (!attempts.isPaid(dispatch, deployment)) {
            return true;
        }
        Claim claim = attempts.claims().isPresent()
                ? attempts.claims().get().claim(interactionId(), dispatch.getAttempt(), attempts.worker(), begun)
                : Claim.UNKNOWN;
        if (claim == Claim.UNKNOWN) {
            unclaimed = true;
            attempts.countUnclaimed();
            leased();
        }
        return claim != Claim.TAKEN;
    }

    /**
     * What a model said.
     *
     * @param chunks those of its stream that did not leave yet; empty when it was asked for a whole answer
     */
    private record Asked(Answer answer, List<String> chunks) {}

    /** Calls through the deployment's circuit; a server that loads its model is waited for, which the deadline bounds. */
    private Asked guarded(Deployment deployment) throws BackendException, InterruptedException {
        CircuitBreaker circuit = attempts.circuit(deployment);
        while (true) {
            if (!circuit.tryAcquirePermission()) {
                throw new BackendException(
                        FailureReason.CIRCUIT_OPEN,
                        deployment.name() + " failed too often and is left alone for a while",
                        503,
                        attempts.untilTrialMs(deployment),
                        true);
            }
            long called = System.nanoTime();
            try {
                Asked asked = bounded(deployment);
                circuit.onSuccess(System.nanoTime() - called, TimeUnit.NANOSECONDS);
                return asked;
            } catch (BackendException e) {
                if (remainingMs() <= 0) {
                    // the call's timeout is the deadline: when it is quicker than the alarm, that says nothing of the
                    // deployment
                    circuit.releasePermission();
                    abort(Abort.DEADLINE);
                    throw new InterruptedException("the deadline passed");
                }
                // a wrong request says nothing of the deployment; one that is busy or loading is not broken
                boolean broken =
                        e.failure().getRetryable() && !e.failure().getReason().equals(FailureReason.OVERLOADED);
                if (broken) {
                    circuit.onError(System.nanoTime() - called, TimeUnit.NANOSECONDS, e);
                } else {
                    circuit.releasePermission();
                }
                if (!e.isLoading()) {
                    throw e;
                }
            } catch (InterruptedException e) {
                if (aborted() == Abort.TIMEOUT) {
                    circuit.onError(System.nanoTime() - called, TimeUnit.NANOSECONDS, e);
                } else {
                    circuit.releasePermission();
                }
                throw e;
            } catch (RuntimeException | Error e) {
                // an error of ours: a permission that is kept would leave a half-open circuit without one for ever
                circuit.releasePermission();
                throw e;
            }
            Thread.sleep(LOADING_PAUSE);
        }
    }

    /** Calls under the deployment's timeout, which bounds the whole answer and not only its head. */
    private Asked bounded(Deployment deployment) throws BackendException, InterruptedException {
        ScheduledFuture<?> alarm = attempts.after(deployment.timeout().toMillis(), () -> abort(Abort.TIMEOUT));
        try {
            Duration timeout = Duration.ofMillis(Math.max(1, remainingMs()));
            if (!dispatch.getQuery().getStream()) {
                return new Asked(attempts.model().ask(dispatch, deployment, timeout), List.of());
            }
            List<String> held = new ArrayList<>();
            boolean judged = dispatch.getQualityBar() != null;
            ChatModel.Streamed streamed = attempts.model().stream(dispatch, deployment, timeout, (data, hasContent) -> {
                held.add(data);
                if (hasContent && firstTokenMs == null) {
                    firstTokenMs = elapsedMs();
                }
                if (!judged && (hasContent || contentSent)) {
                    announceContent();
                    held.forEach(this::delta);
                    held.clear();
                }
            });
            held.addAll(streamed.last());
            return new Asked(streamed.answer(), held);
        } finally {
            alarm.cancel(false);
        }
    }

    /** Before the first content leaves, the log knows that it will: a second attempt is then out of the question. */
    private void announceContent() throws InterruptedException {
        if (contentSent) {
            return;
        }
        leased();
        requireLease();
        contentSent = true;
        try {
            attempts.complete(completion(CompletionKind.HEARTBEAT)
                            .setContentSent(true)
                            .build())
                    .get(LEASE.toMillis(), TimeUnit.MILLISECONDS);
        } catch (ExecutionException | TimeoutException e) {
            contentSent = false;
            abort(Abort.LEASE_LOST);
            throw new InterruptedException("the log does not answer");
        }
        requireLease();
    }

    /** A process that was stopped for a while may go on here before any timer goes off, and routing have begun another attempt. */
    private void requireLease() throws InterruptedException {
        checkLease();
        if (aborted() == Abort.LEASE_LOST) {
            throw new InterruptedException("the lease is lost");
        }
    }

    private void judge(Asked asked) throws InterruptedException, ExecutionException {
        Double bar = dispatch.getQualityBar();
        if (bar == null) {
            answer(asked.answer, asked.chunks, null);
            return;
        }
        AnswerQuality.Verdict verdict = AnswerQuality.judge(dispatch, asked.answer);
        if (verdict.score() >= bar) {
            answer(asked.answer, asked.chunks, verdict);
            return;
        }
        end(ended(CompletionKind.WITHHELD, false)
                .setAnswer(asked.answer)
                .setQuality(verdict.score())
                .setQualityReasons(verdict.reasons()));
    }

    /** Answers without a model: chunks of a stream are made here. */
    private void give(Answer answer) throws InterruptedException, ExecutionException {
        answer(answer, dispatch.getQuery().getStream() ? Builtins.chunks(dispatch, answer) : List.of(), null);
    }

    /**
     * Records the answer and sends it. The gateway holds the final back until it has read the record, and drops it after the deadline, so
     * neither waits for the other.
     *
     * @param chunks what a streaming client has yet to get
     */
    private void answer(Answer answer, List<String> chunks, AnswerQuality.@Nullable Verdict verdict)
            throws InterruptedException, ExecutionException {
        if (remainingMs() <= 0) {
            abort(Abort.DEADLINE);
        }
        Completion.Builder completion = ended(CompletionKind.ANSWERED, true).setAnswer(answer);
        if (verdict != null) {
            completion.setQuality(verdict.score()).setQualityReasons(verdict.reasons());
        }
        if (isToldByEnd()) {
            completion.setReply(attempts.decided(dispatch).build());
            end(completion);
            cache(answer);
            return;
        }
        int last = Math.max(0, chunks.size() - 1);
        // before the end leaves, so that both do together
        Outbox.Ready reply = attempts.ready(
                dispatch,
                attempts.reply(dispatch, ReplyKind.FINAL, sequence + last)
                        .setData(String.join("\n", chunks.subList(last, chunks.size())))
                        .setAnswer(answer)
                        .setHits(dispatch.getHits())
                        .build());
        CompletableFuture<?> end = ending(completion);
        if (last > 0) {
            // the gateway holds back finals only
            end.get();
            if (remainingMs() <= 0) {
                // the log has the answer and the client an error: the other way round must not be
                return;
            }
        }
        chunks.subList(0, last).forEach(this::delta);
        reply.send();
        end.get();
        cache(answer);
    }

    /** What the end has none of, pieces and passages, needs replies of its own; and so does a gateway of before. */
    private boolean isToldByEnd() {
        Query query = dispatch.getQuery();
        return query.getToldByEnd() && !query.getStream() && dispatch.getHits().isEmpty();
    }

    private void cache(Answer answer) {
        boolean asked = !dispatch.getDeployment().isEmpty();
        if (!asked
                || !dispatch.getQuery().getCache()
                || !answer.getFinishReason().equals("stop")) {
            return;
        }
        double bar = attempts.config().routing().qualityBar();
        if (AnswerQuality.judge(dispatch, answer).score() < bar) {
            return;
        }
        try {
            attempts.sink().put(dispatch, answer);
        } catch (RuntimeException e) {
            LOG.warn("the answer to {} could not be cached: {}", interactionId(), e.toString());
        }
    }

    private void reject(Failure failure) throws InterruptedException, ExecutionException {
        boolean cancelled = failure.getReason().equals(FailureReason.CANCELLED);
        end(ended(cancelled ? CompletionKind.CANCELLED : CompletionKind.FAILED, true)
                .setFailure(failure));
        error(failure);
    }

    private void fail(Failure failure) {
        if (recorded) {
            return;
        }
        if (!ending()) {
            brokenOff();
            return;
        }
        try {
            recordFailure(failure);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } catch (ExecutionException e) {
            unrecorded(e);
        }
    }

    private void brokenOff() {
        Abort reason = aborted();
        // the interrupt has done its work; what follows waits for the log
        Thread.interrupted();
        try {
            switch (reason) {
                case CANCELLED ->
                    record(ended(CompletionKind.CANCELLED, true)
                            .setFailure(failure(FailureReason.CANCELLED, "the client went away", 499, false)));
                case TIMEOUT ->
                    recordFailure(failure(
                            FailureReason.BACKEND_TIMEOUT,
                            dispatch.getDeployment() + " did not finish in time",
                            504,
                            true));
                case DEADLINE ->
                    recordFailure(failure(
                            FailureReason.DEADLINE_EXCEEDED,
                            "the deadline passed before the answer was there",
                            504,
                            false));
                case STOPPING -> recordFailure(failure(FailureReason.WORKER_LOST, "the worker was stopped", 502, true));
                case LEASE_LOST ->
                    LOG.warn(
                            "attempt {} of {} is given up: the log did not answer for {} ms",
                            dispatch.getAttempt(),
                            interactionId(),
                            LEASE.toMillis());
                case null, default ->
                    LOG.warn("attempt {} of {} was interrupted", dispatch.getAttempt(), interactionId());
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } catch (ExecutionException e) {
            unrecorded(e);
        }
    }

    private void unrecorded(Exception e) {
        LOG.error(
                "the end of attempt {} of {} could not be recorded: {}",
                dispatch.getAttempt(),
                interactionId(),
                e.toString());
    }

    /** A failure ends the interaction when the client has seen a part of an answer; else routing decides what follows. */
    private void recordFailure(Failure failure) throws InterruptedException, ExecutionException {
        boolean broken = contentSent;
        record(ended(CompletionKind.FAILED, broken).setFailure(failure));
        if (broken) {
            error(failure);
        }
    }

    private static Failure failure(String reason, String message, int status, boolean retryable) {
        return Failure.newBuilder()
                .setReason(reason)
                .setMessage(message)
                .setHttpStatus(status)
                .setRetryable(retryable)
                .build();
    }

    private void delta(String data) {
        attempts.send(
                        dispatch,
                        attempts.reply(dispatch, ReplyKind.DELTA, sequence++)
                                .setData(data)
                                .build())
                .whenComplete((done, error) -> {
                    if (error != null) {
                        // a stream with a hole is worse than one that breaks
                        abort(Abort.LEASE_LOST);
                    }
                });
    }

    private void error(Failure failure) {
        attempts.send(
                dispatch,
                attempts.reply(dispatch, ReplyKind.ERROR, sequence++)
                        .setFailure(failure)
                        .build());
    }

    private Completion.Builder completion(String kind) {
        return attempts.completion(dispatch, kind).setQueuedMs(queuedMs);
    }

    private Completion.Builder ended(String kind, boolean terminal) {
        // before its time is told: what is between them must not count as work
        double totalMs = elapsedMs();
        return completion(kind)
                .setTerminal(terminal)
                .setContentSent(contentSent)
                .setUnclaimed(unclaimed)
                .setFirstTokenMs(firstTokenMs)
                .setTotalMs(totalMs);
    }

    /** {@link #record}, unless something broke the attempt off before. */
    private void end(Completion.Builder completion) throws InterruptedException, ExecutionException {
        ending(completion).get();
    }

    /** {@link #end} that does not wait for the log. */
    private CompletableFuture<?> ending(Completion.Builder completion) throws InterruptedException, ExecutionException {
        if (!ending()) {
            throw new InterruptedException("aborted before its end");
        }
        return recording(completion);
    }

    /** Puts the end on the log and waits until it is there or the producer gives up, after 15 s. */
    private void record(Completion.Builder completion) throws InterruptedException, ExecutionException {
        recording(completion).get();
    }

    private CompletableFuture<?> recording(Completion.Builder completion)
            throws InterruptedException, ExecutionException {
        recorded = true;
        return lease.end(() -> attempts.complete(completion.build()));
    }

    private double elapsedMs() {
        return (System.nanoTime() - startedNanos) / 1e6;
    }

    private long remainingMs() {
        return dispatch.getQuery().getDeadlineAt() - System.currentTimeMillis();
    }
}
