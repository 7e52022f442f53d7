package io.millrace.topology.routing;

import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.log.Records;
import io.millrace.schema.AttemptSeen;
import io.millrace.schema.Decision;
import io.millrace.schema.DecisionInputs;
import io.millrace.schema.DeploymentSeen;
import io.millrace.schema.Envelope;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Every row of the decision order, and of what follows an attempt. */
class DecidingTest {
    @BeforeAll
    static void trust() {
        Records.trust();
    }

    private static DecisionInputs.Builder both() {
        Records.trust();
        return DecisionInputs.newBuilder()
                .setNow(1_000)
                .setDeadlineAt(60_000)
                .setConfidence(0.9)
                .setConfidenceKind("prior")
                .setConfidenceRemote(0.8)
                .setDeployments(List.of(deployment("local", "l1"), deployment("remote", "r1")));
    }

    private static DeploymentSeen deployment(String locality, String name) {
        return DeploymentSeen.newBuilder()
                .setBackend(locality)
                .setDeployment(name)
                .setLocality(locality)
                .setHealthy(true)
                .build();
    }

    private static DeploymentSeen with(DeploymentSeen deployment, Consumer<DeploymentSeen.Builder> change) {
        DeploymentSeen.Builder builder = DeploymentSeen.newBuilder(deployment);
        change.accept(builder);
        return builder.build();
    }

    private static AttemptSeen attempt(String end, String backend, String deployment, boolean retryable) {
        return AttemptSeen.newBuilder()
                .setAttempt(1)
                .setEnd(end)
                .setBackend(backend)
                .setDeployment(deployment)
                .setReason(end.equals("withheld") ? "" : "backend_error")
                .setHttpStatus(502)
                .setRetryable(retryable)
                .build();
    }

