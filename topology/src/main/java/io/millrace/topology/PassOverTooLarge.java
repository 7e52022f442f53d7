package io.millrace.topology;

import java.util.Map;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.streams.errors.DefaultProductionExceptionHandler;
import org.apache.kafka.streams.errors.ErrorHandlerContext;
import org.apache.kafka.streams.errors.ProductionExceptionHandler;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Passes over a record that the log does not take for its size. The stream would stop at its cause for ever, and with it everybody's
 * queries; so one is left out and ends at its deadline. The gateway accepts no query that comes near, so this is a last resort.
 */
public final class PassOverTooLarge implements ProductionExceptionHandler {
    private static final Logger LOG = LoggerFactory.getLogger(PassOverTooLarge.class);

    private final ProductionExceptionHandler others = new DefaultProductionExceptionHandler();

    @Override
    public Response handleError(
            ErrorHandlerContext context, ProducerRecord<byte[], byte[]> record, Exception exception) {
        if (exception instanceof RecordTooLargeException) {
            LOG.error("a record for {} is passed over: {}", record.topic(), exception.getMessage());
            return Response.resume();
        }
        return others.handleError(context, record, exception);
    }

    @Override
    public void configure(Map<String, ?> configs) {
        others.configure(configs);
    }
}
