package io.millrace.gateway;

import com.github.benmanes.caffeine.cache.Cache;
import com.github.benmanes.caffeine.cache.Caffeine;
import io.millrace.gateway.Exchange.Sending;
import io.millrace.id.Ids;
import io.millrace.log.ClientConfig;
import io.millrace.log.Topics;
import io.millrace.log.Vocabulary.CommandKind;
import io.millrace.log.Vocabulary.CompletionKind;
import io.millrace.log.Vocabulary.FailureReason;
import io.millrace.log.Vocabulary.ReplyKind;
import io.millrace.schema.Command;
import io.millrace.schema.Completion;
import io.millrace.schema.Envelope;
import io.millrace.schema.Query;
import io.millrace.schema.Reply;
import java.time.Duration;
import java.util.HashSet;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.kafka.common.utils.Utils;

/** The queries that this gateway waits for: written to the log, found again when a reply comes, given up when none does. */
final class Exchanges {
    /** After the deadline: the ledger's own grace; a final that left in time has arrived by then. */
    static final Duration GRACE = Duration.ofSeconds(2);

    /** Ids are remembered this long past their end, since the projection may lag behind. */
    private static final Duration REMEMBERED = Duration.ofMinutes(10);

    /** Room in a record for what is added to a query: passages, context, decisions, a cached answer. */
    private static final int EVIDENCE_BYTES = 4 * 1024 * 1024;

    private static final long MOST_REMEMBERED = 50_000;

    private final Wire wire;
    private final String gatewayId;
    private final int limit;
    private final Traffic traffic;
    private final Room room;
    private final Map<String, Exchange> live = new ConcurrentHashMap<>();
    private final AtomicInteger inFlight = new AtomicInteger();
    private final Cache<String, Boolean> ended = Caffeine.newBuilder()
            .maximumSize(MOST_REMEMBERED)
            .expireAfterWrite(REMEMBERED)
            .build();

    /** Loops that were left something since they were last woken; of the tail's thread. */
    private final Set<LoopInbox> arrived = new HashSet<>();

    private volatile boolean listening;

    /** @param limit most exchanges at once */
    Exchanges(Wire wire, String gatewayId, int limit, Traffic traffic, Room room) {
        this.wire = wire;
        this.gatewayId = gatewayId;
        this.limit = limit;
        this.traffic = traffic;
        this.room = room;
        traffic.watchInFlight(inFlight);
    }

    /** From now on no reply can be missed. */
    void listening() {
        listening = true;
    }

    /** Takes nothing more, and tells those who wait that their answer will be in the log. */
    void stop() {
        listening = false;
        Problem stopping = Problem.unavailable("stopping", "the gateway stops; the interaction goes on in the log");
        live.values()
                .forEach(exchange -> exchange.inbox()
                        .execute(() -> exchange.end(new Outcome.Failed(stopping, Optional.empty(), true))));
    }

    /** Sends a query and waits for what comes; throws a 503 when too many or too large ones are waiting, or replies are not read yet. */
    Exchange open(Query query, Client client, LoopInbox inbox) {
        if (!listening) {
            traffic.refused("starting");
            throw Problem.unavailable("starting", "the gateway does not read replies yet");
        }
        Room.Share memory = take(query);
        Exchange exchange = new Exchange(query, client, inbox, this, memory);
        live.put(query.getInteractionId(), exchange);
        wire.send(
                        Topics.QUERIES,
                        query.getInteractionId(),
                        query,
                        () -> exchange.sending().compareAndSet(Sending.QUEUED, Sending.SENT))
                .whenComplete((nothing, error) -> {
                    if (error != null) {
                        refuse(exchange, error);
                    } else if (exchange.sending().compareAndSet(Sending.SENT, Sending.ACKED)) {
                        traffic.accepted(query);
                        exchange.taken().complete(null);
                        if (client.wantsAcceptance()) {
                            inbox.execute(exchange::accepted);
                        }
                    } else {
                        // its client was told that it was not accepted
                        sendCancel(query);
                    }
                });
        return exchange;
    }

    /**
     * Takes a place for a query, or for one who waits for the end of the same one; given back by {@link #giveBack}.
     *
     * @throws Problem 503 when too many or too large ones are waiting, 413 when it is too large for a record
     */
    Room.Share take(Query query) {
        if (inFlight.incrementAndGet() > limit) {
            inFlight.decrementAndGet();
            traffic.refused(FailureReason.OVERLOADED);
            throw Problem.unavailable(FailureReason.OVERLOADED, limit + " queries are in flight already");
        }
        Room.Share memory = room.share();
        try {
            memory.hold((long) query.getText().length() + query.getBody().length());
            requireFits(query);
        } catch (Problem problem) {
            giveBack(memory);
            traffic.refused(problem.code());
            throw problem;
        }
        return memory;
    }

    void giveBack(Room.Share memory) {
        memory.close();
        inFlight.decrementAndGet();
    }

