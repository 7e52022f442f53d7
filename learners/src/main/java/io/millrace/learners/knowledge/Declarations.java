package io.millrace.learners.knowledge;

import io.millrace.log.Log;
import io.millrace.log.LogRecord;
import io.millrace.log.LogTail;
import io.millrace.log.LogWorker.RetryLaterException;
import io.millrace.log.Topics;
import io.millrace.schema.SourceStatus;
import java.time.Duration;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeoutException;
import org.jspecify.annotations.Nullable;

/**
 * Which sources there are, and by which definition each is read, as {@code source-status} says. Connect cancels a task that does not
 * stop within five seconds, and the task may write when its source is removed, or removed and added again: a record that is not of the
 * definition on the log is late, and must not become a document that nobody would ever delete.
 *
 * <p>A status is on the log before its reader starts, so whoever looks like a stranger is looked up again at the end of the topic, once.
 */
final class Declarations implements AutoCloseable {
    private static final Duration PATIENCE = Duration.ofSeconds(10);

    private final Map<String, SourceStatus> declared = new ConcurrentHashMap<>();
    /** Definitions that were looked up and are not the one on the log, by source; until its status changes. */
    private final Map<String, Set<String>> strangers = new ConcurrentHashMap<>();

    private final LogTail<SourceStatus> tail;

    Declarations(Log log) {
        this.tail = new LogTail<>("declarations", Topics.SOURCE_STATUS, LogTail.From.BEGINNING, log, this::read);
    }

    private void read(LogRecord<SourceStatus> record) {
        SourceStatus status = record.value();
        if (status == null) {
            declared.remove(record.key());
        } else {
            declared.put(record.key(), status);
        }
        strangers.remove(record.key());
    }

    void start() {
        tail.start();
    }

    /** Whether documents of this name are a source's and not a client's. */
    boolean isDeclared(String source) throws InterruptedException {
        await();
        if (!isOwned(declared.get(source))) {
            return false;
        }
        // it may be gone by now, and the name a client's
        catchUp();
        return isOwned(declared.get(source));
    }

    /** Whether a record of this source and definition is to be taken. */
    boolean isCurrent(String source, String definition) throws InterruptedException {
        await();
        if (isTaken(declared.get(source), definition)) {
            return true;
        }
        if (strangers.getOrDefault(source, Set.of()).contains(definition)) {
            return false;
        }
        catchUp();
        if (isTaken(declared.get(source), definition)) {
            return true;
        }
        strangers.computeIfAbsent(source, id -> ConcurrentHashMap.newKeySet()).add(definition);
        return false;
    }

    private static boolean isOwned(@Nullable SourceStatus status) {
        return status != null && status.getAddedAt() > 0;
    }

    /** Statuses and records of before there were definitions have none. */
    private static boolean isTaken(@Nullable SourceStatus status, String definition) {
        return status != null
                && status.getAddedAt() > 0
                && !status.getState().equals("removing")
                && (definition.isEmpty()
                        || status.getDefinition().isEmpty()
                        || status.getDefinition().equals(definition));
    }

    private void await() throws InterruptedException {
        try {
            tail.caughtUp().get();
        } catch (ExecutionException e) {
            throw new IllegalStateException("the sources cannot be read", e.getCause());
        }
    }

    /** Returns when all that was said of sources until now is known here. */
    void catchUp() throws InterruptedException {
        try {
            tail.awaitEnd(PATIENCE);
        } catch (TimeoutException e) {
            throw new RetryLaterException(String.valueOf(e.getMessage()), e);
        }
    }

    @Override
    public void close() {
        tail.close();
    }
}
