package io.millrace.routers.dispatch;

import static org.assertj.core.api.Assertions.assertThat;
import static org.awaitility.Awaitility.await;

import io.github.resilience4j.circuitbreaker.CircuitBreaker;
import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import io.millrace.config.MillraceConfig;
import io.millrace.log.Vocabulary.CompletionKind;
import io.millrace.log.Vocabulary.FailureReason;
import io.millrace.log.Vocabulary.ReplyKind;
import io.millrace.log.Vocabulary.Route;
import io.millrace.routers.backend.ChatModel;
import io.millrace.routers.dispatch.Execution.Abort;
import io.millrace.routers.testing.Samples;
import io.millrace.routers.testing.StubModel;
import io.millrace.routers.testing.StubModel.Mode;
import io.millrace.schema.Answer;
import io.millrace.schema.Completion;
import io.millrace.schema.Dispatch;
import io.millrace.schema.Failure;
import io.millrace.schema.Query;
import io.millrace.schema.Reply;
import io.vertx.core.json.JsonArray;
import io.vertx.core.json.JsonObject;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

class ExecutionTest {
    private final StubModel stub = new StubModel();
    private final ChatModel model = new ChatModel();
    private final FakeOutbox out = new FakeOutbox();
    private final SimpleMeterRegistry metrics = new SimpleMeterRegistry();
    private final List<String> cached = new ArrayList<>();
    private final ScheduledExecutorService timers = Executors.newScheduledThreadPool(2);
    private Lease lease = taken(CompletableFuture.completedFuture(null));
    private Attempts attempts = attempts(Samples.local(stub.url()));

    @AfterEach
    void stop() {
        timers.shutdownNow();
        model.close();
        stub.close();
    }

    private Attempts attempts(MillraceConfig config) {
        return new Attempts(
                out,
                metrics,
                config,
                config.backends().values().stream()
                        .flatMap(backend -> backend.deployments().stream())
                        .toList(),
                "worker-1",
                model,
                Optional.empty(),
                (dispatch, answer) -> cached.add(answer.getText()),
                timers);
    }

    private static Lease taken(CompletableFuture<?> started) {
        Lease lease = new Lease(() -> started);
        lease.take();
        return lease;
    }

    private Execution start(Dispatch dispatch) {
        Execution execution = new Execution(attempts, dispatch, false, lease);
        timers.scheduleAtFixedRate(execution::heartbeat, 200, 200, TimeUnit.MILLISECONDS);
        timers.scheduleAtFixedRate(execution::checkLease, 100, 100, TimeUnit.MILLISECONDS);
        return execution;
    }

    private void run(Dispatch dispatch) {
        start(dispatch).run();
    }

    private static Query.Builder streaming() {
        return Samples.query().setStream(true);
    }

    // ---- answers

    @Test
    void shouldSendTheUpstreamBodyTokensAndCostWhenAskedWhole() {
        attempts = attempts(Samples.paid(stub.url()));

        run(Samples.dispatch(Samples.query().build()).build());

        Completion end = out.end();
        assertThat(end.getKind()).isEqualTo(CompletionKind.ANSWERED);
        assertThat(end.getTerminal()).isTrue();
        assertThat(end.getWorkerId()).isEqualTo("worker-1");
        Answer answer = Objects.requireNonNull(end.getAnswer());
        assertThat(answer.getTokensIn()).isEqualTo(10);
        assertThat(answer.getTokensOut()).isEqualTo(20);
        assertThat(answer.getTokensEstimated()).isFalse();
        assertThat(answer.getCostUsd()).isEqualTo(50e-6);
        assertThat(out.kinds()).containsExactly(ReplyKind.FINAL);
        Reply reply = out.replies.getFirst();
        assertThat(new JsonObject(Objects.requireNonNull(reply.getAnswer()).getBody()).getString("model"))
                .isEqualTo("stub");
        assertThat(reply.getSequence()).isZero();
        assertThat(stub.keys()).containsExactly("Bearer k-1");
        // our name of the model is not the server's; what we do not know goes through
        assertThat(stub.seen().getFirst().getString("model")).isEqualTo("big");
        assertThat(stub.seen().getFirst().getInteger("seed")).isEqualTo(7);
        assertThat(stub.seen().getFirst().getBoolean("stream")).isFalse();
    }

    @Test
    void shouldTellAWholeAnswerByItsEndWhereTheGatewayReadsIt() {
        Query.Builder query = Samples.query().setToldByEnd(true);
        run(Samples.dispatch(query.build())
                .setReason("confidence_high")
                .setConfidence(0.7)
                .setConfidenceKind("prior")
                .build());

        assertThat(out.replies).isEmpty();
        Completion end = out.end();
        assertThat(Objects.requireNonNull(end.getAnswer()).getBody()).isNotEmpty();
        Reply told = Objects.requireNonNull(end.getReply());
        assertThat(told.getRoute()).isEqualTo(Route.LOCAL);
        assertThat(told.getReason()).isEqualTo("confidence_high");
        assertThat(told.getConfidence()).isEqualTo(0.7);
        assertThat(told.getConfidenceKind()).isEqualTo("prior");
        assertThat(told.getAnswer()).as("it stands beside it").isNull();
    }

