package io.millrace.routers.dispatch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import io.millrace.config.MillraceConfig;
import io.millrace.log.ClientConfig;
import io.millrace.log.Log;
import io.millrace.log.LogTail;
import io.millrace.log.Topic;
import io.millrace.log.Topics;
import io.millrace.log.Vocabulary.CommandKind;
import io.millrace.log.Vocabulary.CompletionKind;
import io.millrace.log.Vocabulary.FailureReason;
import io.millrace.log.Vocabulary.ReplyKind;
import io.millrace.routers.testing.Samples;
import io.millrace.routers.testing.StubModel;
import io.millrace.routers.testing.StubModel.Mode;
import io.millrace.routers.testing.TestBroker;
import io.millrace.schema.Command;
import io.millrace.schema.Completion;
import io.millrace.schema.DeadLetter;
import io.millrace.schema.Dispatch;
import io.millrace.schema.Query;
import io.millrace.schema.Reply;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.stream.IntStream;
import org.apache.avro.specific.SpecificRecord;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** The worker on a real broker: what a share group does is the part that no fake can tell. */
class DispatchWorkerTest {
    private static final Topic<Dispatch> WORK = Topics.dispatch("local");
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    private final StubModel stub = new StubModel();
    private final MillraceConfig config = Samples.local(stub.url());
    private final Log log = TestBroker.log("local");
    private final List<Completion> completions = new CopyOnWriteArrayList<>();
    private final List<Reply> replies = new CopyOnWriteArrayList<>();
    private final List<DeadLetter> letters = new CopyOnWriteArrayList<>();
    private final Cancellations cancellations = new Cancellations(log);
    private final List<LogTail<?>> tails = List.of(
            tail(Topics.COMPLETIONS, completions), tail(Topics.REPLIES, replies), tail(Topics.DEAD_LETTERS, letters));
    private DispatchWorker worker = worker();

    private <V extends SpecificRecord> LogTail<V> tail(Topic<V> topic, List<V> into) {
        return new LogTail<>("test", topic, LogTail.From.BEGINNING, log, record -> into.add(record.required()));
    }

    private DispatchWorker worker() {
        return new DispatchWorker(log, config, "local", cancellations, Optional.empty());
    }

    @BeforeEach
    void start() {
        tails.forEach(LogTail::start);
        cancellations.start();
        worker.start();
    }

    @AfterEach
    void stop() {
        worker.close();
        cancellations.close();
        tails.forEach(LogTail::close);
        log.producer().close();
        stub.close();
    }

    private Dispatch work(Query.Builder query) {
        Dispatch dispatch = Samples.dispatch(query.build()).build();
        log.producer().send(WORK, dispatch.getInteractionId(), dispatch).join();
        return dispatch;
    }

    private List<Completion> of(Dispatch dispatch) {
        return completions.stream()
                .filter(completion -> completion.getInteractionId().equals(dispatch.getInteractionId()))
                .toList();
    }

    private List<String> kinds(Dispatch dispatch) {
        return of(dispatch).stream().map(Completion::getKind).toList();
    }

    private void awaitEnd(Dispatch dispatch, String kind) {
        await().atMost(PATIENCE).until(() -> kinds(dispatch).contains(kind));
    }

    @Test
    void shouldWriteTheAnswerAndTheFinalWhenWorkComes() {
        Dispatch dispatch = work(Samples.query());

        await().atMost(PATIENCE).until(() -> !replies.isEmpty());
        await().atMost(PATIENCE).until(() -> kinds(dispatch).contains(CompletionKind.ANSWERED));
        // on a slow machine it may have taken so long that it was started
        assertThat(kinds(dispatch).stream().filter(kind -> !kind.equals(CompletionKind.HEARTBEAT)))
                .isIn(List.of(CompletionKind.ANSWERED), List.of(CompletionKind.STARTED, CompletionKind.ANSWERED));
        assertThat(replies).singleElement().satisfies(reply -> {
            assertThat(reply.getKind()).isEqualTo(ReplyKind.FINAL);
            assertThat(reply.getInteractionId()).isEqualTo(dispatch.getInteractionId());
            assertThat(reply.getGatewayId()).isEqualTo("gateway");
        });
        // the wait ends with the start, however long the work takes
        Completion end = of(dispatch).stream()
                .filter(completion -> completion.getKind().equals(CompletionKind.ANSWERED))
                .findFirst()
                .orElseThrow();
        assertThat(end.getTotalMs()).isPositive();
        assertThat(end.getQueuedMs() + end.getTotalMs())
                .isLessThanOrEqualTo(2.0
                        + end.getEnvelope().getOccurredAt()
                        - dispatch.getEnvelope().getOccurredAt());
        assertThat(worker.isReady()).isTrue();
    }

    @Test
    void shouldDoEachOnceWhenMuchComesAtOnceAndLittleLater() {
        // batches of which some records are in work while others are acknowledged: the trap of an open record
        for (int round = 0; round < 10; round++) {
            List<Dispatch> batch =
                    IntStream.range(0, 4).mapToObj(i -> work(Samples.query())).toList();
            batch.forEach(dispatch -> awaitEnd(dispatch, CompletionKind.ANSWERED));
        }

        await().atMost(PATIENCE).until(() -> replies.size() >= 40);
        assertThat(stub.seen()).hasSize(40);
        assertThat(completions.stream()
                        .filter(completion -> completion.getKind().equals(CompletionKind.ANSWERED)))
                .hasSize(40);
    }

