package io.millrace.learners.knowledge;

import io.millrace.log.Log;
import io.millrace.log.LogRecord;
import io.millrace.log.Topics;
import io.millrace.schema.DeadLetter;
import io.millrace.schema.Envelope;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.ExecutionException;

/** Dead letters without bytes: these stay where they are on the log, and may hold secrets, or be a whole document for one passage of it. */
final class Burial {
    private Burial() {}

    /**
     * Returns when the log has the letter.
     *
     * @param key of the record, without secrets
     */
    static void bury(Log log, LogRecord<?> record, String key, String step, String reason)
            throws ExecutionException, InterruptedException {
        DeadLetter letter = DeadLetter.newBuilder()
                .setEnvelope(Envelope.newBuilder()
                        .setOccurredAt(System.currentTimeMillis())
                        .build())
                .setTopic(log.settings().name(record.topic()))
                .setPartition(record.partition())
                .setOffset(record.offset())
                .setRecordKey(ByteBuffer.wrap(key.getBytes(StandardCharsets.UTF_8)))
                .setStep(step)
                .setError(reason)
                .build();
        log.metrics().counter("millrace.dead.letters", "step", step).increment();
        log.producer().send(Topics.DEAD_LETTERS, key, letter).get();
    }
}
