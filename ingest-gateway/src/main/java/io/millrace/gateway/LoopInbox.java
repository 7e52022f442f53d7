package io.millrace.gateway;

import io.vertx.core.Context;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicBoolean;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Hands work to one event loop. What arrives while the loop has not yet looked costs no further wake-up, so that a batch of replies
 * from one poll is one task and not many.
 */
final class LoopInbox {
    private static final Logger LOG = LoggerFactory.getLogger(LoopInbox.class);

    private final Context context;
    private final Queue<Runnable> tasks = new ConcurrentLinkedQueue<>();
    private final AtomicBoolean scheduled = new AtomicBoolean();

    LoopInbox(Context context) {
        this.context = context;
    }

    void execute(Runnable task) {
        add(task);
        wake();
    }

    /** Leaves a task for the loop; whoever adds it wakes the loop when there is no more to come. */
    void add(Runnable task) {
        tasks.add(task);
    }

    void wake() {
        if (scheduled.compareAndSet(false, true)) {
            context.runOnContext(nothing -> drain());
        }
    }

    private void drain() {
        // before the first poll: a task added after the last one schedules anew
        scheduled.set(false);
        for (Runnable task = tasks.poll(); task != null; task = tasks.poll()) {
            try {
                task.run();
            } catch (RuntimeException e) {
                // one exchange's defect must not swallow the replies behind it
                LOG.error("a task on an event loop failed", e);
            }
        }
    }
}
