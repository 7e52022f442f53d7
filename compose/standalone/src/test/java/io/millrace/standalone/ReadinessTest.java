package io.millrace.standalone;

import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.service.Service;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.Test;

/** What a start waits for. */
class ReadinessTest {
    private static final Duration WITHIN = Duration.ofMillis(300);

    private final long began = System.nanoTime();
    private final List<String> said = new ArrayList<>();

    /** A service that is ready at some time, and may say that it comes on. */
    private record Slow(String name, long began, BooleanSupplier ready, boolean tells) implements Service {
        @Override
        public void start() {}

        @Override
        public boolean isReady() {
            return ready.getAsBoolean();
        }

        @Override
        public long progress() {
            return tells ? TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - began) : 0;
        }

        @Override
        public Map<String, String> details() {
            return Map.of("why", "busy");
        }

        @Override
        public void close() {}
    }

    /** A lost index that takes a while to be made of the log must not make every start fail. */
    @Test
    void shouldWaitAsLongAsOneComesOn() {
        Slow index = new Slow("index", began, () -> !said.isEmpty(), true);

        assertThat(new Readiness(said::add).await(List.of(index), WITHIN)).isEmpty();

        assertThat(index.isReady()).isTrue();
        assertThat(said).singleElement().asString().matches("index reads the log: \\d{4,} records so far");
    }

    @Test
    void shouldGiveUpOnOneThatStandsStill() {
        Slow stuck = new Slow("stuck", began, () -> false, false);
        Slow quick = new Slow("quick", began, () -> true, false);

        List<Service> late = new Readiness(said::add).await(List.of(stuck, quick), WITHIN);

        assertThat(late).containsExactly(stuck);
        assertThat(Readiness.told(late)).isEqualTo("stuck {why=busy}");
        assertThat(System.nanoTime() - began).isLessThan(TimeUnit.SECONDS.toNanos(20));
    }
}