    /** Some servers send every field that they know; one without anything in it is no call. */
    @Test
    void shouldWithholdWhenAnEmptyCallIsAllThatComes() {
        stub.mode(Mode.EMPTY_CALL);

        run(Samples.dispatch(streaming().build()).setQualityBar(0.8).build());

        assertThat(out.end().getKind()).isEqualTo(CompletionKind.WITHHELD);
        assertThat(out.end().getQualityReasons()).contains("empty");
    }

    /** Pieces and passages are not on the record of the end. */
    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void shouldSendAFinalWhereItSaysMoreThanTheEnd(boolean stream) {
        Query.Builder query = Samples.query().setToldByEnd(true).setStream(stream);
        run(Samples.dispatch(query.build())
                .setHits(stream ? List.of() : List.of(Samples.hit("a.md", "some text")))
                .build());

        assertThat(out.end().getReply()).isNull();
        assertThat(out.kinds()).endsWith(ReplyKind.FINAL);
    }

    /** Or a repeat of the query elsewhere, which has the record only, would lose it. */
    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void shouldRecordTheWholeMessageWhenItHoldsMoreThanItsText(boolean stream) {
        Dispatch work =
                Samples.dispatch(Samples.query().setStream(stream).build()).build();
        run(work);
        stub.mode(Mode.THINKING);
        run(work);

        List<String> messages = out.completions.stream()
                .filter(completion -> completion.getKind().equals(CompletionKind.ANSWERED))
                .map(completion ->
                        Objects.requireNonNull(completion.getAnswer()).getMessage())
                .toList();
        assertThat(messages).hasSize(2);
        assertThat(messages.getFirst()).isEmpty();
        assertThat(new JsonObject(messages.getLast()).getString("reasoning_content"))
                .isEqualTo("hm, hm");
    }

    /** It counted as no answer at all, and was paid for a second time. */
    @Test
    void shouldTakeACallOfTheOlderKindForAnAnswerWhenStreaming() {
        stub.mode(Mode.FUNCTION_CALL);

        run(Samples.dispatch(streaming().build()).setQualityBar(0.8).build());

        assertThat(out.end().getKind()).isEqualTo(CompletionKind.ANSWERED);
        JsonObject call = new JsonObject(
                        Objects.requireNonNull(out.end().getAnswer()).getMessage())
                .getJsonObject("function_call");
        assertThat(call.getString("name")).isEqualTo("weather");
        assertThat(call.getString("arguments")).isEqualTo("{}");
    }

    /** A client saw nothing of the one from the moment that the other had ended, and the record had that one's reason. */
    @Test
    void shouldPassOneChoiceOnWhenAnotherHasEnded() {
        stub.mode(Mode.TWO_CHOICES);
        stub.text("The mill turns.");
        Query query = streaming()
                .setBody("{\"n\":2,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}")
                .build();

        run(Samples.dispatch(query).build());

        assertThat(out.kinds())
                .containsExactly(
                        ReplyKind.DELTA,
                        ReplyKind.DELTA,
                        ReplyKind.DELTA,
                        ReplyKind.DELTA,
                        ReplyKind.DELTA,
                        ReplyKind.DELTA,
                        ReplyKind.FINAL);
        Answer answer = Objects.requireNonNull(out.end().getAnswer());
        assertThat(answer.getText()).isEqualTo("The mill turns.");
        assertThat(answer.getFinishReason()).isEqualTo("stop");
    }

    /** Its client had all of an answer, and the log could still say that there was none. */
    @Test
    void shouldHoldTheFinishBackWhenTheServerKnowsOneChoiceOnly() {
        stub.text("The mill turns.");
        Query query = streaming()
                .setBody("{\"n\":2,\"stream_options\":{\"include_usage\":true},"
                        + "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}")
                .build();

        run(Samples.dispatch(query).build());

        // three words and what is behind the last, the finish, and the usage
        assertThat(out.data()).hasSize(6);
        assertThat(out.data().get(4)).contains("\"finish_reason\":\"stop\"");
        assertThat(out.data().get(5)).contains("\"usage\"");
        assertThat(out.events.subList(out.events.indexOf("ack answered"), out.events.size()))
                .containsExactly("ack answered", ReplyKind.DELTA, ReplyKind.FINAL);
    }

    @Test
    void shouldEstimateTokensAndSaySoWhenTheServerTellsNone() {
        stub.mode(Mode.NO_USAGE);

        run(Samples.dispatch(Samples.query().build()).build());

        Answer answer = Objects.requireNonNull(out.end().getAnswer());
        assertThat(answer.getTokensEstimated()).isTrue();
        assertThat(answer.getTokensOut()).isEqualTo(12);
        assertThat(answer.getTokensIn()).isBetween(10, 20);
    }

    @Test
    void shouldSendTheFinalRightBehindItsEndWhenTheLogIsSlow() {
        out.lateEnds = true;

        run(Samples.dispatch(Samples.query().build()).build());

        // the gateway holds it back until it has read the end
        assertThat(out.events).containsSubsequence("answered", "final", "ack answered");
    }