    static Stream<Arguments> rows() {
        DeploymentSeen local = deployment("local", "l1");
        DeploymentSeen remote = deployment("remote", "r1");
        DeploymentSeen sick = with(local, d -> d.setHealthy(false));
        DeploymentSeen loading = with(local, d -> d.setLoading(true));
        DeploymentSeen plain = with(local, d -> d.setJson(false).setTools(false));
        DeploymentSeen remoteSick = with(remote, d -> d.setHealthy(false));
        AttemptSeen failed = attempt("failed", "local", "l1", true);
        AttemptSeen withheld = attempt("withheld", "local", "l1", false);
        return Stream.of(
                row("reject", "cancelled", "", both().setCancelled(true).setCachedKind("exact")),
                row("reject", "deadline_exceeded", "", both().setNow(60_000)),
                row("cache", "cache_exact", "", both().setCachedKind("exact").setGenerate(false)),
                row("cache", "cache_semantic", "", both().setCachedKind("semantic")),
                row("evidence", "evidence_only", "", both().setGenerate(false).setBackend("remote")),
                row("local", "forced_local", "l1", both().setBackend("local").setConfidence(0.1)),
                row("remote", "forced_remote", "r1", both().setBackend("remote")),
                row("extractive", "forced_extractive", "", both().setBackend("extractive")),
                row("reject", "egress_denied", "", both().setBackend("remote").setLocalOnly(true)),
                row(
                        "local",
                        "remote_not_configured",
                        "l1",
                        both().setBackend("remote").setDeployments(List.of(local))),
                row(
                        "extractive",
                        "local_not_configured",
                        "",
                        both().setBackend("local").setDeployments(List.of(remote))),
                row("local", "local_only", "l1", both().setLocalOnly(true).setConfidence(0.1)),
                row(
                        "extractive",
                        "local_only_no_model",
                        "",
                        both().setLocalOnly(true).setDeployments(List.of(remote))),
                row("reject", "local_unhealthy", "", both().setLocalOnly(true).setDeployments(List.of(sick, remote))),
                row("extractive", "no_model_configured", "", both().setDeployments(List.of())),
                row(
                        "local",
                        "remote_not_configured",
                        "l1",
                        both().setDeployments(List.of(loading)).setConfidence(0.1)),
                row("reject", "local_unhealthy", "", both().setDeployments(List.of(sick))),
                row("remote", "local_not_configured", "r1", both().setDeployments(List.of(remote))),
                row(
                        "remote",
                        "structured_output",
                        "r1",
                        both().setStructured(true).setDeployments(List.of(plain, remote))),
                row("remote", "tools", "r1", both().setTools(true).setDeployments(List.of(plain, remote))),
                row("remote", "local_unhealthy", "r1", both().setDeployments(List.of(sick, remote))),
                row("remote", "local_loading", "r1", both().setDeployments(List.of(loading, remote))),
                row(
                        "local",
                        "remote_unhealthy",
                        "l1",
                        both().setConfidence(0.2).setDeployments(List.of(local, remoteSick))),
                row("local", "confidence_unknown", "l1", both().setConfidence(null)),
                row(
                        "remote",
                        "confidence_unknown",
                        "r1",
                        both().setConfidence(null).setPreferLocal(false)),
                row("local", "confidence_high", "l1", both().setConfidence(0.85)),
                row("local_with_fallback", "confidence_medium", "l1", both().setConfidence(0.849)),
                row("local_with_fallback", "confidence_medium", "l1", both().setConfidence(0.70)),
                row("remote", "confidence_low", "r1", both().setConfidence(0.699)),
                row(
                        "local",
                        "remote_not_better",
                        "l1",
                        both().setConfidence(0.5).setConfidenceRemote(0.5)),
                row("remote", "quality_below_bar", "r1", both().setAttempts(List.of(withheld))),
                row(
                        "deliver",
                        "withheld_released",
                        "",
                        both().setAttempts(List.of(withheld)).setDeployments(List.of(local, remoteSick))),
                row(
                        "deliver",
                        "withheld_released",
                        "",
                        both().setAttempts(List.of(withheld, attempt("failed", "remote", "r1", true)))),
                row(
                        "local",
                        "next_deployment",
                        "l2",
                        both().setAttempts(List.of(failed))
                                .setDeployments(List.of(local, deployment("local", "l2"), remote))),
                row("remote", "fallback_remote", "r1", both().setAttempts(List.of(failed))),
                row(
                        "remote",
                        "fallback_remote",
                        "r1",
                        both().setAttempts(List.of(attempt("worker_lost", "local", "l1", true)))),
                row(
                        "local",
                        "fallback_local",
                        "l1",
                        both().setAttempts(List.of(attempt("failed", "remote", "r1", true)))),
                row(
                        "reject",
                        "backend_error",
                        "",
                        both().setAttempts(List.of(attempt("failed", "local", "l1", false)))),
                row(
                        "reject",
                        "backend_error",
                        "",
                        both().setAttempts(List.of(failed)).setLocalOnly(true)),
                row(
                        "reject",
                        "backend_error",
                        "",
                        both().setAttempts(List.of(failed)).setBackend("local")),
                row("reject", "backend_error", "", both().setAttempts(List.of(failed, failed, failed, failed))),
                row("evidence", "evidence_only", "", both().setGenerate(false).setAttempts(List.of(lost("evidence")))),
                row(
                        "cache",
                        "cache_exact",
                        "",
                        both().setCachedKind("exact")
                                .setDeployments(List.of(remote))
                                .setAttempts(List.of(lost("cache")))),
                row(
                        "extractive",
                        "no_model_configured",
                        "",
                        both().setDeployments(List.of()).setAttempts(List.of(lost("extractive")))),
                row(
                        "reject",
                        "egress_denied",
                        "",
                        both().setBackend("remote").setLocalOnly(true).setAttempts(List.of(lost("reject")))),
                row(
                        "deliver",
                        "withheld_released",
                        "",
                        both().setAttempts(List.of(withheld, lost("deliver")))
                                .setDeployments(List.of(local, remoteSick))),
                row(
                        "reject",
                        "worker_lost",
                        "",
                        both().setGenerate(false)
                                .setAttempts(List.of(
                                        lost("evidence"), lost("evidence"), lost("evidence"), lost("evidence")))),
                row("reject", "content_sent", "", both().setAttempts(List.of(sent(failed)))),
                row(
                        "reject",
                        "cancelled",
                        "",
                        both().setAttempts(List.of(failed)).setCancelled(true)));
    }

    /** A built-in whose worker was killed. */
    private static AttemptSeen lost(String route) {
        return AttemptSeen.newBuilder(attempt("worker_lost", "builtin", "", true))
                .setRoute(route)
                .setReason("worker_lost")
                .build();
    }

    private static AttemptSeen sent(AttemptSeen attempt) {
        return AttemptSeen.newBuilder(attempt).setContentSent(true).build();
    }

    private static Arguments row(String route, String reason, String deployment, DecisionInputs.Builder inputs) {
        return Arguments.of(route, reason, deployment, inputs.build());
    }

    @ParameterizedTest(name = "{0} {1}")
    @MethodSource("rows")
    void shouldDecideByTheOrder(String route, String reason, String deployment, DecisionInputs inputs) {
        Deciding deciding = new Deciding(4);
        Envelope envelope = Envelope.newBuilder().setOccurredAt(1_000).build();

        Decision decision = deciding.decide(envelope, "id", inputs);

        assertThat(List.of(decision.getRoute(), decision.getReason(), decision.getDeployment()))
                .isEqualTo(new ArrayList<>(List.of(route, reason, deployment)));
        assertThat(decision.getFailure() != null).isEqualTo(route.equals("reject"));
        assertThat(decision.getAttempt()).isEqualTo(inputs.getAttempts().size() + 1);
        assertThat(deciding.recompute(decision)).isEqualTo(decision);
    }
}
