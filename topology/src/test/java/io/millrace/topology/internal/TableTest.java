package io.millrace.topology.internal;

import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.log.Codecs;
import io.millrace.log.InMemorySchemaRegistry;
import io.millrace.log.SchemaRegistry;
import io.millrace.log.Topics;
import io.millrace.schema.RoutingConfig;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.avro.Schema;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.state.KeyValueStore;
import org.junit.jupiter.api.Test;

class TableTest {
    private final SchemaRegistry schemas = new InMemorySchemaRegistry();
    private final AtomicBoolean away = new AtomicBoolean(true);

    private final SchemaRegistry registry = new SchemaRegistry() {
        @Override
        public int register(String subject, Schema schema) {
            return schemas.register(subject, schema);
        }

        @Override
        public Schema byId(int id) {
            if (away.get()) {
                throw new RegistryUnavailableException("away", new IllegalStateException());
            }
            return schemas.byId(id);
        }
    };

    /** A setting of the operator would else be ignored until the process ends, or the next change. */
    @Test
    void shouldReadAValueWhenTheRegistryIsBack() {
        byte[] value = new Codecs(schemas, "t.")
                .of(Topics.ROUTING_CONFIG)
                .encode(RoutingConfig.newBuilder().setVersion(7).build());
        Topology topology = new Topology();
        Table<RoutingConfig> table =
                Table.add(topology, "table", "t.routing-config", new Codecs(registry, "t.").of(Topics.ROUTING_CONFIG));
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, "table");
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, "nowhere:1");
        try (TopologyTestDriver driver = new TopologyTestDriver(topology, properties)) {
            driver.createInputTopic("t.routing-config", new StringSerializer(), new ByteArraySerializer())
                    .pipeInput("default", value);
            KeyValueStore<String, byte[]> store = driver.getKeyValueStore("table");
            assertThat(table.get(store, "default")).isEmpty();

            away.set(false);

            assertThat(table.get(store, "default"))
                    .hasValueSatisfying(read -> assertThat(read.getVersion()).isEqualTo(7));
        }
    }
}
