package io.millrace.topology;

import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.config.MillraceConfig;
import io.millrace.id.Ids;
import io.millrace.log.Codecs;
import io.millrace.log.InMemorySchemaRegistry;
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
import java.util.List;
import org.apache.kafka.streams.TopologyTestDriver;
import org.junit.jupiter.api.Test;

/** A clock that was an hour ahead for a moment, as before a machine has asked for the time, takes nobody's time once it is right again. */
class WrongClockTest {
    private static final long NOW = 1_800_000_000_000L;
    private static final long AHEAD = Duration.ofHours(1).toMillis();
    private static final long DEADLINE_MS = 30_000;

    private final TestLog log = new TestLog(new Codecs(new InMemorySchemaRegistry(), "t."));
    private final String id = Ids.first(NOW);

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
        try (TopologyTestDriver routing = log.driver(
                new RoutingTopology(log.settings(), log.codecs(), MillraceConfig.defaults()).get(), "routing", NOW)) {
            log.write(routing, Topics.TICKS, "0", new Tick(at(NOW + AHEAD), 0, 1L), NOW + AHEAD);
            log.write(routing, Topics.RETRIEVALS, id, retrieval(), NOW + 10);
            log.write(routing, Topics.TICKS, "0", new Tick(at(NOW + 20), 0, 2L), NOW + 20);

            List<Decision> decisions = log.read(routing, Topics.DECISIONS);
            assertThat(decisions).hasSize(1);
            assertThat(decisions.getFirst().getInputs().getNow()).isEqualTo(NOW + 10);
            assertThat(decisions.getFirst().getReason()).isNotEqualTo("deadline_exceeded");
            // nor is it forgotten: the same retrieval again is answered by the same bytes
            log.write(routing, Topics.RETRIEVALS, id, retrieval(), NOW + 30);
            assertThat(log.read(routing, Topics.DECISIONS)).isEqualTo(decisions);
        }
    }

    @Test
    void shouldEndByTheTimeOfTheCompletions() {
        try (TopologyTestDriver ledger =
                log.driver(new LedgerTopology(log.settings(), log.codecs()).get(), "ledger", NOW)) {
            Completion ahead = watermark(NOW + AHEAD);
            log.write(ledger, Topics.COMPLETIONS, "0", ahead, NOW + AHEAD);
            log.write(ledger, Topics.QUERIES, id, query(), NOW);
            log.write(ledger, Topics.COMPLETIONS, "0", watermark(NOW + 2_000), NOW + 2_000);
            assertThat(log.read(ledger, Topics.INTERACTIONS)).isEmpty();

            long late = NOW + 2 * DEADLINE_MS;
            log.write(ledger, Topics.COMPLETIONS, "0", watermark(late), late);
            List<Interaction> ended = log.read(ledger, Topics.INTERACTIONS);
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