    @Test
    void shouldTakeNewWorkWhileOldWorkIsOpen() {
        stub.mode(Mode.SLOW);
        Dispatch slow = work(Samples.query().setDeadlineAt(System.currentTimeMillis() + 60_000));
        await().atMost(PATIENCE).until(() -> stub.seen().size() == 1);

        stub.mode(Mode.OK);
        Dispatch quick = work(Samples.query());

        awaitEnd(quick, CompletionKind.ANSWERED);
        assertThat(kinds(slow)).startsWith(CompletionKind.STARTED).doesNotContain(CompletionKind.ANSWERED);
    }

    @Test
    void shouldRefuseWhatDoesNotFitWhenTheQueueIsFull() {
        stub.mode(Mode.SLOW);
        // two slots, two places in the queue
        List<Dispatch> all = IntStream.range(0, 6)
                .mapToObj(i -> work(Samples.query().setDeadlineAt(System.currentTimeMillis() + 60_000)))
                .toList();

        await().atMost(PATIENCE)
                .until(() -> completions.stream()
                                .filter(completion -> completion.getKind().equals(CompletionKind.FAILED))
                                .count()
                        == 2);
        assertThat(completions.stream()
                        .filter(completion -> completion.getKind().equals(CompletionKind.FAILED))
                        .map(completion ->
                                Objects.requireNonNull(completion.getFailure()).getReason()))
                .containsOnly(FailureReason.OVERLOADED);
        await().atMost(PATIENCE)
                .until(() -> all.stream()
                        .filter(dispatch -> !kinds(dispatch).contains(CompletionKind.FAILED))
                        .allMatch(dispatch -> kinds(dispatch).contains(CompletionKind.STARTED)));
        await().atMost(PATIENCE).until(() -> stub.seen().size() == 2);
    }

    @Test
    void shouldBuryWhatItCannotReadAndGoOn() {
        log.producer()
                .sendRaw(WORK, "bad".getBytes(StandardCharsets.UTF_8), new byte[] {1, 2, 3})
                .join();

        awaitEnd(work(Samples.query()), CompletionKind.ANSWERED);

        await().atMost(PATIENCE).until(() -> letters.size() == 1);
        assertThat(letters.getFirst().getStep()).isEqualTo("dispatch-local");
    }

    @Test
    void shouldAbortUpstreamWhenACancelIsCommanded() {
        stub.mode(Mode.SLOW);
        await().atMost(PATIENCE).until(cancellations::isReady);
        Dispatch dispatch = work(Samples.query());
        await().atMost(PATIENCE).until(() -> stub.seen().size() == 1);

        cancel(dispatch.getInteractionId());

        awaitEnd(dispatch, CompletionKind.CANCELLED);
        await().atMost(PATIENCE).until(() -> stub.aborted() == 1);
        assertThat(replies).isEmpty();
    }

    @Test
    void shouldNotAskWhenTheCancelOvertookTheWork() {
        await().atMost(PATIENCE).until(cancellations::isReady);
        Dispatch dispatch = Samples.dispatch(Samples.query().build()).build();
        cancel(dispatch.getInteractionId());
        await().atMost(PATIENCE).until(() -> cancellations.isCancelled(dispatch.getInteractionId()));

        log.producer().send(WORK, dispatch.getInteractionId(), dispatch).join();

        awaitEnd(dispatch, CompletionKind.CANCELLED);
        assertThat(stub.seen()).isEmpty();
    }

    @Test
    void shouldHandOverWhenStoppedAndLeaveTheRestToTheNextWorker() {
        stub.mode(Mode.SLOW);
        Dispatch open = work(Samples.query());
        await().atMost(PATIENCE).until(() -> stub.seen().size() == 1);

        worker.close();

        awaitEnd(open, CompletionKind.FAILED);
        // a heartbeat that was on its way may come after the end
        assertThat(of(open))
                .filteredOn(completion -> completion.getKind().equals(CompletionKind.FAILED))
                .singleElement()
                .satisfies(end -> assertThat(
                                Objects.requireNonNull(end.getFailure()).getReason())
                        .isEqualTo(FailureReason.WORKER_LOST));
        stub.mode(Mode.OK);
        Dispatch waiting = work(Samples.query());
        worker = worker();
        worker.start();
        awaitEnd(waiting, CompletionKind.ANSWERED);
        // accepted before it was worked on: nobody does it again
        assertThat(stub.seen()).hasSize(2);
    }

    @Test
    void shouldDoWhatAnotherWorkerTookAndNeverStarted() {
        awaitEnd(work(Samples.query()), CompletionKind.ANSWERED);
        worker.close();
        Map<String, Object> settings = new HashMap<>(ClientConfig.consumer(log.settings()));
        settings.keySet().removeAll(List.of("auto.offset.reset", "enable.auto.commit", "isolation.level"));
        settings.put("group.id", log.settings().group("dispatch-local"));
        settings.put("share.acknowledgement.mode", "explicit");
        Dispatch dispatch;
        try (KafkaShareConsumer<byte[], byte[]> other = new KafkaShareConsumer<>(settings)) {
            other.subscribe(List.of(log.settings().name(WORK)));
            dispatch = work(Samples.query());
            await().atMost(PATIENCE)
                    .until(() -> other.poll(Duration.ofMillis(200)).count() == 1);
        }
        assertThat(kinds(dispatch)).isEmpty();

        worker = worker();
        worker.start();

        awaitEnd(dispatch, CompletionKind.ANSWERED);
        assertThat(stub.seen()).hasSize(2);
    }

    private void cancel(String id) {
        Command command = Command.newBuilder()
                .setCommandId("c")
                .setKind(CommandKind.CANCEL)
                .setTarget(id)
                .build();
        log.producer().send(Topics.COMMANDS, id, command).join();
    }
}
