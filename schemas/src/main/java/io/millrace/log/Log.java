package io.millrace.log;

import io.micrometer.core.instrument.MeterRegistry;

/**
 * What a service needs to take part: where the log is, how values are written, one producer, one meter registry. Whoever makes it
 * closes the producer.
 */
public record Log(LogSettings settings, Codecs codecs, LogProducer producer, MeterRegistry metrics) {}
