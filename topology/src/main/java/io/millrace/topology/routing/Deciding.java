package io.millrace.topology.routing;

import io.millrace.log.Topics;
import io.millrace.log.Vocabulary.FailureReason;
import io.millrace.log.Vocabulary.Route;
import io.millrace.schema.AttemptSeen;
import io.millrace.schema.Decision;
import io.millrace.schema.DecisionInputs;
import io.millrace.schema.DeploymentSeen;
import io.millrace.schema.Envelope;
import io.millrace.schema.Failure;
import io.millrace.schema.Thresholds;
import java.util.List;
import java.util.Optional;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/**
 * The decision function. Pure: the decision depends on {@link DecisionInputs} and the ids alone, and records them, so it can be
 * recomputed from its own record with identical bytes.
 *
 * <p>The order is: cancelled or expired, cache, evidence only, forced, not allowed to leave, not configured, what the local model
 * cannot do, health, and only then confidence against thresholds. What could be decided without confidence never depends on it.
 */
public final class Deciding {
    /** Changes whenever the same inputs may give another decision. */
    public static final String POLICY_VERSION = "2";

    private static final String LOCAL = "local";
    private static final String REMOTE = "remote";
    private static final long RETRY_AFTER_MS = 5_000;

    private final int maxAttempts;

    /** @param maxAttempts attempts per interaction, at least 1 */
    public Deciding(int maxAttempts) {
        this.maxAttempts = maxAttempts;
    }

    private record Choice(
            String route,
            String backend,
            String deployment,
            String reason,
            @Nullable Failure failure) {
        static Choice builtin(String route, String reason) {
            return new Choice(route, Topics.BUILTIN, "", reason, null);
        }

        static Choice reject(String reason, Failure failure) {
            return new Choice(Route.REJECT, Topics.BUILTIN, "", reason, failure);
        }

        static Choice to(DeploymentSeen deployment, String route, String reason) {
            return new Choice(route, deployment.getBackend(), deployment.getDeployment(), reason, null);
        }
    }

    /** The decision on these inputs. */
    public Decision decide(Envelope envelope, String interactionId, DecisionInputs in) {
        Choice choice = in.getAttempts().isEmpty() ? first(in) : next(in);
        return Decision.newBuilder()
                .setEnvelope(envelope)
                .setInteractionId(interactionId)
                .setAttempt(in.getAttempts().size() + 1)
                .setRoute(choice.route)
                .setBackend(choice.backend)
                .setDeployment(choice.deployment)
                .setReason(choice.reason)
                .setConfidence(in.getConfidence())
                .setConfidenceKind(in.getConfidenceKind())
                .setConfidenceRemote(in.getConfidenceRemote())
                .setThresholds(in.getThresholds())
                .setFeatures(in.getFeatures())
                .setPropensity(1.0)
                .setPolicyVersion(POLICY_VERSION)
                .setModelVersion(in.getModelVersion())
                .setFailure(choice.failure)
                .setInputs(in)
                .build();
    }

    /** The same decision again, from its record. */
    public Decision recompute(Decision decision) {
        return decide(decision.getEnvelope(), decision.getInteractionId(), decision.getInputs());
    }

    private Choice first(DecisionInputs in) {
        Optional<Choice> over = over(in);
        if (over.isPresent()) {
            return over.get();
        }
        if (!in.getCachedKind().isEmpty()) {
            return Choice.builtin(
                    Route.CACHE, in.getCachedKind().equals("semantic") ? Reasons.CACHE_SEMANTIC : Reasons.CACHE_EXACT);
        }
        if (!in.getGenerate()) {
            return Choice.builtin(Route.EVIDENCE, Reasons.EVIDENCE_ONLY);
        }
        if (!in.getBackend().isEmpty()) {
            return forced(in);
        }
        boolean hasLocal = has(in, LOCAL);
        boolean hasRemote = has(in, REMOTE);
        if (in.getLocalOnly()) {
            return hasLocal
                    ? local(in, Reasons.LOCAL_ONLY)
                    : Choice.builtin(Route.EXTRACTIVE, Reasons.LOCAL_ONLY_NO_MODEL);
        }
        if (!hasLocal && !hasRemote) {
            return Choice.builtin(Route.EXTRACTIVE, Reasons.NO_MODEL_CONFIGURED);
        }
        if (!hasRemote) {
            return local(in, Reasons.REMOTE_NOT_CONFIGURED);
        }
        if (!hasLocal) {
            return remote(in, Reasons.LOCAL_NOT_CONFIGURED);
        }
        return between(in);
    }