    @Test
    void shouldPassDeltasVerbatimAndTellTheLogFirstWhenStreaming() {
        out.ackDelay = Duration.ofMillis(50);
        out.lateEnds = true;
        stub.text("The mill");

        run(Samples.dispatch(streaming().build()).build());

        assertThat(out.events)
                .containsExactly(
                        "content", "ack content", "delta", "delta", "delta", "answered", "final", "ack answered");
        // the chunk with the finish reason is in the final, and nobody asked for usage
        assertThat(out.data())
                .containsExactly(
                        StubModel.chunk(new JsonObject().put("role", "assistant"), null),
                        StubModel.chunk(new JsonObject().put("content", "The "), null),
                        StubModel.chunk(new JsonObject().put("content", "mill"), null),
                        StubModel.chunk(new JsonObject(), "stop"));
        assertThat(out.replies.stream().map(Reply::getSequence)).containsExactly(0, 1, 2, 3);
        Completion end = out.end();
        assertThat(end.getContentSent()).isTrue();
        assertThat(end.getFirstTokenMs()).isNotNull().isPositive();
        Answer answer = Objects.requireNonNull(end.getAnswer());
        assertThat(answer.getText()).isEqualTo("The mill");
        assertThat(answer.getTokensOut()).isEqualTo(20);
        assertThat(answer.getTokensEstimated()).isFalse();
    }

