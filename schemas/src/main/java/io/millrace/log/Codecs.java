package io.millrace.log;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.avro.specific.SpecificRecord;

/** The codecs of a deployment, one per topic. Subjects are {@code <prefixed topic>-value}. */
public final class Codecs {
    static {
        Records.trust();
    }

    private final SchemaRegistry registry;
    private final String prefix;
    private final Map<Topic<?>, AvroCodec<?>> codecs = new ConcurrentHashMap<>();

    public Codecs(SchemaRegistry registry, String prefix) {
        this.registry = registry;
        this.prefix = prefix;
    }

    /** The codec of a topic. */
    @SuppressWarnings("unchecked")
    public <V extends SpecificRecord> AvroCodec<V> of(Topic<V> topic) {
        return (AvroCodec<V>) codecs.computeIfAbsent(topic, this::create);
    }

    /** Where the schemas of these codecs are, for those who keep values as bytes and need the writer's schema beside them. */
    public SchemaRegistry registry() {
        return registry;
    }

    private <V extends SpecificRecord> AvroCodec<V> create(Topic<V> topic) {
        return new AvroCodec<>(topic, topic.subject(prefix), registry);
    }
}
