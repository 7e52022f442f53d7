package io.millrace.topology.routing;

import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.config.MillraceConfig;
import io.millrace.config.MillraceConfig.Backend;
import io.millrace.config.MillraceConfig.Deployment;
import io.millrace.config.MillraceConfig.Kind;
import io.millrace.config.MillraceConfig.Locality;
import io.millrace.config.Secret;
import io.millrace.id.Ids;
import io.millrace.log.Codecs;
import io.millrace.log.InMemorySchemaRegistry;
import io.millrace.log.Topic;
import io.millrace.log.Topics;
import io.millrace.schema.Completion;
import io.millrace.schema.Decision;
import io.millrace.schema.Envelope;
import io.millrace.schema.Failure;
import io.millrace.schema.Query;
import io.millrace.schema.Retrieval;
import io.millrace.schema.RoutingState;
import io.millrace.topology.TestLog;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.streams.TopologyTestDriver;
import org.junit.jupiter.api.Test;

/** What a retrieval that is read again does: a rebalance of its group repeats what was in flight. */
class RouterTest {
    private static final long NOW = 1_800_000_000_000L;

    private final TestLog log = new TestLog(new Codecs(new InMemorySchemaRegistry(), "t."));
    private final String id = Ids.first(NOW);

    private static MillraceConfig config(String... locals) {
        Map<String, Backend> backends = Stream.of(locals)
                .collect(Collectors.toMap(
                        name -> name,
                        name -> new Backend(name, Locality.LOCAL, Kind.LLAMA_CPP, List.of(deployment(name + "-1")))));
        return TestLog.config(backends);
    }

    private static Deployment deployment(String name) {
        return new Deployment(name, "http://x", "", Secret.NONE, 0, 0, 0, Set.of(), 4, Duration.ofSeconds(10));
    }

    private TopologyTestDriver driver(MillraceConfig config) {
        return log.driver(new RoutingTopology(log.settings(), log.codecs(), config).get(), "routing", NOW);
    }

    private <V extends SpecificRecord> void write(TopologyTestDriver driver, Topic<V> topic, V value, long at) {
        log.write(driver, topic, id, value, at);
    }

    private Retrieval retrieval() {
        Envelope envelope = Envelope.newBuilder().setOccurredAt(NOW).build();
        return Retrieval.newBuilder()
                .setEnvelope(envelope)
                .setInteractionId(id)
                .setQuery(Query.newBuilder()
                        .setEnvelope(envelope)
                        .setInteractionId(id)
                        .setText("why?")
                        .setGenerate(true)
                        .setDeadlineAt(NOW + 30_000)
                        .build())
                .build();
    }

    private Completion.Builder completion(String kind) {
        return Completion.newBuilder().setInteractionId(id).setAttempt(1).setKind(kind);
    }

    @Test
    void shouldDecideOnADirectQueryItself() {
        try (TopologyTestDriver driver = driver(config("a"))) {
            Query asked = Query.newBuilder(retrieval().getQuery())
                    .setRetrieval("off")
                    .setDirect(true)
                    .build();

            write(driver, Topics.QUERIES, asked, NOW);

            assertThat(log.read(driver, Topics.dispatch("a")))
                    .singleElement()
                    .satisfies(work -> assertThat(work.getQuery()).isEqualTo(asked));
            Decision decision = log.read(driver, Topics.DECISIONS).getFirst();
            assertThat(decision.getInputs().getContextScore()).isNull();

            // read again after a crash, or by a retrieval worker of before there were direct queries
            write(driver, Topics.QUERIES, asked, NOW + 10);
            write(
                    driver,
                    Topics.RETRIEVALS,
                    Retrieval.newBuilder(retrieval()).setQuery(asked).build(),
                    NOW + 20);

            assertThat(log.read(driver, Topics.DECISIONS)).containsExactly(decision, decision);
        }
    }