    @Test
    void shouldForwardUsageWhenTheClientAskedForIt() {
        Query query = streaming()
                .setBody("{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],"
                        + "\"stream_options\":{\"include_usage\":true}}")
                .build();

        run(Samples.dispatch(query).build());

        assertThat(out.data()).filteredOn(data -> data.contains("\"usage\"")).hasSize(1);
        assertThat(out.data().getLast()).contains("\"prompt_tokens\":10");
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void shouldRecordTheWholeToolCallWhenTheModelMakesOne(boolean stream) {
        stub.mode(Mode.TOOL_CALL);

        run(Samples.dispatch(Samples.query().setStream(stream).build()).build());

        Answer answer = Objects.requireNonNull(out.end().getAnswer());
        assertThat(answer.getFinishReason()).isEqualTo("tool_calls");
        JsonObject call =
                new JsonObject(answer.getMessage()).getJsonArray("tool_calls").getJsonObject(0);
        assertThat(call.getString("id")).isEqualTo("c1");
        assertThat(call.getJsonObject("function").getString("name")).isEqualTo("weather");
        assertThat(call.getJsonObject("function").getString("arguments")).isEqualTo("{\"city\":\"Ulm\"}");
    }

    @Test
    void shouldPutContextIntoTheFirstSystemMessageWhenThereIsSome() {
        Query query = Samples.query()
                .setBody("{\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},"
                        + "{\"role\":\"user\",\"content\":\"Where?\"}]}")
                .build();

        run(Samples.dispatch(query).setContext("[1] mill.md: by the river").build());
        run(Samples.dispatch(Samples.query().build())
                .setContext("[1] mill.md: by the river")
                .build());

        JsonArray merged = stub.seen().get(0).getJsonArray("messages");
        assertThat(merged.size()).isEqualTo(2);
        assertThat(merged.getJsonObject(0).getString("content"))
                .startsWith("Be brief.")
                .endsWith("[1] mill.md: by the river");
        JsonArray inserted = stub.seen().get(1).getJsonArray("messages");
        assertThat(inserted.size()).isEqualTo(2);
        assertThat(inserted.getJsonObject(0).getString("role")).isEqualTo("system");
        assertThat(out.replies).isNotEmpty().allMatch(Reply::getContextAdded);
    }

    @Test
    void shouldOfferGoodAnswersToTheCacheWhenTheQueryAllowsIt() {
        run(Samples.dispatch(Samples.query().setCache(true).build()).build());
        run(Samples.dispatch(Samples.query().build()).build());
        stub.text("I don't know.");
        run(Samples.dispatch(Samples.query().setCache(true).build()).build());

        assertThat(cached).containsExactly("The mill stands by the river and grinds all day.");
    }

    // ---- failures

    @ParameterizedTest
    @CsvSource({
        "ERROR_500,            backend_error,     502, 0,    true",
        "RATE_LIMITED,         overloaded,        503, 7000, true",
        "UNPAID,               backend_rejected,  502, 0,    true",
        "UNAUTHORIZED,         backend_rejected,  502, 0,    true",
        "BAD_REQUEST,          backend_rejected,  422, 0,    false",
        "GARBAGE,              backend_garbage,   502, 0,    true",
        "ERROR_IN_200,         backend_error,     502, 0,    true",
        "REDIRECT,             backend_rejected,  502, 0,    true",
    })
    void shouldNameTheFailureAndLeaveTheRestToRoutingWhenNothingWasSent(
            Mode mode, String reason, int status, long retryAfter, boolean retryable) {
        stub.mode(mode);

        run(Samples.dispatch(Samples.query().build()).build());
        run(Samples.dispatch(streaming().build()).build());

        assertThat(out.completions).hasSize(2).allSatisfy(end -> {
            assertThat(end.getKind()).isEqualTo(CompletionKind.FAILED);
            assertThat(end.getTerminal()).isFalse();
            assertThat(end.getContentSent()).isFalse();
            Failure failure = Objects.requireNonNull(end.getFailure());
            assertThat(failure.getReason()).isEqualTo(reason);
            assertThat(failure.getHttpStatus()).isEqualTo(status);
            assertThat(failure.getRetryAfterMs()).isEqualTo(retryAfter);
            assertThat(failure.getRetryable()).isEqualTo(retryable);
        });
        assertThat(out.replies).isEmpty();
        assertThat(stub.seen()).hasSize(2);
    }

    @Test
    void shouldSayGarbageWhenTheLogCouldNotTakeTheAnswer() {
        // twice that in its record: as text, and in the body that it came in
        stub.text("x".repeat(15 * 1024 * 1024));

        run(Samples.dispatch(Samples.query().build()).build());

        assertFailed(FailureReason.BACKEND_GARBAGE, true);
    }

    @Test
    void shouldQuoteTheServerWhenItRefusesTheRequest() {
        stub.mode(Mode.BAD_REQUEST);

        run(Samples.dispatch(Samples.query().build()).build());

        assertThat(Objects.requireNonNull(out.end().getFailure()).getMessage()).contains("messages: too many");
    }

    @Test
    void shouldSayUnreachableWhenNobodyListens() {
        stub.close();

        run(Samples.dispatch(Samples.query().build()).build());

        assertFailed(FailureReason.BACKEND_UNREACHABLE, true);
    }

    @Test
    void shouldSayTimeoutWhenTheDeploymentIsTooSlow() {
        stub.mode(Mode.SLOW);
        attempts = attempts(Samples.config(Samples.backend(
                "local",
                MillraceConfig.Locality.LOCAL,
                MillraceConfig.Kind.LLAMA_CPP,
                Samples.deployment("one", stub.url(), 0, 1, Duration.ofMillis(1_500)))));

        run(Samples.dispatch(Samples.query().build()).build());

        assertFailed(FailureReason.BACKEND_TIMEOUT, true);
        await().until(() -> stub.aborted() == 1);
    }

    @ParameterizedTest
    @ValueSource(strings = {"RESET_BEFORE_CONTENT", "GARBAGE_CHUNK", "ONLY_DONE"})
    void shouldLetRoutingTryAgainWhenAStreamBreaksBeforeContent(Mode mode) {
        stub.mode(mode);

        run(Samples.dispatch(streaming().build()).build());

        assertFailed(
                mode == Mode.RESET_BEFORE_CONTENT ? FailureReason.STREAM_BROKEN : FailureReason.BACKEND_GARBAGE, true);
    }

    @Test
    void shouldAnswerWhenAServerLeavesTheStreamOpenAfterItsFinish() {
        stub.mode(Mode.HANG_AFTER_FINISH);
        stub.text("The whole answer.");

        run(Samples.dispatch(streaming().build()).build());

        Completion end = out.end();
        assertThat(end.getKind()).isEqualTo(CompletionKind.ANSWERED);
        assertThat(Objects.requireNonNull(end.getAnswer()).getText()).isEqualTo("The whole answer.");
        assertThat(out.kinds()).endsWith(ReplyKind.FINAL);
        await().until(() -> stub.aborted() == 1);
    }

    @ParameterizedTest
    @ValueSource(strings = {"RESET_MID_STREAM", "NO_FINISH"})
    void shouldEndTheInteractionWhenAStreamBreaksAfterContent(Mode mode) {
        stub.mode(mode);

        run(Samples.dispatch(streaming().build()).build());

        Completion end = out.end();
        assertThat(end.getKind()).isEqualTo(CompletionKind.FAILED);
        assertThat(end.getTerminal()).isTrue();
        assertThat(end.getContentSent()).isTrue();
        assertThat(out.kinds()).startsWith(ReplyKind.DELTA).endsWith(ReplyKind.ERROR);
        assertThat(Objects.requireNonNull(out.replies.getLast().getFailure()).getReason())
                .isEqualTo(FailureReason.STREAM_BROKEN);
        assertThat(out.events).containsSubsequence("failed", "ack failed", "error");
    }

    @Test
    void shouldStopAskingWhenADeploymentFailsAgainAndAgain() {
        stub.mode(Mode.ERROR_500);
        IntStream.range(0, 5)
                .forEach(i -> run(Samples.dispatch(Samples.query().build()).build()));

        assertThat(stub.seen()).hasSize(3);
        List<Failure> ends = out.completions.stream()
                .filter(each -> each.getKind().equals(CompletionKind.FAILED))
                .map(end -> Objects.requireNonNull(end.getFailure()))
                .toList();
        assertThat(ends.stream().map(Failure::getReason))
                .containsExactly(
                        FailureReason.BACKEND_ERROR,
                        FailureReason.BACKEND_ERROR,
                        FailureReason.BACKEND_ERROR,
                        FailureReason.CIRCUIT_OPEN,
                        FailureReason.CIRCUIT_OPEN);
        assertThat(attempts.openCircuits()).containsEntry("one", "circuit open");
        assertThat(ends.getLast().getRetryAfterMs()).as("what is left of 30 s").isBetween(15_000L, 30_000L);
    }

    @ParameterizedTest
    @ValueSource(strings = {"BAD_REQUEST", "RATE_LIMITED"})
    void shouldKeepTheCircuitClosedWhenTheDeploymentIsNotToBlame(Mode mode) {
        stub.mode(mode);

        IntStream.range(0, 5)
                .forEach(i -> run(Samples.dispatch(Samples.query().build()).build()));

        assertThat(stub.seen()).hasSize(5);
        assertThat(attempts.openCircuits()).isEmpty();
    }

    @Test
    void shouldProbeAgainWhenTheProbeFailedInTheWorker() {
        CircuitBreaker circuit =
                attempts.circuit(attempts.config().deployment("one").orElseThrow());
        circuit.transitionToOpenState();
        circuit.transitionToHalfOpenState();
        // no gateway lets it through: it stands for any error of ours while the only permission is taken
        run(Samples.dispatch(streaming()
                        .setBody("{\"messages\":[],\"stream_options\":\"x\"}")
                        .build())
                .build());
        assertFailed(FailureReason.BACKEND_ERROR, true);

        run(Samples.dispatch(Samples.query().build()).build());

        assertThat(out.completions.getLast().getKind()).isEqualTo(CompletionKind.ANSWERED);
        assertThat(attempts.openCircuits()).isEmpty();
    }

    @Test
    void shouldSayOverloadedAndWhenToComeBackWhenThereIsNoRoom() {
        new Execution(attempts, Samples.dispatch(Samples.query().build()).build(), true, lease).run();

        assertFailed(FailureReason.OVERLOADED, true);
        assertThat(Objects.requireNonNull(out.end().getFailure()).getRetryAfterMs())
                .isPositive();
        assertThat(stub.seen()).isEmpty();
    }

    @ParameterizedTest
    @EnumSource(
            value = Mode.class,
            names = {"OK", "BAD_REQUEST"})
    void shouldTellNobodyWhenTheLeaseCannotBeWritten(Mode mode) {
        stub.mode(mode);
        lease = taken(CompletableFuture.failedFuture(new java.io.IOException("no broker")));

        run(Samples.dispatch(Samples.query().build()).build());
        run(Samples.dispatch(streaming().build()).build());

        // asked, since that is cheap to do again; the record goes back and another worker ends the attempt
        assertThat(stub.seen()).hasSize(2);
        assertThat(out.completions).isEmpty();
        assertThat(out.replies).isEmpty();
    }

    @Test
    void shouldAskBeforeTheLeaseIsThereAndAnswerAfterIt() throws Exception {
        CompletableFuture<Void> written = new CompletableFuture<>();
        lease = taken(written);
        Thread attempt = Thread.startVirtualThread(
                () -> run(Samples.dispatch(streaming().build()).build()));
        await().until(() -> stub.seen().size() == 1);
        Thread.sleep(100);
        assertThat(out.replies).isEmpty();

        written.complete(null);

        attempt.join();
        assertThat(out.end().getKind()).isEqualTo(CompletionKind.ANSWERED);
        assertThat(out.kinds()).endsWith(ReplyKind.FINAL);
    }

    @Test
    void shouldNotStartOnTheLogWhatEndsFirst() throws Exception {
        out.lateEnds = true;
        lease = new Lease(() -> {
            throw new AssertionError("it has ended");
        });

        run(Samples.dispatch(Samples.query().build()).build());
        lease.hold(System.nanoTime());

        // the record may be accepted when the log has the end
        lease.take().get();
        assertThat(out.events).containsExactly("answered", "final", "ack answered");
    }

    @Test
    void shouldStartOnTheLogBeforeContentLeaves() throws Exception {
        lease = new Lease(() -> {
            out.events.add("started");
            return CompletableFuture.completedFuture(null);
        });

        run(Samples.dispatch(streaming().build()).build());

        assertThat(out.events).startsWith("started", "content");
        assertThat(out.kinds()).endsWith(ReplyKind.FINAL);
    }

    @Test
    void shouldFailTheLeaseWithTheEndThatCouldNotBeWritten() throws Exception {
        out.broken = true;
        lease = new Lease(() -> {
            throw new AssertionError("it has ended");
        });

        run(Samples.dispatch(Samples.query().build()).build());

        assertThat(lease.take()).isCompletedExceptionally();
        assertThat(out.completions).hasSize(1);
    }

    private void assertFailed(String reason, boolean retryable) {
        Completion end = out.end();
        assertThat(end.getKind()).isEqualTo(CompletionKind.FAILED);
        assertThat(end.getTerminal()).isFalse();
        Failure failure = Objects.requireNonNull(end.getFailure());
        assertThat(failure.getReason()).isEqualTo(reason);
        assertThat(failure.getRetryable()).isEqualTo(retryable);
        assertThat(out.replies).isEmpty();
    }

    // ---- loading and slots

    @Test
    void shouldWaitWhenTheModelIsLoading() {
        stub.mode(Mode.LOADING);
        timers.schedule(() -> stub.mode(Mode.OK), 600, TimeUnit.MILLISECONDS);

        run(Samples.dispatch(Samples.query().build()).build());

        assertThat(out.end().getKind()).isEqualTo(CompletionKind.ANSWERED);
        assertThat(out.renewals).isNotEmpty();
        assertThat(attempts.openCircuits()).isEmpty();
    }

    @Test
    void shouldGiveUpAtTheDeadlineWhenTheModelLoadsForEver() {
        stub.mode(Mode.LOADING);

        run(Samples.dispatch(Samples.query()
                        .setDeadlineAt(System.currentTimeMillis() + 700)
                        .build())
                .build());

        assertFailed(FailureReason.DEADLINE_EXCEEDED, false);
    }

    @Test
    void shouldAskNoMoreAtOnceThanTheDeploymentHasSlots() throws InterruptedException {
        stub.mode(Mode.SLOW);
        List<Execution> executions = IntStream.range(0, 4)
                .mapToObj(i -> start(Samples.dispatch(Samples.query().build()).build()))
                .toList();
        executions.forEach(execution -> Thread.ofVirtual().start(execution::run));

        await().until(() -> stub.seen().size() == 2);
        Thread.sleep(200);
        assertThat(stub.seen()).hasSize(2);

        executions.forEach(execution -> execution.abort(Abort.CANCELLED));
        await().until(() -> stub.aborted() == 2);
        await().until(() -> out.completions.stream()
                        .filter(end -> end.getKind().equals(CompletionKind.CANCELLED))
                        .count()
                == 4);
    }

    // ---- deadline, lease, cancel

    @Test
    void shouldSendNothingOfAJudgedStreamWhenTheDeadlinePassesBeforeTheAcknowledgement() {
        out.ackDelay = Duration.ofSeconds(2);

        run(Samples.dispatch(streaming()
                        .setDeadlineAt(System.currentTimeMillis() + 1_500)
                        .build())
                .setQualityBar(0.8)
                .build());

        assertThat(out.end().getKind()).isEqualTo(CompletionKind.ANSWERED);
        assertThat(out.replies).isEmpty();
    }

    @Test
    void shouldFailAndAbortUpstreamWhenTheDeadlinePasses() {
        stub.mode(Mode.SLOW);

        run(Samples.dispatch(Samples.query()
                        .setDeadlineAt(System.currentTimeMillis() + 1_500)
                        .build())
                .build());

        assertFailed(FailureReason.DEADLINE_EXCEEDED, false);
        await().until(() -> stub.aborted() == 1);
    }

    @Test
    void shouldTellTheClientWhenTheDeadlinePassesAfterContent() {
        stub.mode(Mode.HANG_MID_STREAM);

        run(Samples.dispatch(streaming()
                        .setDeadlineAt(System.currentTimeMillis() + 2_000)
                        .build())
                .build());

        assertThat(out.end().getTerminal()).isTrue();
        assertThat(Objects.requireNonNull(out.end().getFailure()).getReason())
                .isEqualTo(FailureReason.DEADLINE_EXCEEDED);
        assertThat(out.kinds()).endsWith(ReplyKind.ERROR);
        await().until(() -> stub.aborted() == 1);
    }

    @Test
    void shouldRenewTheLeaseWhileItWorks() throws InterruptedException {
        stub.mode(Mode.SLOW);
        Execution execution = start(Samples.dispatch(Samples.query().build()).build());
        Thread attempt = Thread.ofVirtual().start(execution::run);

        // for longer than a lease that is not renewed
        Thread.sleep(Execution.LEASE.plusMillis(500));
        assertThat(attempt.isAlive()).isTrue();
        assertThat(out.renewals).hasSizeGreaterThan(1);

        execution.abort(Abort.CANCELLED);
        attempt.join();
        assertThat(out.end().getKind()).isEqualTo(CompletionKind.CANCELLED);
    }

    /** Between the two a gateway would read of an attempt that nobody had begun. */
    @Test
    void shouldNotRenewALeaseThatIsNotOnTheLogYet() {
        lease = new Lease(() -> CompletableFuture.completedFuture(true));
        Execution execution = new Execution(
                attempts, Samples.dispatch(Samples.query().build()).build(), false, lease);

        execution.heartbeat();
        assertThat(out.renewals).isEmpty();

        lease.take();
        execution.heartbeat();
        assertThat(out.renewals).hasSize(1);
    }

    /** The alarm and the call's own timeout go off at nearly the same time; the query's bound says nothing of the deployment. */
    @Test
    void shouldSayDeadlineWhenTheCallIsBrokenOffByItBeforeTheAlarm() {
        stub.mode(Mode.SLOW);
        for (int i = 0; i < 2; i++) {
            timers.execute(() -> {
                try {
                    Thread.sleep(Duration.ofMinutes(1));
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                }
            });
        }
        for (int i = 0; i < 3; i++) {
            out.completions.clear();
            run(Samples.dispatch(Samples.query()
                            .setDeadlineAt(System.currentTimeMillis() + 300)
                            .build())
                    .build());
            assertFailed(FailureReason.DEADLINE_EXCEEDED, false);
        }
        assertThat(attempts.openCircuits()).isEmpty();
    }

    @Test
    void shouldGiveUpInSilenceWhenTheLogDoesNotAnswer() {
        stub.mode(Mode.SLOW);
        out.acknowledged = completion -> false;
        long began = System.nanoTime();

        run(Samples.dispatch(Samples.query().build()).build());

        assertThat(Duration.ofNanos(System.nanoTime() - began))
                .isBetween(Duration.ofMillis(3_400), Duration.ofSeconds(9));
        // routing has given the work to somebody else: whatever this attempt said would be a second voice
        assertThat(out.renewals).isNotEmpty();
        assertThat(out.completions).isEmpty();
        assertThat(out.replies).isEmpty();
        await().until(() -> stub.aborted() == 1);
    }

    /** As after SIGSTOP and SIGCONT: no timer went off, and the heartbeat comes to be before the check. */
    @Test
    void shouldNotRenewALeaseThatIsLost() throws InterruptedException {
        stub.mode(Mode.SLOW);
        Execution execution = new Execution(
                attempts, Samples.dispatch(Samples.query().build()).build(), false, lease);
        Thread attempt = Thread.ofVirtual().start(execution::run);
        await().until(() -> !stub.seen().isEmpty());
        Thread.sleep(Execution.LEASE.plusMillis(50));

        execution.heartbeat();

        assertThat(attempt.join(Duration.ofSeconds(5))).isTrue();
        assertThat(out.events).isEmpty();
        assertThat(out.renewals).isEmpty();
        await().until(() -> stub.aborted() == 1);
    }

    /** The model's answer was in the socket when the process came to itself, and is read before any timer goes off. */
    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void shouldSayNothingMoreInAnAttemptWhoseLeaseIsLost(boolean stream) throws InterruptedException {
        Dispatch work =
                Samples.dispatch(Samples.query().setStream(stream).build()).build();
        Execution execution = new Execution(attempts, work, false, lease);
        Thread.sleep(Execution.LEASE.plusMillis(50));

        execution.run();

        assertThat(out.events).isEmpty();
        assertThat(out.replies).isEmpty();
        assertThat(stub.seen()).hasSize(1);
    }

    @Test
    void shouldSendNoContentWhenTheLogDoesNotKnowOfItFirst() {
        out.acknowledged = completion -> !completion.getContentSent();

        run(Samples.dispatch(streaming().build()).build());

        assertThat(out.replies).isEmpty();
        assertThat(out.events).contains("content").doesNotContain("answered", "failed");
    }

    @ParameterizedTest
    @ValueSource(strings = {"SLOW", "HANG_MID_STREAM"})
    void shouldAbortUpstreamAndSendNothingWhenCancelled(Mode mode) {
        stub.mode(mode);
        Execution execution = start(Samples.dispatch(streaming().build()).build());
        Thread.ofVirtual().start(() -> {
            await().until(() ->
                    mode == Mode.SLOW ? stub.seen().size() == 1 : out.kinds().contains(ReplyKind.DELTA));
            execution.abort(Abort.CANCELLED);
        });

        execution.run();

        assertThat(out.end().getKind()).isEqualTo(CompletionKind.CANCELLED);
        assertThat(out.end().getTerminal()).isTrue();
        assertThat(out.kinds()).doesNotContain(ReplyKind.FINAL, ReplyKind.ERROR);
        await().until(() -> stub.aborted() == 1);
    }

    @Test
    void shouldNotAskWhenCancelledBeforeItBegan() {
        Execution execution = start(Samples.dispatch(Samples.query().build()).build());
        execution.abort(Abort.CANCELLED);

        execution.run();

        assertThat(out.end().getKind()).isEqualTo(CompletionKind.CANCELLED);
        assertThat(stub.seen()).isEmpty();
    }

    @Test
    void shouldEndOnceWhenCancelledWhileTheAnswerIsBeingRecorded() {
        out.ackDelay = Duration.ofMillis(500);
        Execution execution = start(Samples.dispatch(Samples.query().build()).build());
        Thread.ofVirtual().start(() -> {
            await().until(() -> out.events.contains("answered"));
            execution.abort(Abort.CANCELLED);
        });

        execution.run();

        assertThat(out.end().getKind()).isEqualTo(CompletionKind.ANSWERED);
        assertThat(out.kinds()).containsExactly(ReplyKind.FINAL);
    }

    @Test
    void shouldHandTheWorkBackAtOnceWhenTheWorkerStops() {
        stub.mode(Mode.SLOW);
        Execution execution = start(Samples.dispatch(Samples.query().build()).build());
        timers.schedule(() -> execution.abort(Abort.STOPPING), 300, TimeUnit.MILLISECONDS);

        execution.run();

        assertFailed(FailureReason.WORKER_LOST, true);
    }

    // ---- judged

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void shouldWithholdWhenTheAnswerIsBelowTheBar(boolean stream) {
        stub.text("I'm sorry, I do not know where the mill might be.");

        run(Samples.dispatch(Samples.query().setStream(stream).build())
                .setQualityBar(0.8)
                .build());

        Completion end = out.end();
        assertThat(end.getKind()).isEqualTo(CompletionKind.WITHHELD);
        assertThat(end.getTerminal()).isFalse();
        assertThat(end.getQuality()).isEqualTo(0.5);
        assertThat(end.getQualityReasons()).containsExactly("refusal");
        assertThat(Objects.requireNonNull(end.getAnswer()).getText()).startsWith("I'm sorry");
        assertThat(out.replies).isEmpty();
    }

    @Test
    void shouldWithholdWhenAThinkingModelSaysNothing() {
        stub.mode(Mode.EMPTY_THINKING);

        run(Samples.dispatch(Samples.query().build()).setQualityBar(0.8).build());

        assertThat(out.end().getKind()).isEqualTo(CompletionKind.WITHHELD);
        assertThat(out.end().getQualityReasons()).containsExactly("empty");
    }

    @Test
    void shouldSendWhatItHeldBackVerbatimWhenTheAnswerIsGood() {
        run(Samples.dispatch(streaming().build()).setQualityBar(0.8).build());

        assertThat(out.end().getKind()).isEqualTo(CompletionKind.ANSWERED);
        assertThat(out.end().getQuality()).isEqualTo(1.0);
        assertThat(out.events).containsSubsequence("ack answered", "delta", "final");
        assertThat(out.events).doesNotContain("content");
        assertThat(out.data())
                .contains(StubModel.chunk(new JsonObject().put("content", "river "), null))
                .endsWith(StubModel.chunk(new JsonObject(), "stop"));
        assertThat(out.replies.stream().map(Reply::getSequence))
                .containsExactlyElementsOf(
                        IntStream.range(0, out.replies.size()).boxed().toList());
    }

    // ---- built in

    @Test
    void shouldAnswerFromThePassagesAndSayThatItIsAnExtract() {
        run(Samples.builtin(streaming().build(), Route.EXTRACTIVE)
                .setReason("no_model_configured")
                .setHits(List.of(Samples.hit("mill.md", "The mill is by the river.")))
                .build());

        String text = Objects.requireNonNull(out.end().getAnswer()).getText();
        assertThat(text).startsWith("From the knowledge, without a model").contains("mill.md", "by the river");
        assertThat(out.kinds()).containsExactly(ReplyKind.DELTA, ReplyKind.FINAL);
        JsonObject chunk = new JsonObject(out.data().getFirst());
        assertThat(chunk.getString("id")).isEqualTo("chatcmpl-" + out.end().getInteractionId());
        assertThat(chunk.getString("object")).isEqualTo("chat.completion.chunk");
        assertThat(chunk.getJsonArray("choices")
                        .getJsonObject(0)
                        .getJsonObject("delta")
                        .getString("content"))
                .isEqualTo(text);
        assertThat(new JsonObject(out.data().getLast())
                        .getJsonArray("choices")
                        .getJsonObject(0)
                        .getString("finish_reason"))
                .isEqualTo("stop");
        assertThat(out.replies.getLast().getHits()).hasSize(1);
    }

    @Test
    void shouldSayThatNothingMatchesWhenThereAreNoPassages() {
        run(Samples.builtin(Samples.query().build(), Route.EXTRACTIVE)
                .setReason("no_model_configured")
                .build());

        assertThat(Objects.requireNonNull(out.end().getAnswer()).getText())
                .startsWith("Nothing in the knowledge matches")
                .contains("no model is configured");
    }

    @Test
    void shouldDeliverAWithheldToolCallAsChunksWhenStreaming() {
        Answer withheld = Answer.newBuilder()
                .setModel("stub")
                .setFinishReason("tool_calls")
                .setMessage("{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"c1\"}]}")
                .build();

        run(Samples.builtin(streaming().build(), Route.DELIVER)
                .setAnswer(withheld)
                .build());

        JsonObject delta = new JsonObject(out.data().getFirst())
                .getJsonArray("choices")
                .getJsonObject(0)
                .getJsonObject("delta");
        assertThat(delta.getJsonArray("tool_calls").getJsonObject(0).getInteger("index"))
                .isZero();
        assertThat(delta.getJsonArray("tool_calls").getJsonObject(0).getString("id"))
                .isEqualTo("c1");
    }

    @Test
    void shouldEndItsOwnStreamWithUsageWhenTheClientAskedForIt() {
        Query query = streaming()
                .setBody("{\"messages\":[],\"stream_options\":{\"include_usage\":true}}")
                .build();

        run(Samples.builtin(query, Route.CACHE)
                .setAnswer(Answer.newBuilder()
                        .setText("by the river")
                        .setTokensIn(7)
                        .setTokensOut(3)
                        .build())
                .build());

        assertThat(out.kinds()).containsExactly(ReplyKind.DELTA, ReplyKind.DELTA, ReplyKind.FINAL);
        assertThat(out.data()).filteredOn(data -> data.contains("\"usage\"")).hasSize(1);
        JsonObject last = new JsonObject(out.data().getLast());
        assertThat(last.getJsonArray("choices")).isEmpty();
        assertThat(last.getJsonObject("usage"))
                .isEqualTo(new JsonObject()
                        .put("prompt_tokens", 7)
                        .put("completion_tokens", 3)
                        .put("total_tokens", 10));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "{\"messages\":[]}",
                "{\"messages\":[],\"stream_options\":{\"include_usage\":false}}",
                "{\"messages\":[],\"stream_options\":null}"
            })
    void shouldEndItsOwnStreamWithTheReasonWhenNobodyAskedForUsage(String body) {
        run(Samples.builtin(streaming().setBody(body).build(), Route.CACHE)
                .setAnswer(Answer.newBuilder().setText("by the river").build())
                .build());

        assertThat(out.data()).hasSize(2).last().asString().contains("\"finish_reason\":\"stop\"");
    }

