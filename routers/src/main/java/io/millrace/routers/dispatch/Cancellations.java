package io.millrace.routers.dispatch;

import io.millrace.log.Log;
import io.millrace.log.LogRecord;
import io.millrace.log.LogTail;
import io.millrace.log.Topics;
import io.millrace.log.Vocabulary.CommandKind;
import io.millrace.schema.Command;
import io.millrace.service.Service;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.Consumer;

/** Tells the dispatch workers of this process which interactions were cancelled. */
public final class Cancellations implements Service {
    private final LogTail<Command> tail;
    private final List<Consumer<String>> listeners = new CopyOnWriteArrayList<>();

    public Cancellations(Log log) {
        this.tail = new LogTail<>("cancellations", Topics.COMMANDS, LogTail.From.END, log, this::onCommand);
    }

    void listen(Consumer<String> listener) {
        listeners.add(listener);
    }

    private void onCommand(LogRecord<Command> record) {
        Command command = record.value();
        if (command != null && command.getKind().equals(CommandKind.CANCEL)) {
            listeners.forEach(listener -> listener.accept(record.key()));
        }
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
