package io.millrace.routers.dispatch;

import io.millrace.schema.Answer;
import io.millrace.schema.Dispatch;

/**
 * Where good answers to queries that allow caching go: the response cache. Called after the client has its final, on the attempt's
 * virtual thread; may block, and what it throws is logged and harms nobody.
 */
@FunctionalInterface
public interface AnswerSink {
    /** Keeps nothing. */
    AnswerSink NONE = (dispatch, answer) -> {};

    void put(Dispatch dispatch, Answer answer);
}
