package io.millrace.topology;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.millrace.config.MillraceConfig;
import io.millrace.id.Ids;
import io.millrace.log.Codecs;
import io.millrace.log.InMemorySchemaRegistry;
import io.millrace.log.SchemaRegistry;
import io.millrace.log.SchemaRegistry.RegistryUnavailableException;
import io.millrace.log.Topics;
import io.millrace.log.Vocabulary.CompletionKind;
import io.millrace.schema.Completion;
import io.millrace.schema.DeadLetter;
import io.millrace.schema.Envelope;
import io.millrace.schema.Query;
import io.millrace.schema.QueryGap;
import io.millrace.schema.Retrieval;
import io.millrace.topology.learning.LearningTopology;
import io.millrace.topology.ledger.LedgerTopology;
import io.millrace.topology.routing.RoutingTopology;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.apache.avro.Schema;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.TopologyTestDriver;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** One record that a processor throws at is buried, and the next is processed: the stream would else stop at it for everybody. */
class UnprocessableTest {
    private static final long NOW = 1_800_000_000_000L;
    private static final int EXCEPTION = 1_001;
    private static final int OVERFLOW = 1_002;
    private static final int AWAY = 1_003;

    /** Throws for the schemas of poisoned records what a defect in a processor would. */
    private static final class Poisoned implements SchemaRegistry {
        private final SchemaRegistry schemas = new InMemorySchemaRegistry();

        @Override
        public int register(String subject, Schema schema) {
            return schemas.register(subject, schema);
        }

        @Override
        public Schema byId(int id) {
            return switch (id) {
                case EXCEPTION -> throw new IllegalStateException("a defect");
                case OVERFLOW -> throw new StackOverflowError();
                case AWAY -> throw new RegistryUnavailableException("away", new IllegalStateException());
                default -> schemas.byId(id);
            };
        }
    }

    enum Application {
        ROUTING,
        LEDGER,
        LEARNING
    }

    private final Codecs codecs = new Codecs(new Poisoned(), "t.");
    private final TestLog log = new TestLog(codecs);

    private TopologyTestDriver driver(Application application) {
        Topology topology = switch (application) {
            case ROUTING -> new RoutingTopology(log.settings(), codecs, MillraceConfig.defaults()).get();
            case LEDGER -> new LedgerTopology(log.settings(), codecs).get();
            case LEARNING -> new LearningTopology(log.settings(), codecs).get();
        };
        return log.driver(topology, application.name(), NOW);
    }

    private static byte[] poison(int schema) {
        return ByteBuffer.allocate(6).put((byte) 0).putInt(schema).put((byte) 7).array();
    }

    private static Envelope at(long time) {
        return Envelope.newBuilder().setOccurredAt(time).build();
    }

    @ParameterizedTest
    @EnumSource
    void shouldBuryTheRecordAndGoOnWhenAProcessorThrows(Application application) {
        for (int schema : new int[] {EXCEPTION, OVERFLOW}) {
            try (TopologyTestDriver driver = driver(application)) {
                String poisoned = Ids.next();
                log.write(driver, Topics.RETRIEVALS, poisoned, poison(schema), NOW);

                List<DeadLetter> letters = log.read(driver, Topics.DEAD_LETTERS);
                assertThat(letters).hasSize(1);
                assertThat(letters.getFirst().getTopic()).isEqualTo("t.retrievals");
                assertThat(letters.getFirst().getStep()).isEqualTo(application.name());
                assertThat(letters.getFirst().getRecordKey())
                        .isEqualTo(ByteBuffer.wrap(poisoned.getBytes(StandardCharsets.UTF_8)));
                assertThat(letters.getFirst().getRecordValue()).isEqualTo(ByteBuffer.wrap(poison(schema)));

                assertThat(next(driver, application)).isEqualTo(1);
            }
        }
    }

    /** The registry comes back; the record is fine. */
    @ParameterizedTest
    @EnumSource
    void shouldBuryNothingWhenTheRegistryIsAway(Application application) {
        try (TopologyTestDriver driver = driver(application)) {
            assertThatThrownBy(() -> log.write(driver, Topics.RETRIEVALS, Ids.next(), poison(AWAY), NOW))
                    .hasRootCauseInstanceOf(IllegalStateException.class);
            assertThat(log.read(driver, Topics.DEAD_LETTERS)).isEmpty();
        }
    }

    /** What comes of a query after the poisoned record. */
    private int next(TopologyTestDriver driver, Application application) {
        String id = Ids.first(NOW);
        Query query = Query.newBuilder()
                .setEnvelope(at(NOW))
                .setInteractionId(id)
                .setText("why?")
                .setDeadlineAt(NOW + 1_000)
                .build();
        Retrieval retrieval = Retrieval.newBuilder()
                .setEnvelope(at(NOW))
                .setInteractionId(id)
                .setQuery(query)
                .setContextScore(0.1)
                .build();
        log.write(driver, Topics.RETRIEVALS, id, retrieval, NOW);
        return switch (application) {
            case ROUTING -> log.read(driver, Topics.DECISIONS).size();
            case LEARNING -> {
                List<QueryGap> gaps = log.read(driver, Topics.QUERY_GAPS);
                yield gaps.size();
            }
            case LEDGER -> {
                log.write(driver, Topics.QUERIES, id, query, NOW);
                Completion mark = Completion.newBuilder()
                        .setEnvelope(at(NOW + 9_000))
                        .setKind(CompletionKind.WATERMARK)
                        .build();
                log.write(driver, Topics.COMPLETIONS, "0", mark, NOW + 9_000);
                yield log.read(driver, Topics.INTERACTIONS).size();
            }
        };
    }
}