    @Test
    void shouldWaitForTheRetrievalOfAQueryThatIsNotDirect() {
        try (TopologyTestDriver driver = driver(config("a"))) {
            write(driver, Topics.QUERIES, retrieval().getQuery(), NOW);
            assertThat(log.read(driver, Topics.DECISIONS)).isEmpty();

            write(driver, Topics.RETRIEVALS, retrieval(), NOW + 10);
            assertThat(log.read(driver, Topics.DECISIONS)).hasSize(1);
        }
    }

    @Test
    void shouldRepeatTheDecisionAndNotTheWorkWhileAWorkerHoldsIt() {
        try (TopologyTestDriver driver = driver(config("a"))) {
            write(driver, Topics.RETRIEVALS, retrieval(), NOW);
            write(driver, Topics.RETRIEVALS, retrieval(), NOW + 10);
            assertThat(log.read(driver, Topics.dispatch("a")))
                    .as("no lease says that the work is on its topic")
                    .hasSize(2);

            write(driver, Topics.COMPLETIONS, completion("started").build(), NOW + 20);
            write(driver, Topics.RETRIEVALS, retrieval(), NOW + 30);

            assertThat(log.read(driver, Topics.dispatch("a"))).isEmpty();
            assertThat(log.read(driver, Topics.DECISIONS))
                    .hasSize(3)
                    .allSatisfy(decision -> assertThat(decision.getAttempt()).isEqualTo(1));
        }
    }

    /** The lease of one attempt says nothing about the next one's work. */
    @Test
    void shouldRepeatTheWorkOfTheNextAttempt() {
        try (TopologyTestDriver driver = driver(config("a"))) {
            write(driver, Topics.RETRIEVALS, retrieval(), NOW);
            write(driver, Topics.COMPLETIONS, completion("started").build(), NOW + 20);
            Failure failure = Failure.newBuilder().setReason("backend_error").build();
            write(
                    driver,
                    Topics.COMPLETIONS,
                    completion("failed").setFailure(failure).build(),
                    NOW + 30);
            write(driver, Topics.RETRIEVALS, retrieval(), NOW + 40);

            assertThat(log.read(driver, Topics.dispatch(Topics.BUILTIN)))
                    .hasSize(2)
                    .allMatch(work -> work.getAttempt() == 2);
        }
    }

    @Test
    void shouldDecideAnewWhenTheBackendIsNoLongerConfigured() {
        try (TopologyTestDriver before = driver(config("a"));
                TopologyTestDriver after = driver(config("b"))) {
            write(before, Topics.RETRIEVALS, retrieval(), NOW);
            after.<String, RoutingState>getKeyValueStore(RoutingTopology.OPEN_STORE)
                    .put(id, state(before));

            write(after, Topics.RETRIEVALS, retrieval(), NOW + 10);

            Decision decision = log.read(after, Topics.DECISIONS).getFirst();
            assertThat(decision.getAttempt()).isEqualTo(2);
            assertThat(decision.getBackend()).isEqualTo("b");
            assertThat(decision.getInputs().getAttempts().getFirst().getReason())
                    .isEqualTo("backend_unreachable");
            assertThat(log.read(after, Topics.dispatch("b"))).hasSize(1);
        }
    }

    @Test
    void shouldRejectWhenTheBackendIsNoLongerConfiguredAndNothingElseIs() {
        try (TopologyTestDriver before = driver(config("a"));
                TopologyTestDriver after = driver(config())) {
            write(before, Topics.RETRIEVALS, retrieval(), NOW);
            after.<String, RoutingState>getKeyValueStore(RoutingTopology.OPEN_STORE)
                    .put(id, state(before));

            write(after, Topics.RETRIEVALS, retrieval(), NOW + 10);

            assertThat(log.read(after, Topics.dispatch(Topics.BUILTIN)))
                    .singleElement()
                    .satisfies(work -> assertThat(work.getFailure().getReason()).isEqualTo("backend_unreachable"));
        }
    }

    private RoutingState state(TopologyTestDriver driver) {
        return driver.<String, RoutingState>getKeyValueStore(RoutingTopology.OPEN_STORE)
                .get(id);
    }
}
