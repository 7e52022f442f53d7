package io.millrace.topology;

import io.millrace.log.Codecs;
import io.millrace.log.DeadLetters;
import io.millrace.log.LogSettings;
import io.millrace.log.SchemaRegistry.IncompatibleSchemaException;
import io.millrace.log.SchemaRegistry.RegistryUnavailableException;
import io.millrace.log.Topics;
import io.millrace.schema.DeadLetter;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.ErrorHandlerContext;
import org.apache.kafka.streams.errors.ProcessingExceptionHandler;
import org.apache.kafka.streams.processor.api.Record;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Makes a dead letter of a record that a processor throws at, and goes on. The stream would else read it again for ever, and its partition
 * with it. What is no fault of the record (the log or the registry is away, or refuses everything) still ends the thread, which starts anew.
 */
public final class BuryUnprocessable implements ProcessingExceptionHandler {
    private static final Logger LOG = LoggerFactory.getLogger(BuryUnprocessable.class);

    /** Settings of the application by which a handler, which Streams makes itself, gets what it needs. */
    private static final String CODECS = "millrace.dead.letters.codecs";

    private static final String TOPIC = "millrace.dead.letters.topic";
    private static final String STEP = "millrace.dead.letters.step";

    private @Nullable Codecs codecs;
    private String topic = "";
    private String step = "";

    /** Lets an application bury what it cannot process, under the name of a step. */
    public static void in(Properties application, LogSettings log, Codecs codecs, String step) {
        application.put(StreamsConfig.PROCESSING_EXCEPTION_HANDLER_CLASS_CONFIG, BuryUnprocessable.class);
        application.put(CODECS, codecs);
        application.put(TOPIC, log.name(Topics.DEAD_LETTERS));
        application.put(STEP, step);
    }

    @Override
    public void configure(Map<String, ?> configs) {
        codecs = (Codecs) Objects.requireNonNull(configs.get(CODECS), CODECS);
        topic = String.valueOf(configs.get(TOPIC));
        step = String.valueOf(configs.get(STEP));
    }

    @Override
    public Response handleError(ErrorHandlerContext context, Record<?, ?> record, Exception exception) {
        if (exception instanceof KafkaException
                || exception instanceof RegistryUnavailableException
                || exception instanceof IncompatibleSchemaException) {
            return Response.fail();
        }
        LOG.error("{} gave up on {}-{}@{}", step, context.topic(), context.partition(), context.offset(), exception);
        DeadLetter letter = DeadLetters.letter(
                new ConsumerRecord<>(
                        context.topic(),
                        context.partition(),
                        context.offset(),
                        context.sourceRawKey(),
                        context.sourceRawValue()),
                step,
                exception,
                1,
                record.timestamp());
        byte[] key = String.valueOf(record.key()).getBytes(StandardCharsets.UTF_8);
        byte[] value = Objects.requireNonNull(codecs).of(Topics.DEAD_LETTERS).encode(letter);
        return Response.resume(List.of(new ProducerRecord<>(topic, null, record.timestamp(), key, value)));
    }
}