    @Test
    void shouldTellTheClientWhyEvenAfterTheDeadlineWhenRejected() {
        // a deadline alarm here would turn the refusal into a failure to refuse, and routing would refuse again for
        // ever
        run(Samples.builtin(
                        Samples.query()
                                .setDeadlineAt(System.currentTimeMillis() - 100)
                                .build(),
                        Route.REJECT)
                .setFailure(Failure.newBuilder()
                        .setReason(FailureReason.DEADLINE_EXCEEDED)
                        .setHttpStatus(504)
                        .build())
                .build());

        assertThat(out.end().getKind()).isEqualTo(CompletionKind.FAILED);
        assertThat(out.end().getTerminal()).isTrue();
        assertThat(out.kinds()).containsExactly(ReplyKind.ERROR);
        assertThat(Objects.requireNonNull(out.replies.getFirst().getFailure()).getHttpStatus())
                .isEqualTo(504);
    }

    // ---- paid

    @Test
    void shouldCallAndCountItWhenThereIsNobodyToClaimFrom() {
        attempts = attempts(Samples.paid(stub.url()));

        run(Samples.dispatch(Samples.query().build()).build());

        assertThat(out.end().getUnclaimed()).isTrue();
        assertThat(metrics.counter("millrace.dispatch.unclaimed").count()).isEqualTo(1);
    }
}
