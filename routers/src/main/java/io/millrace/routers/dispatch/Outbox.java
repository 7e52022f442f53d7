package io.millrace.routers.dispatch;

import io.millrace.log.Log;
import io.millrace.log.Topics;
import io.millrace.schema.Completion;
import io.millrace.schema.Reply;
import java.util.concurrent.CompletableFuture;

/** The two ways out of an attempt. Futures complete when the log has the record; what is sent later arrives later. */
interface Outbox {
    /** What the log learns of the attempt. */
    CompletableFuture<?> complete(Completion completion);

    /** What the client's gateway gets, on the partition that it reads. */
    Ready reply(int partition, Reply reply);

    /** A record that is encoded. */
    @FunctionalInterface
    interface Ready {
        /** Sends it; to be called once. */
        CompletableFuture<?> send();
    }

    /** The outbox that writes to this log. */
    static Outbox to(Log log) {
        return new Outbox() {
            @Override
            public CompletableFuture<?> complete(Completion completion) {
                return log.producer().send(Topics.COMPLETIONS, completion.getInteractionId(), completion);
            }

            @Override
            public Ready reply(int partition, Reply reply) {
                return log.producer().ready(Topics.REPLIES, partition, reply.getInteractionId(), reply)::get;
            }
        };
    }
}
