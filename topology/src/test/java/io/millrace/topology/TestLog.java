package io.millrace.topology;

import io.millrace.config.MillraceConfig;
import io.millrace.config.MillraceConfig.Backend;
import io.millrace.log.Codecs;
import io.millrace.log.LogSettings;
import io.millrace.log.Topic;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.TopologyTestDriver;

/** What topologies under test read and write, by topic. */
public record TestLog(LogSettings settings, Codecs codecs) {
    /** A log whose topics begin with {@code t.}. */
    public TestLog(Codecs codecs) {
        this(new LogSettings("nowhere:1", "t.", 1, (short) 1), codecs);
    }

    /** The defaults, with these backends. */
    public static MillraceConfig config(Map<String, Backend> backends) {
        MillraceConfig d = MillraceConfig.defaults();
        return new MillraceConfig(
                d.listen(),
                d.kafka(),
                d.retention(),
                d.registry(),
                d.postgres(),
                d.redis(),
                backends,
                d.models(),
                d.routing(),
                d.retrieval(),
                d.knowledge(),
                d.cache(),
                d.dispatch(),
                d.limits(),
                d.collections(),
                d.connect());
    }

    /** Runs a topology under this name, and buries what it cannot process, as the application does. */
    public TopologyTestDriver driver(Topology topology, String name, long now) {
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, name);
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, settings.bootstrapServers());
        BuryUnprocessable.in(properties, settings, codecs, name);
        return new TopologyTestDriver(topology, properties, Instant.ofEpochMilli(now));
    }

    /** Writes a value at a time, epoch milliseconds. */
    public <V extends SpecificRecord> void write(
            TopologyTestDriver driver, Topic<V> topic, String key, V value, long at) {
        write(driver, topic, key, codecs.of(topic).encode(value), at);
    }

    /** Writes bytes that may be no value. */
    public void write(TopologyTestDriver driver, Topic<?> topic, String key, byte[] value, long at) {
        driver.createInputTopic(settings.name(topic), new StringSerializer(), new ByteArraySerializer())
                .pipeInput(key, value, at);
    }

    /** What was written since the last time. */
    public <V extends SpecificRecord> List<V> read(TopologyTestDriver driver, Topic<V> topic) {
        return driver
                .createOutputTopic(settings.name(topic), new StringDeserializer(), new ByteArrayDeserializer())
                .readValuesToList()
                .stream()
                .map(bytes -> codecs.of(topic).decode(bytes))
                .toList();
    }
}
