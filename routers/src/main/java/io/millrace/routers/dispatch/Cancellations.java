package io.millrace.routers.dispatch;

import io.millrace.log.Log;
import io.millrace.log.LogRecord;
import io.millrace.log.LogTail;
import io.millrace.log.Topics;
import io.millrace.log.Vocabulary.CommandKind;
import io.millrace.schema.Command;
import io.millrace.service.Service;
import java.util.Iterator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.Consumer;

/** Tells the dispatch workers of this process which interactions were cancelled. One tail for all of them. */
public final class Cancellations implements Service {
    /** A cancel may overtake the work that it is about by the time that work waits in its topic; 10,000 ids are about 1 MB. */
    private static final int REMEMBERED = 10_000;

    private final LogTail<Command> tail;
    private final List<Consumer<String>> listeners = new CopyOnWriteArrayList<>();
    private final Set<String> recent = new LinkedHashSet<>();

    public Cancellations(Log log) {
        this.tail = new LogTail<>("cancellations", Topics.COMMANDS, LogTail.From.END, log, this::onCommand);
    }

    void listen(Consumer<String> listener) {
        listeners.add(listener);
    }

    /** Whether a cancel came lately. Remembered before listeners are told: who registers work first and asks then misses none. */
    boolean isCancelled(String interactionId) {
        synchronized (recent) {
            return recent.contains(interactionId);
        }
    }

    private void onCommand(LogRecord<Command> record) {
        Command command = record.value();
        if (command == null || !command.getKind().equals(CommandKind.CANCEL)) {
            return;
        }
        synchronized (recent) {
            recent.add(record.key());
            if (recent.size() > REMEMBERED) {
                Iterator<String> oldest = recent.iterator();
                oldest.next();
                oldest.remove();
            }
        }
        listeners.forEach(listener -> listener.accept(record.key()));
    }

    @Override
    public String name() {
        return "cancellations";
    }

    @Override
    public void start() {
        tail.start();
    }

    @Override
    public boolean isReady() {
        return tail.caughtUp().isDone() && !tail.caughtUp().isCompletedExceptionally();
    }

    @Override
    public void close() {
        tail.close();
    }
}
