package io.millrace.topology.learning;

import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.id.Ids;
import io.millrace.log.Codecs;
import io.millrace.log.InMemorySchemaRegistry;
import io.millrace.log.LogSettings;
import io.millrace.log.Records;
import io.millrace.log.Topic;
import io.millrace.log.Topics;
import io.millrace.schema.Envelope;
import io.millrace.schema.Query;
import io.millrace.schema.QueryGap;
import io.millrace.schema.Retrieval;
import io.millrace.schema.Tick;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.TestOutputTopic;
import org.apache.kafka.streams.TopologyTestDriver;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Which questions count as gaps, for how long, and how often. */
class LearningTopologyTest {
    private static final Instant MONDAY = Instant.parse("2026-03-02T12:00:00Z");

    private final Codecs codecs = new Codecs(new InMemorySchemaRegistry(), "t.");
    private final LogSettings log = new LogSettings("nowhere:1", "t.", 1, (short) 1);
    private TopologyTestDriver driver = driver();
    private TestOutputTopic<String, byte[]> gaps = output();

    private TopologyTestDriver driver() {
        Records.trust();
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, "learning");
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, "nowhere:1");
        return new TopologyTestDriver(new LearningTopology(log, codecs).get(), properties, MONDAY);
    }

    private TestOutputTopic<String, byte[]> output() {
        return driver.createOutputTopic(
                log.name(Topics.QUERY_GAPS),
                Serdes.String().deserializer(),
                Serdes.ByteArray().deserializer());
    }

    @BeforeEach
    void begin() {
        driver.close();
        driver = driver();
        gaps = output();
    }

    @AfterEach
    void end() {
        driver.close();
    }

    @Test
    void shouldCountAQuestionOnceForEachTimeItIsAskedInWhateverCase() {
        ask("How do I oil the mill?", 0.3, MONDAY);
        ask("how do i  OIL the mill", 0.1, MONDAY.plusSeconds(5));

        List<QueryGap> written = written();

        assertThat(written).hasSize(2);
        assertThat(written.getLast().getCount()).isEqualTo(2);
        assertThat(written.getLast().getContextScore()).isEqualTo(0.1);
        assertThat(written.getLast().getByDay()).isEqualTo(Map.of("2026-03-02", 2L));
    }

    @Test
    void shouldCountSevenDaysOnly() {
        ask("Where is the lee?", 0.2, MONDAY);
        ask("Where is the lee?", 0.2, MONDAY.plus(Duration.ofDays(5)));
        ask("Where is the lee?", 0.2, MONDAY.plus(Duration.ofDays(7)));

        assertThat(written().getLast().getCount()).isEqualTo(2);
    }

    @Test
    void shouldLeaveOutWhatIsCoveredSyntheticUnknownOrNotToBeStored() {
        ask("Covered?", 0.4, MONDAY);
        send(retrieval("Synthetic?", 0.1, true, true), MONDAY);
        send(retrieval("Not stored?", 0.1, false, false), MONDAY);
        send(
                Retrieval.newBuilder(retrieval("Unknown?", 0.1, false, true))
                        .setContextScore(null)
                        .build(),
                MONDAY);

        assertThat(gaps.isEmpty()).isTrue();
    }

    /** Asked twice in a session, a question finds little the second time: what answers it was sent before. */
    @Test
    void shouldTakeForKnownWhatTheClientHasAlready() {
        send(
                Retrieval.newBuilder(retrieval("How do I oil the mill?", 0.04, false, true))
                        .setCoveredScore(0.9)
                        .build(),
                MONDAY);
        assertThat(gaps.isEmpty()).isTrue();

        send(
                Retrieval.newBuilder(retrieval("How do I oil the moon?", 0.04, false, true))
                        .setCoveredScore(0.1)
                        .build(),
                MONDAY);
        assertThat(written().getFirst().getContextScore()).isEqualTo(0.1);
    }

    @Test
    void shouldForgetAGapWhenItIsCoveredAtLast() {
        ask("What is a leat?", 0.2, MONDAY);
        ask("What is a leat?", 0.9, MONDAY.plusSeconds(60));

        List<KeyValue<String, byte @Nullable []>> all = records();
        assertThat(all).hasSize(2);
        assertThat(all.getLast().value).isNull();
        assertThat(all.getLast().key).isEqualTo(all.getFirst().key);
    }

    @Test
    void shouldForgetAGapThatNobodyAskedForSevenDays() {
        ask("What is a leat?", 0.2, MONDAY);
        tick(MONDAY.plus(Duration.ofDays(7)).minusMillis(1));
        assertThat(records()).hasSize(1);

        tick(MONDAY.plus(Duration.ofDays(7)));

        assertThat(records())
                .singleElement()
                .satisfies(gone -> assertThat(gone.value).isNull());
    }

    @Test
    void shouldHoldNoSecret() {
        ask("Why is sk-proj-abcdef123456 refused?", 0.2, MONDAY);

        assertThat(written().getFirst().getQueryText()).isEqualTo("Why is [REDACTED:api_key] refused?");
    }

    private void ask(String text, double score, Instant at) {
        send(retrieval(text, score, false, true), at);
    }

    private static Retrieval retrieval(String text, double score, boolean synthetic, boolean store) {
        String id = Ids.next();
        return Retrieval.newBuilder()
                .setEnvelope(Envelope.newBuilder().setSynthetic(synthetic).build())
                .setInteractionId(id)
                .setQuery(Query.newBuilder()
                        .setInteractionId(id)
                        .setText(text)
                        .setStore(store)
                        .build())
                .setContextScore(score)
                .build();
    }

    private void send(Retrieval retrieval, Instant at) {
        pipe(Topics.RETRIEVALS, retrieval.getInteractionId(), retrieval, at);
    }

    private void tick(Instant at) {
        pipe(Topics.TICKS, "0", Tick.newBuilder().build(), at);
    }

    private <V extends SpecificRecord> void pipe(Topic<V> topic, String key, V value, Instant at) {
        driver.createInputTopic(
                        log.name(topic),
                        Serdes.String().serializer(),
                        Serdes.ByteArray().serializer())
                .pipeInput(key, codecs.of(topic).encode(value), at);
    }

    private List<KeyValue<String, byte @Nullable []>> records() {
        List<KeyValue<String, byte @Nullable []>> all = new java.util.ArrayList<>();
        gaps.readKeyValuesToList().forEach(each -> all.add(KeyValue.pair(each.key, each.value)));
        return all;
    }

    private List<QueryGap> written() {
        return gaps.readValuesToList().stream()
                .map(codecs.of(Topics.QUERY_GAPS)::decode)
                .toList();
    }
}
