package io.millrace.sinks.index;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import io.millrace.knowledge.QdrantDouble;
import io.millrace.knowledge.QdrantIndex;
import io.millrace.knowledge.Vectors;
import io.millrace.log.Log;
import io.millrace.log.LogTail;
import io.millrace.log.TopicAdmin;
import io.millrace.log.Topics;
import io.millrace.schema.DeadLetter;
import io.millrace.schema.Passage;
import io.millrace.sinks.testing.TestBroker;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Against a real broker and the double of a Qdrant server. */
class IndexProjectionTest {
    private static final String MODEL = "test:1";
    private static final Duration SOON = Duration.ofSeconds(30);

    /** More than the index holds back: with fewer, nothing is asked of the server for a passage. */
    private static final int MANY = 700;

    private final Log log = TestBroker.log();
    private final List<DeadLetter> buried = new CopyOnWriteArrayList<>();
    private final LogTail<DeadLetter> deadLetters = new LogTail<>(
            "test", Topics.DEAD_LETTERS, LogTail.From.BEGINNING, log, letter -> buried.add(letter.required()));

    @BeforeEach
    void start() {
        new TopicAdmin(log.settings()).createAndVerify(List.of(Topics.PASSAGES));
        deadLetters.start();
    }

    @AfterEach
    void stop() {
        deadLetters.close();
        log.producer().close();
    }

    /** Each further passage became a dead letter, while the projection called itself up to date. */
    @Test
    void shouldKeepEveryPassageWhenTheServerIsAwayForAWhile() throws Exception {
        try (QdrantDouble server = new QdrantDouble();
                IndexProjection projection = new IndexProjection(log, open(server), MODEL, Duration.ofMinutes(1))) {
            projection.start();
            send(0, 10);
            await().atMost(SOON).until(() -> count(server) == 10 && projection.isReady());
            assertThat(projection.details()).isEmpty();

            server.away = true;
            send(10, MANY);
            await().atMost(SOON).until(() -> !projection.details().isEmpty());
            assertThat(projection.details().get("writing to the vector index")).contains("away");
            // longer than it waits between two tries
            Thread.sleep(1_500);
            assertThat(projection.isReady()).isTrue();
            assertThat(log.metrics()
                            .get("millrace.projection.lag")
                            .tag("projection", "index")
                            .gauge()
                            .value())
                    .isGreaterThan(1);
            assertThat(projection.progress()).isLessThan(MANY);
            assertThat(buried).isEmpty();

            server.away = false;
            await().atMost(SOON)
                    .until(() -> count(server) == MANY && projection.details().isEmpty());
            assertThat(projection.progress()).isEqualTo(MANY);
            // and what no index would take is still told from a server that is away
            log.producer()
                    .sendRaw(Topics.PASSAGES, new byte[] {'k'}, new byte[] {1, 2, 3})
                    .join();
            await().atMost(SOON).until(() -> buried.size() == 1);
        }
    }

    private static QdrantIndex open(QdrantDouble server) {
        return QdrantIndex.open(
                new QdrantIndex.Server("127.0.0.1", server.port(), false, "", "t-", Duration.ofSeconds(5)),
                List.of("best-practices"),
                4,
                MODEL);
    }

    private static long count(QdrantDouble server) {
        return server.collections.getOrDefault("t-best-practices", Map.of()).size();
    }

    private void send(int from, int to) {
        CompletableFuture.allOf(IntStream.range(from, to)
                        .mapToObj(i -> Passage.newBuilder()
                                .setEmbeddingModel(MODEL)
                                .setPassageId(String.format(Locale.ROOT, "%032x", i))
                                .setDocumentId("d" + i)
                                .setCollection("best-practices")
                                .setText("sluice " + i)
                                .setVector(Vectors.toBytes(new float[] {1, 0, 0, 0}))
                                .build())
                        .map(passage -> log.producer().send(Topics.PASSAGES, passage.getPassageId(), passage))
                        .toArray(CompletableFuture<?>[]::new))
                .join();
    }
}