    /** What retrieval and routing make of it must fit into a record too. */
    private static void requireFits(Query query) {
        long most = ClientConfig.MAX_RECORD_BYTES - EVIDENCE_BYTES;
        // a character takes three bytes at most
        if (3L * (query.getText().length() + query.getBody().length()) > most
                && (long) Utils.utf8Length(query.getText()) + Utils.utf8Length(query.getBody()) > most) {
            throw Problem.field(
                    413,
                    "too_large",
                    "body",
                    "the body and its last message must have at most " + most + " bytes together");
        }
    }

    private void refuse(Exchange exchange, Throwable error) {
        if (error instanceof CancellationException) {
            // whoever gave it up has told the client
            return;
        }
        traffic.refused("log");
        Problem problem = Acks.refusal(error);
        exchange.inbox().execute(() -> exchange.end(new Outcome.Failed(problem, Optional.empty())));
    }

    /** A reply from the log, on the tail's thread. */
    void deliver(Reply reply) {
        if (!gatewayId.equals(reply.getGatewayId())) {
            return;
        }
        Exchange exchange = live.get(reply.getInteractionId());
        if (exchange != null) {
            leave(exchange, () -> exchange.receive(reply, System.currentTimeMillis()));
        }
    }

    /** Whether a client waits for this interaction. */
    boolean awaits(String interactionId) {
        return live.containsKey(interactionId);
    }

    /** A step of an attempt, on the tail's thread: when it is an end, and the first one, its answer may now be told, and no other. */
    void completed(Completion completion) {
        if (!completion.getTerminal()) {
            return;
        }
        int answered = completion.getKind().equals(CompletionKind.ANSWERED) ? completion.getAttempt() : 0;
        Exchange exchange = live.get(completion.getInteractionId());
        if (exchange != null) {
            Optional<Reply> told = told(completion);
            leave(exchange, () -> exchange.recorded(answered, told, System.currentTimeMillis()));
        }
    }

    /** The final that an end carries; empty when it comes as a reply. */
    private static Optional<Reply> told(Completion completion) {
        return Optional.ofNullable(completion.getReply())
                .map(decided -> Reply.newBuilder(decided)
                        .setEnvelope(completion.getEnvelope())
                        .setInteractionId(completion.getInteractionId())
                        .setAttempt(completion.getAttempt())
                        .setKind(ReplyKind.FINAL)
                        .setBackend(completion.getBackend())
                        .setDeployment(completion.getDeployment())
                        .setAnswer(completion.getAnswer())
                        .build());
    }

    private void leave(Exchange exchange, Runnable task) {
        exchange.inbox().add(task);
        arrived.add(exchange.inbox());
    }

    /** All that was read is with its event loop, on the tail's thread: a final and the end it waits for wake it once. */
    void handled() {
        arrived.forEach(LoopInbox::wake);
        arrived.clear();
    }

    /** Gives up what nobody answers; called a few times a second. */
    void sweep(long now) {
        for (Exchange exchange : live.values()) {
            Sending sending = exchange.sending().get();
            boolean unsent = sending == Sending.QUEUED || sending == Sending.SENT;
            if (unsent && exchange.elapsedMs() > Acks.PATIENCE.toMillis()) {
                if (exchange.sending().compareAndSet(sending, Sending.ABANDONED)) {
                    traffic.refused("log");
                    exchange.inbox().execute(() -> exchange.end(new Outcome.Failed(Acks.logAway(), Optional.empty())));
                }
            } else if (now > exchange.query().getDeadlineAt() + GRACE.toMillis()) {
                exchange.inbox().execute(exchange::late);
            }
        }
    }

    /** Takes the client's departure, or its slowness, to the log. */
    void cancel(Exchange exchange) {
        Sending sending = exchange.sending().get();
        if (sending == Sending.QUEUED && exchange.sending().compareAndSet(Sending.QUEUED, Sending.ABANDONED)) {
            return;
        }
        sendCancel(exchange.query());
    }

    private void sendCancel(Query query) {
        traffic.cancelled();
        String id = query.getInteractionId();
        Command cancel = Command.newBuilder()
                .setEnvelope(Envelope.newBuilder(query.getEnvelope())
                        .setOccurredAt(System.currentTimeMillis())
                        .build())
                .setCommandId(Ids.next())
                .setKind(CommandKind.CANCEL)
                .setTarget(id)
                .build();
        wire.send(Topics.COMMANDS, id, cancel, () -> true);
    }

    /** Called by an exchange when it has ended. */
    void ended(Exchange exchange, Outcome outcome) {
        String id = exchange.query().getInteractionId();
        if (exchange.sending().get() != Sending.ABANDONED) {
            ended.put(id, true);
        }
        live.remove(id);
        inFlight.decrementAndGet();
        double elapsedMs = exchange.elapsedMs();
        Optional<String> streaming = exchange.streaming();
        // what the log does not take is counted as refused; what it takes later is counted by the producer's thread
        exchange.taken().thenRun(() -> traffic.ended(exchange.query(), elapsedMs, outcome, streaming));
    }

    /** Whether this gateway accepted the query not long ago. */
    boolean knows(String id) {
        return live.containsKey(id) || ended.getIfPresent(id) != null;
    }
}
