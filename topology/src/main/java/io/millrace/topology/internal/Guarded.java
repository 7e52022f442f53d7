package io.millrace.topology.internal;

import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;

/**
 * A processor for which the stack overflow that one record causes is an exception, since Streams hands those and no errors to its handler.
 * The thread is whole after one: its stack is free again.
 */
public record Guarded<KI, VI, KO, VO>(Processor<KI, VI, KO, VO> processor) implements Processor<KI, VI, KO, VO> {
    @Override
    public void init(ProcessorContext<KO, VO> context) {
        processor.init(context);
    }

    @Override
    public void process(Record<KI, VI> record) {
        try {
            processor.process(record);
        } catch (StackOverflowError e) {
            throw new IllegalStateException("the stack is too small for this record", e);
        }
    }

    @Override
    public void close() {
        processor.close();
    }
}
