package io.millrace.standalone;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import org.junit.jupiter.api.RepeatedTest;

class StopTest {
    @RepeatedTest(200)
    void nothingIsInterruptedAfterTheSignalWasTaken() throws InterruptedException {
        try (Stop stop = new Stop()) {
            Thread worker = Thread.currentThread();
            Thread signal = Thread.ofPlatform().start(() -> stop.ask(worker));
            stop.await();
            boolean joined = signal.join(Duration.ofSeconds(10));
            assertThat(joined).isTrue();
            assertThat(Thread.interrupted()).isFalse();
        }
    }
}