    /** Both sides are configured, and nothing forces either. */
    private static Choice between(DecisionInputs in) {
        if (in.getStructured() && pick(in, LOCAL, DeploymentSeen::getJson).isEmpty()) {
            return remote(in, Reasons.STRUCTURED_OUTPUT);
        }
        if (in.getTools() && pick(in, LOCAL, DeploymentSeen::getTools).isEmpty()) {
            return remote(in, Reasons.TOOLS);
        }
        boolean remoteHealthy = pick(in, REMOTE, d -> true).isPresent();
        if (pick(in, LOCAL, d -> true).isEmpty()) {
            return remote(in, Reasons.LOCAL_UNHEALTHY);
        }
        if (remoteHealthy && pick(in, LOCAL, d -> !d.getLoading()).isEmpty()) {
            return remote(in, Reasons.LOCAL_LOADING);
        }
        Double confidence = in.getConfidence();
        if (confidence == null) {
            return in.getPreferLocal() || !remoteHealthy
                    ? local(in, Reasons.CONFIDENCE_UNKNOWN)
                    : remote(in, Reasons.CONFIDENCE_UNKNOWN);
        }
        Thresholds thresholds = in.getThresholds();
        if (confidence >= thresholds.getLocal()) {
            return local(in, Reasons.CONFIDENCE_HIGH);
        }
        if (!remoteHealthy) {
            return local(in, Reasons.REMOTE_UNHEALTHY);
        }
        if (confidence >= thresholds.getFallback()) {
            Choice local = local(in, Reasons.CONFIDENCE_MEDIUM);
            return new Choice(Route.LOCAL_WITH_FALLBACK, local.backend, local.deployment, local.reason, null);
        }
        Double remote = in.getConfidenceRemote();
        boolean better = remote != null && remote > confidence + thresholds.getRemoteMargin();
        return better ? remote(in, Reasons.CONFIDENCE_LOW) : local(in, Reasons.REMOTE_NOT_BETTER);
    }

    private static Choice forced(DecisionInputs in) {
        String wanted = in.getBackend();
        if (wanted.equals("extractive")) {
            return Choice.builtin(Route.EXTRACTIVE, Reasons.FORCED_EXTRACTIVE);
        }
        boolean byLocality = wanted.equals(LOCAL) || wanted.equals(REMOTE);
        boolean leaves = wanted.equals(REMOTE)
                || in.getDeployments().stream()
                        .anyMatch(d ->
                                d.getBackend().equals(wanted) && d.getLocality().equals(REMOTE));
        if (leaves && in.getLocalOnly()) {
            return Choice.reject(
                    Reasons.EGRESS_DENIED,
                    failure(
                            FailureReason.EGRESS_DENIED,
                            "this query may not leave the machine (" + in.getLocalOnlyReason() + "), and " + wanted
                                    + " is remote",
                            403));
        }
        if (wanted.equals(LOCAL) && !has(in, LOCAL)) {
            return Choice.builtin(Route.EXTRACTIVE, Reasons.LOCAL_NOT_CONFIGURED);
        }
        if (wanted.equals(REMOTE) && !has(in, REMOTE)) {
            return has(in, LOCAL)
                    ? local(in, Reasons.REMOTE_NOT_CONFIGURED)
                    : Choice.builtin(Route.EXTRACTIVE, Reasons.NO_MODEL_CONFIGURED);
        }
        if (byLocality) {
            return wanted.equals(LOCAL) ? local(in, Reasons.FORCED_LOCAL) : remote(in, Reasons.FORCED_REMOTE);
        }
        return in.getDeployments().stream()
                .filter(d -> d.getBackend().equals(wanted) && d.getHealthy())
                .findFirst()
                .or(() -> in.getDeployments().stream()
                        .filter(d -> d.getBackend().equals(wanted))
                        .findFirst())
                .map(d -> Choice.to(d, leaves ? Route.REMOTE : Route.LOCAL, Reasons.FORCED_BACKEND))
                .orElseGet(() -> Choice.builtin(Route.EXTRACTIVE, Reasons.NO_MODEL_CONFIGURED));
    }

