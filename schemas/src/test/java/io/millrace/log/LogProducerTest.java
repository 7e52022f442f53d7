package io.millrace.log;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import io.millrace.log.SchemaRegistry.RegistryUnavailableException;
import io.millrace.schema.Envelope;
import io.millrace.schema.Tick;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.stream.Stream;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.errors.NotEnoughReplicasException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.SerializationException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.errors.TopicAuthorizationException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class LogProducerTest {
    static Stream<Throwable> outages() {
        return Stream.of(
                new TimeoutException("expired"),
                new ExecutionException(new NotEnoughReplicasException("one is left")),
                new ExecutionException(new CompletionException(new TimeoutException("expired"))),
                new ExecutionException(new RegistryUnavailableException("refused", new IllegalStateException())),
                new KafkaException(new TopicAuthorizationException("not yet")));
    }

    static Stream<Throwable> refusals() {
        return Stream.of(
                new ExecutionException(new RecordTooLargeException("33 MiB")),
                new ExecutionException(new SerializationException("no such field")),
                new IllegalStateException("a defect"),
                new java.util.concurrent.TimeoutException("of somebody else's"));
    }

    @ParameterizedTest
    @MethodSource("outages")
    void shouldSayThatTheLogIsAwayWhenSendingAgainMayHelp(Throwable error) {
        assertThat(LogProducer.isOutage(error)).isTrue();
    }

    @ParameterizedTest
    @MethodSource("refusals")
    void shouldSayThatTheLogIsThereWhenItIsWhatWasSent(Throwable error) {
        assertThat(LogProducer.isOutage(error)).isFalse();
    }

    @Test
    void shouldFailWithAnOutageWhenThereIsNoBroker() {
        // prevents that what is taken for an outage is not what the client throws in one
        LogSettings settings = new LogSettings("127.0.0.1:1", "t.", 1, (short) 1);
        Codecs codecs = new Codecs(new InMemorySchemaRegistry(), settings.prefix());
        try (LogProducer producer = new LogProducer(settings, codecs)) {
            codecs.of(Topics.TICKS).prepare();
            Tick tick =
                    Tick.newBuilder().setEnvelope(Envelope.newBuilder().build()).build();

            Throwable error =
                    catchThrowable(() -> producer.send(Topics.TICKS, "0", tick).get());

            assertThat(error).isInstanceOf(ExecutionException.class);
            assertThat(LogProducer.isOutage(error)).isTrue();
        }
    }
}
