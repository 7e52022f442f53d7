package io.millrace.topology.ledger;

import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.id.Ids;
import io.millrace.log.Codecs;
import io.millrace.log.InMemorySchemaRegistry;
import io.millrace.log.LogSettings;
import io.millrace.log.Topic;
import io.millrace.log.Topics;
import io.millrace.log.Vocabulary.CompletionKind;
import io.millrace.schema.Answer;
import io.millrace.schema.Completion;
import io.millrace.schema.Decision;
import io.millrace.schema.Envelope;
import io.millrace.schema.Failure;
import io.millrace.schema.Interaction;
import io.millrace.schema.Query;
import io.millrace.schema.Retrieval;
import java.time.Instant;
import java.util.List;
import java.util.Properties;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.TopologyTestDriver;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** A query ends as it ended, whatever is written in it. */
class LedgerTopologyTest {
    private static final long NOW = 1_800_000_000_000L;

    private final Codecs codecs = new Codecs(new InMemorySchemaRegistry(), "t.");
    private final LogSettings log = new LogSettings("nowhere:1", "t.", 1, (short) 1);
    private final String id = Ids.first(NOW);
    private final TopologyTestDriver driver = driver();

    private TopologyTestDriver driver() {
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, "ledger");
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, "nowhere:1");
        return new TopologyTestDriver(
                new LedgerTopology(log, codecs).get(text -> {
                    if (text.startsWith("deep")) {
                        throw new StackOverflowError();
                    }
                    return text;
                }),
                properties,
                Instant.ofEpochMilli(NOW));
    }

    @AfterEach
    void end() {
        driver.close();
    }

    @Test
    void shouldEndAtTheDeadlineWhenTheQueryCannotBeRedacted() {
        write(Topics.QUERIES, id, query("deep"), NOW);
        watermark();

        Interaction ended = ended();
        assertThat(ended.getOutcome()).isEqualTo("failed");
        assertThat(ended.getQueryText()).isEmpty();
    }

    @Test
    void shouldEndAsAnsweredWhenTheAnswerCannotBeRedacted() {
        Query query = query("why?");
        write(Topics.QUERIES, id, query, NOW);
        write(
                Topics.RETRIEVALS,
                id,
                Retrieval.newBuilder()
                        .setEnvelope(at(NOW))
                        .setInteractionId(id)
                        .setQuery(query)
                        .build(),
                NOW);
        answered();
        watermark();

        Interaction ended = ended();
        assertThat(ended.getOutcome()).isEqualTo("answered");
        assertThat(ended.getQueryText()).isEqualTo("why?");
        assertThat(ended.getAnswer().getText()).isEmpty();
    }

    @Test
    void shouldNotWaitForTheRetrievalOfADirectQuery() {
        write(
                Topics.QUERIES,
                id,
                Query.newBuilder(query("why?")).setDirect(true).build(),
                NOW);
        answered();

        assertThat(ended().getOutcome()).as("before its deadline").isEqualTo("answered");
    }

    @Test
    void shouldSayThatADirectQueryWasNotRouted() {
        write(
                Topics.QUERIES,
                id,
                Query.newBuilder(query("why?")).setDirect(true).build(),
                NOW);
        watermark();

        assertThat(ended().getFailure())
                .extracting(Failure::getReason)
                .as("retrieval is not to blame")
                .isEqualTo("routing_timeout");
    }

    private void answered() {
        write(
                Topics.DECISIONS,
                id,
                Decision.newBuilder()
                        .setEnvelope(at(NOW))
                        .setInteractionId(id)
                        .setAttempt(1)
                        .setRoute("local")
                        .build(),
                NOW);
        write(
                Topics.COMPLETIONS,
                id,
                Completion.newBuilder()
                        .setEnvelope(at(NOW))
                        .setInteractionId(id)
                        .setAttempt(1)
                        .setKind(CompletionKind.ANSWERED)
                        .setTerminal(true)
                        .setAnswer(Answer.newBuilder().setText("deep").build())
                        .build(),
                NOW);
    }

    private Interaction ended() {
        List<Interaction> all = driver
                .createOutputTopic("t.interactions", new StringDeserializer(), new ByteArrayDeserializer())
                .readValuesToList()
                .stream()
                .map(codecs.of(Topics.INTERACTIONS)::decode)
                .toList();
        assertThat(all).hasSize(1);
        return all.getFirst();
    }

    private void watermark() {
        Completion mark = Completion.newBuilder()
                .setEnvelope(at(NOW + 9_000))
                .setKind(CompletionKind.WATERMARK)
                .build();
        write(Topics.COMPLETIONS, "0", mark, NOW + 9_000);
    }

    private Query query(String text) {
        return Query.newBuilder()
                .setEnvelope(at(NOW))
                .setInteractionId(id)
                .setText(text)
                .setDeadlineAt(NOW + 1_000)
                .build();
    }

    private static Envelope at(long time) {
        return Envelope.newBuilder().setOccurredAt(time).build();
    }

    private <V extends SpecificRecord> void write(Topic<V> topic, String key, V value, long at) {
        driver.createInputTopic(log.name(topic), new StringSerializer(), new ByteArraySerializer())
                .pipeInput(key, codecs.of(topic).encode(value), at);
    }
}