    private Choice next(DecisionInputs in) {
        Optional<Choice> over = over(in);
        if (over.isPresent()) {
            return over.get();
        }
        List<AttemptSeen> attempts = in.getAttempts();
        AttemptSeen last = attempts.get(attempts.size() - 1);
        boolean holdsAnswer =
                attempts.stream().anyMatch(attempt -> attempt.getEnd().equals("withheld"));
        if (last.getContentSent()) {
            return Choice.reject(Reasons.CONTENT_SENT, failureOf(last));
        }
        boolean full = attempts.size() >= maxAttempts;
        if (!full && isLostBuiltin(last)) {
            return again(in);
        }
        if (last.getEnd().equals("withheld")) {
            Optional<DeploymentSeen> remote =
                    full || in.getLocalOnly() ? Optional.empty() : untried(in, REMOTE, d -> true);
            return remote.map(d -> Choice.to(d, Route.REMOTE, Reasons.QUALITY_BELOW_BAR))
                    .orElseGet(() -> Choice.builtin(Route.DELIVER, Reasons.WITHHELD_RELEASED));
        }
        Optional<Choice> retry = full || !last.getRetryable() ? Optional.empty() : retry(in, last, holdsAnswer);
        if (retry.isPresent()) {
            return retry.get();
        }
        if (holdsAnswer) {
            return Choice.builtin(Route.DELIVER, Reasons.WITHHELD_RELEASED);
        }
        return Choice.reject(last.getReason(), failureOf(last));
    }

    /** What was lost needs no model: neither its place nor its side says which model may answer instead. */
    private static boolean isLostBuiltin(AttemptSeen attempt) {
        return attempt.getBackend().equals(Topics.BUILTIN)
                && attempt.getReason().equals(FailureReason.WORKER_LOST);
    }

    /** What followed before a built-in's worker was lost follows again. */
    private Choice again(DecisionInputs in) {
        List<AttemptSeen> others =
                in.getAttempts().stream().filter(a -> !isLostBuiltin(a)).toList();
        return others.isEmpty()
                ? first(in)
                : next(DecisionInputs.newBuilder(in).setAttempts(others).build());
    }

    private static Optional<Choice> retry(DecisionInputs in, AttemptSeen last, boolean holdsAnswer) {
        Optional<DeploymentSeen> sibling = in.getDeployments().stream()
                .filter(d -> d.getBackend().equals(last.getBackend()) && d.getHealthy() && untried(in, d))
                .findFirst();
        if (sibling.isPresent()) {
            String route = sibling.get().getLocality().equals(REMOTE) ? Route.REMOTE : Route.LOCAL;
            return Optional.of(Choice.to(sibling.get(), route, Reasons.NEXT_DEPLOYMENT));
        }
        boolean wasLocal = in.getDeployments().stream()
                .anyMatch(d -> d.getDeployment().equals(last.getDeployment())
                        && d.getLocality().equals(LOCAL));
        // a client that named a side or a backend gets that or an error, never another one's answer
        if (!in.getBackend().isEmpty()) {
            return Optional.empty();
        }
        if (wasLocal) {
            return in.getLocalOnly()
                    ? Optional.empty()
                    : untried(in, REMOTE, d -> true).map(d -> Choice.to(d, Route.REMOTE, Reasons.FALLBACK_REMOTE));
        }
        Predicate<DeploymentSeen> able = d -> (!in.getStructured() || d.getJson()) && (!in.getTools() || d.getTools());
        return holdsAnswer
                ? Optional.empty()
                : untried(in, LOCAL, able).map(d -> Choice.to(d, Route.LOCAL, Reasons.FALLBACK_LOCAL));
    }

