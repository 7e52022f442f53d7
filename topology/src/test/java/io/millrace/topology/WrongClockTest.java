package io.millrace.topology;

import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.config.MillraceConfig;
import io.millrace.id.Ids;
import io.millrace.log.Codecs;
import io.millrace.log.InMemorySchemaRegistry;
import io.millrace.log.LogSettings;
import io.millrace.log.Topic;
import io.millrace.log.Topics;
import io.millrace.log.Vocabulary.CompletionKind;
import io.millrace.schema.Completion;
import io.millrace.schema.Decision;
import io.millrace.schema.Envelope;
import io.millrace.schema.Interaction;
import io.millrace.schema.Query;
import io.millrace.schema.Retrieval;
import io.millrace.schema.Tick;
import io.millrace.topology.ledger.LedgerTopology;
import io.millrace.topology.routing.RoutingTopology;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Properties;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.TopologyTestDriver;
import org.junit.jupiter.api.Test;

/** A clock that was an hour ahead for a moment, as before a machine has asked for the time, takes nobody's time once it is right again. */
class WrongClockTest {
    private static final long NOW = 1_800_000_000_000L;
    private static final long AHEAD = Duration.ofHours(1).toMillis();
    private static final long DEADLINE_MS = 30_000;

    private final Codecs codecs = new Codecs(new InMemorySchemaRegistry(), "t.");
    private final LogSettings log = new LogSettings("nowhere:1", "t.", 1, (short) 1);
    private final String id = Ids.first(NOW);

    private static TopologyTestDriver driver(Topology topology, String name) {
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, name);
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, "nowhere:1");
        return new TopologyTestDriver(topology, properties, Instant.ofEpochMilli(NOW));
    }

    private <V extends SpecificRecord> void write(
            TopologyTestDriver driver, Topic<V> topic, String key, V value, long at) {
        driver.createInputTopic(log.name(topic), new StringSerializer(), new ByteArraySerializer())
                .pipeInput(key, codecs.of(topic).encode(value), at);
    }

    private <V extends SpecificRecord> List<V> read(TopologyTestDriver driver, Topic<V> topic) {
        return driver
                .createOutputTopic(log.name(topic), new StringDeserializer(), new ByteArrayDeserializer())
                .readValuesToList()
                .stream()
                .map(bytes -> codecs.of(topic).decode(bytes))
                .toList();
    }

    private static Envelope at(long time) {
        return Envelope.newBuilder().setOccurredAt(time).build();
    }

    private Query query() {
        return Query.newBuilder()
                .setEnvelope(at(NOW))
                .setInteractionId(id)
                .setText("why?")
                .setGenerate(true)
                .setDeadlineAt(NOW + DEADLINE_MS)
                .build();
    }

    private Retrieval retrieval() {
        return Retrieval.newBuilder()
                .setEnvelope(at(NOW))
                .setInteractionId(id)
                .setQuery(query())
                .build();
    }

    @Test
    void shouldDecideByTheTimeOfTheQuery() {
        try (TopologyTestDriver routing =
                driver(new RoutingTopology(log, codecs, MillraceConfig.defaults()).get(), "routing")) {
            write(routing, Topics.TICKS, "0", new Tick(at(NOW + AHEAD), 0, 1L), NOW + AHEAD);
            write(routing, Topics.RETRIEVALS, id, retrieval(), NOW + 10);
            write(routing, Topics.TICKS, "0", new Tick(at(NOW + 20), 0, 2L), NOW + 20);

            List<Decision> decisions = read(routing, Topics.DECISIONS);
            assertThat(decisions).hasSize(1);
            assertThat(decisions.getFirst().getInputs().getNow()).isEqualTo(NOW + 10);
            assertThat(decisions.getFirst().getReason()).isNotEqualTo("deadline_exceeded");
            // nor is it forgotten: the same retrieval again is answered by the same bytes
            write(routing, Topics.RETRIEVALS, id, retrieval(), NOW + 30);
            assertThat(read(routing, Topics.DECISIONS)).isEqualTo(decisions);
        }
    }

    @Test
    void shouldEndByTheTimeOfTheCompletions() {
        try (TopologyTestDriver ledger = driver(new LedgerTopology(log, codecs).get(), "ledger")) {
            Completion ahead = watermark(NOW + AHEAD);
            write(ledger, Topics.COMPLETIONS, "0", ahead, NOW + AHEAD);
            write(ledger, Topics.QUERIES, id, query(), NOW);
            write(ledger, Topics.COMPLETIONS, "0", watermark(NOW + 2_000), NOW + 2_000);
            assertThat(read(ledger, Topics.INTERACTIONS)).isEmpty();

            long late = NOW + 2 * DEADLINE_MS;
            write(ledger, Topics.COMPLETIONS, "0", watermark(late), late);
            List<Interaction> ended = read(ledger, Topics.INTERACTIONS);
            assertThat(ended).hasSize(1);
            assertThat(ended.getFirst().getEnvelope().getOccurredAt()).isEqualTo(late);
        }
    }

    private static Completion watermark(long time) {
        return Completion.newBuilder()
                .setEnvelope(at(time))
                .setKind(CompletionKind.WATERMARK)
                .build();
    }
}
