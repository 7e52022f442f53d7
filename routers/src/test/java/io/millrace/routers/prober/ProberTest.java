package io.millrace.routers.prober;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import io.millrace.config.MillraceConfig;
import io.millrace.config.MillraceConfig.Kind;
import io.millrace.config.MillraceConfig.Locality;
import io.millrace.log.Log;
import io.millrace.log.LogTail;
import io.millrace.log.Topics;
import io.millrace.routers.testing.Samples;
import io.millrace.routers.testing.StubModel;
import io.millrace.routers.testing.StubModel.Mode;
import io.millrace.routers.testing.TestBroker;
import io.millrace.schema.BackendStatus;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.Predicate;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ProberTest {
    private final Log log = TestBroker.log();
    private final StubModel stub = new StubModel();
    private final List<BackendStatus> published = new CopyOnWriteArrayList<>();
    private final LogTail<BackendStatus> tail = new LogTail<>(
                    "test", Topics.BACKEND_STATUS, LogTail.From.BEGINNING, log, record -> {
                        assertThat(record.key()).isEqualTo(record.required().getDeployment());
                        published.add(record.required());
                    })
            .start();

    @AfterEach
    void stop() {
        tail.close();
        log.producer().close();
        stub.close();
    }

    private BackendStatus awaitLast(Predicate<BackendStatus> wanted) {
        await().atMost(Duration.ofSeconds(60)).until(() -> !published.isEmpty() && wanted.test(published.getLast()));
        return published.getLast();
    }

    /** A machine that stands still for two seconds makes a probe late. */
    private static boolean isAnswered(BackendStatus status) {
        return !status.getError().startsWith("not reachable");
    }

    private MillraceConfig openai() {
        return Samples.config(Samples.backend(
                "remote",
                Locality.REMOTE,
                Kind.OPENAI,
                Samples.deployment("two", stub.url(), 1, 3, Duration.ofSeconds(1))));
    }

    @Test
    void shouldFollowAServerThroughLoadingHealthAndDeath() {
        stub.mode(Mode.LOADING);
        try (Prober prober = new Prober(log, Samples.local(stub.url()))) {
            prober.start();

            BackendStatus loading = awaitLast(BackendStatus::getLoading);
            assertThat(loading.getHealthy()).isFalse();
            assertThat(loading.getProgress()).isEqualTo(0.25);
            assertThat(prober.details()).containsEntry("one", "loading");

            stub.mode(Mode.OK);
            BackendStatus healthy = awaitLast(BackendStatus::getHealthy);
            assertThat(healthy.getLoading()).isFalse();
            assertThat(healthy.getBackend()).isEqualTo("local");
            assertThat(healthy.getLocality()).isEqualTo("local");
            assertThat(healthy.getModel()).isEqualTo("stub.gguf");
            assertThat(healthy.getContextLength()).isEqualTo(4096);
            assertThat(healthy.getSlots()).isEqualTo(2);
            assertThat(healthy.getQueueDepth()).isEqualTo(1);
            assertThat(healthy.getChangedAt()).isGreaterThanOrEqualTo(loading.getChangedAt());
            assertThat(prober.details()).isEmpty();
            assertThat(prober.isReady()).isTrue();

            stub.close();
            assertThat(awaitLast(status -> !status.getHealthy()).getError()).startsWith("not reachable");
        }
    }

    @Test
    void shouldPublishChangesOnly() {
        try (Prober prober = new Prober(log, Samples.local(stub.url()))) {
            prober.start();
            awaitLast(BackendStatus::getHealthy);

            int asked = stub.keys().size();
            await().until(() -> stub.keys().size() > asked + 8);
            assertThat(published.stream().filter(ProberTest::isAnswered)).hasSize(1);
        }
    }

    @Test
    void shouldNotCallADeploymentDeadWhenTheProberStops() throws InterruptedException {
        for (int i = 0; i < 5; i++) {
            Prober prober = new Prober(log, Samples.local(stub.url()));
            prober.start();
            await().until(prober::isReady);
            prober.close();
        }
        await().until(() -> published.size() >= 5);
        Thread.sleep(300);

        assertThat(published).allMatch(BackendStatus::getHealthy);
    }

    @ParameterizedTest
    @CsvSource({
        "200, true,  ''",
        "404, true,  ''",
        "401, false, the key is refused (HTTP 401)",
        "500, false, /v1/models answered HTTP 500",
        "302, true,  ''",
    })
    void shouldJudgeAnApiByItsListOfModels(int code, boolean healthy, String error) {
        stub.modelsStatus(code);
        try (Prober prober = new Prober(log, openai())) {
            prober.start();

            BackendStatus status = awaitLast(ProberTest::isAnswered);

            assertThat(status.getHealthy()).isEqualTo(healthy);
            assertThat(status.getError()).isEqualTo(error);
            assertThat(status.getLocality()).isEqualTo("remote");
            assertThat(stub.keys()).containsOnly("Bearer k-1");
        }
    }

    @Test
    void shouldAskARemoteAtEveryTenthProbeOnly() throws InterruptedException {
        try (Prober prober = new Prober(log, openai())) {
            long began = System.nanoTime();
            prober.start();
            awaitLast(BackendStatus::getHealthy);
            Thread.sleep(1_500);

            assertThat(stub.keys().size())
                    .isBetween(
                            2,
                            2
                                    + (int) Duration.ofNanos(System.nanoTime() - began)
                                            .toSeconds());
        }
    }
}
