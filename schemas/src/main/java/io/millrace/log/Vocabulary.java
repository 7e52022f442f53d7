package io.millrace.log;

/**
 * The words of the growing sets on the log, once. They are strings on the wire, so that a reader of an older version passes on a
 * word it does not know.
 */
public final class Vocabulary {
    private Vocabulary() {}

    /** Values of {@code Decision.route}. */
    public static final class Route {
        public static final String LOCAL = "local";
        public static final String LOCAL_WITH_FALLBACK = "local_with_fallback";
        public static final String REMOTE = "remote";
        public static final String EXTRACTIVE = "extractive";
        public static final String EVIDENCE = "evidence";
        public static final String CACHE = "cache";
        public static final String DELIVER = "deliver";
        public static final String REJECT = "reject";

        private Route() {}
    }

    /** Values of {@code Completion.kind}. */
    public static final class CompletionKind {
        public static final String STARTED = "started";
        public static final String HEARTBEAT = "heartbeat";
        public static final String ANSWERED = "answered";
        public static final String WITHHELD = "withheld";
        public static final String FAILED = "failed";
        public static final String CANCELLED = "cancelled";
        /** Of the clock, of no interaction: whoever reads it has read what was written to this partition before. */
        public static final String WATERMARK = "watermark";

        private CompletionKind() {}
    }

    /** Values of {@code Reply.kind}. */
    public static final class ReplyKind {
        public static final String DELTA = "delta";
        public static final String FINAL = "final";
        public static final String ERROR = "error";

        private ReplyKind() {}
    }

    /** Values of {@code Interaction.outcome}. */
    public static final class Outcome {
        public static final String ANSWERED = "answered";
        public static final String FAILED = "failed";
        public static final String CANCELLED = "cancelled";

        private Outcome() {}
    }

    /** Values of {@code Failure.reason}; a decision to reject carries the same word as its reason. */
    public static final class FailureReason {
        public static final String CANCELLED = "cancelled";
        public static final String DEADLINE_EXCEEDED = "deadline_exceeded";
        public static final String RETRIEVAL_TIMEOUT = "retrieval_timeout";
        public static final String ROUTING_TIMEOUT = "routing_timeout";
        public static final String DISPATCH_TIMEOUT = "dispatch_timeout";
        public static final String WORKER_LOST = "worker_lost";
        public static final String OVERLOADED = "overloaded";
        public static final String EGRESS_DENIED = "egress_denied";
        public static final String BACKEND_ERROR = "backend_error";
        public static final String BACKEND_REJECTED = "backend_rejected";
        public static final String BACKEND_UNREACHABLE = "backend_unreachable";
        public static final String BACKEND_TIMEOUT = "backend_timeout";
        public static final String BACKEND_GARBAGE = "backend_garbage";
        public static final String CIRCUIT_OPEN = "circuit_open";
        public static final String STREAM_BROKEN = "stream_broken";
        public static final String LOCAL_UNHEALTHY = "local_unhealthy";
        public static final String CONTENT_SENT = "content_sent";

        private FailureReason() {}
    }

    /** Values of {@code Command.kind}. */
    public static final class CommandKind {
        public static final String CANCEL = "cancel";
        public static final String APPROVE = "approve";
        public static final String REJECT = "reject";
        public static final String SET = "set";
        public static final String FORGET = "forget";
        public static final String SYNC = "sync";

        private CommandKind() {}
    }
}