    private static Optional<Choice> over(DecisionInputs in) {
        if (in.getCancelled()) {
            return Optional.of(
                    Choice.reject(Reasons.CANCELLED, failure(FailureReason.CANCELLED, "the client went away", 499)));
        }
        if (in.getNow() >= in.getDeadlineAt()) {
            return Optional.of(Choice.reject(
                    Reasons.DEADLINE_EXCEEDED,
                    failure(FailureReason.DEADLINE_EXCEEDED, "the deadline has passed", 504)));
        }
        return Optional.empty();
    }

    private static Choice local(DecisionInputs in, String reason) {
        Predicate<DeploymentSeen> able = d -> (!in.getStructured() || d.getJson()) && (!in.getTools() || d.getTools());
        return pick(in, LOCAL, able.and(d -> !d.getLoading()))
                .or(() -> pick(in, LOCAL, able))
                .or(() -> pick(in, LOCAL, d -> true))
                .map(d -> Choice.to(d, Route.LOCAL, reason))
                .orElseGet(() -> unhealthy(LOCAL));
    }

    private static Choice remote(DecisionInputs in, String reason) {
        Optional<DeploymentSeen> healthy = pick(in, REMOTE, d -> true);
        if (healthy.isPresent()) {
            return Choice.to(healthy.get(), Route.REMOTE, reason);
        }
        // The probe may be wrong about a paid API, and the worker fails fast: trying beats refusing.
        return in.getDeployments().stream()
                .filter(d -> d.getLocality().equals(REMOTE))
                .findFirst()
                .map(d -> Choice.to(d, Route.REMOTE, reason))
                .orElseGet(() -> unhealthy(REMOTE));
    }

    private static Choice unhealthy(String locality) {
        return Choice.reject(
                Reasons.LOCAL_UNHEALTHY,
                Failure.newBuilder()
                        .setReason(FailureReason.LOCAL_UNHEALTHY)
                        .setMessage("no " + locality
                                + " deployment answers its probe, and nothing else may take this query")
                        .setHttpStatus(503)
                        .setRetryAfterMs(RETRY_AFTER_MS)
                        .setRetryable(true)
                        .build());
    }

    private static boolean has(DecisionInputs in, String locality) {
        return in.getDeployments().stream().anyMatch(d -> d.getLocality().equals(locality));
    }

    private static Optional<DeploymentSeen> pick(DecisionInputs in, String locality, Predicate<DeploymentSeen> able) {
        return in.getDeployments().stream()
                .filter(d -> d.getLocality().equals(locality) && d.getHealthy() && able.test(d))
                .findFirst();
    }

    private static Optional<DeploymentSeen> untried(
            DecisionInputs in, String locality, Predicate<DeploymentSeen> able) {
        return in.getDeployments().stream()
                .filter(d -> d.getLocality().equals(locality) && d.getHealthy() && able.test(d) && untried(in, d))
                .findFirst();
    }

    private static boolean untried(DecisionInputs in, DeploymentSeen deployment) {
        return in.getAttempts().stream()
                .noneMatch(attempt -> attempt.getDeployment().equals(deployment.getDeployment()));
    }

    private static Failure failureOf(AttemptSeen attempt) {
        return Failure.newBuilder()
                .setReason(attempt.getReason())
                .setMessage(attempt.getMessage())
                .setHttpStatus(attempt.getHttpStatus() == 0 ? 502 : attempt.getHttpStatus())
                .setRetryAfterMs(attempt.getRetryAfterMs())
                .setRetryable(attempt.getRetryable())
                .build();
    }

    private static Failure failure(String reason, String message, int status) {
        return Failure.newBuilder()
                .setReason(reason)
                .setMessage(message)
                .setHttpStatus(status)
                .build();
    }
}
