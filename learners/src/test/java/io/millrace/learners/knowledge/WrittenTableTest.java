package io.millrace.learners.knowledge;

import static org.assertj.core.api.Assertions.assertThat;

import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import io.millrace.log.Codecs;
import io.millrace.log.InMemorySchemaRegistry;
import io.millrace.log.Log;
import io.millrace.log.LogProducer;
import io.millrace.log.LogRecord;
import io.millrace.log.LogSettings;
import io.millrace.log.Topics;
import io.millrace.schema.Envelope;
import io.millrace.schema.Tick;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class WrittenTableTest {
    private static final String KEY = "a";

    private final LogSettings settings = new LogSettings("127.0.0.1:1", "t.", 1, (short) 1);
    private final Codecs codecs = new Codecs(new InMemorySchemaRegistry(), "t.");
    private final Log log = new Log(settings, codecs, new LogProducer(settings, codecs), new SimpleMeterRegistry());
    private final Map<String, Tick> known = new HashMap<>();
    private final WrittenTable<Tick> table = new WrittenTable<>("written", Topics.TICKS, log, (key, value) -> {
        if (value == null) {
            known.remove(key);
        } else {
            known.put(key, value);
        }
    });

    @AfterEach
    void close() {
        log.producer().close();
    }

    @Test
    void shouldKeepNothingOfADeletionWhenTheTailReadItBeforeTheWriterHeardOfIt() {
        // prevents that each deleted document is remembered for ever
        table.read(new LogRecord<>(Topics.TICKS, 0, 10, 0, KEY, null));
        table.wrote(KEY, null, at(0, 10));

        assertThat(table.ahead).isEmpty();
    }

    @Test
    void shouldKeepWhatCameLaterWhenTheTailReadThatBeforeTheWriterHeardOfItsOwn() {
        table.read(new LogRecord<>(Topics.TICKS, 0, 10, 0, KEY, tick(1)));
        table.read(new LogRecord<>(Topics.TICKS, 0, 11, 0, KEY, tick(2)));
        table.wrote(KEY, tick(1), at(0, 10));

        assertThat(known).containsEntry(KEY, tick(2));
    }

    @Test
    void shouldKnowItsOwnWriteUntilTheTailReachesItWhenTheTailIsBehind() {
        table.read(new LogRecord<>(Topics.TICKS, 1, 99, 0, "b", tick(0)));
        table.wrote(KEY, tick(2), at(0, 10));
        table.read(new LogRecord<>(Topics.TICKS, 0, 9, 0, KEY, tick(1)));

        assertThat(known).containsEntry(KEY, tick(2));

        table.read(new LogRecord<>(Topics.TICKS, 0, 10, 0, KEY, tick(2)));

        assertThat(table.ahead).isEmpty();
    }

    private static RecordMetadata at(int partition, long offset) {
        return new RecordMetadata(new TopicPartition("t.ticks", partition), offset, 0, 0, 0, 0);
    }

    private static Tick tick(long sequence) {
        return Tick.newBuilder()
                .setEnvelope(Envelope.newBuilder().setOccurredAt(1).build())
                .setSequence(sequence)
                .build();
    }
}
