package io.millrace.log;

import io.micrometer.core.instrument.MeterRegistry;
import io.millrace.schema.DeadLetter;
import io.millrace.schema.Envelope;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Puts records that a step cannot process where they can be looked at, with what is needed to send them again. */
public final class DeadLetters {
    private static final Logger LOG = LoggerFactory.getLogger(DeadLetters.class);

    private final LogProducer producer;
    private final MeterRegistry metrics;

    public DeadLetters(LogProducer producer, MeterRegistry metrics) {
        this.producer = producer;
        this.metrics = metrics;
    }

    /** Writes a dead letter and waits until the log has it: the record's offset may be committed only then. */
    public void bury(ConsumerRecord<byte[], byte[]> record, String step, Throwable error, int attempts) {
        DeadLetter letter = letter(record, step, error, attempts, System.currentTimeMillis());
        LOG.warn(
                "{} gave up on {}-{}@{}: {}",
                step,
                record.topic(),
                record.partition(),
                record.offset(),
                letter.getError());
        metrics.counter("millrace.dead.letters", "step", step).increment();
        String key = record.key() == null ? "" : new String(record.key(), StandardCharsets.UTF_8);
        producer.send(Topics.DEAD_LETTERS, key, letter).join();
    }

    /** The dead letter of a record. Pure: topologies make theirs with this. */
    public static DeadLetter letter(
            ConsumerRecord<byte[], byte[]> record, String step, Throwable error, int attempts, long now) {
        return DeadLetter.newBuilder()
                .setEnvelope(Envelope.newBuilder().setOccurredAt(now).build())
                .setTopic(record.topic())
                .setPartition(record.partition())
                .setOffset(record.offset())
                .setRecordKey(record.key() == null ? null : ByteBuffer.wrap(record.key()))
                .setRecordValue(record.value() == null ? null : ByteBuffer.wrap(record.value()))
                .setStep(step)
                .setError(error.getClass().getSimpleName() + ": " + error.getMessage())
                .setAttempts(attempts)
                .build();
    }
}
