package io.millrace.learners.sources;

import io.millrace.learners.sources.ConnectApi.ConnectException;
import io.millrace.learners.sources.ConnectApi.Status;
import io.millrace.log.LogSettings;
import java.net.URI;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.LongSupplier;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** What Kafka Connect runs of the sources, and what it says of them. For one thread, but for {@link #sync}. */
final class Connectors implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(Connectors.class);
    private static final long LOOK_NANOS = TimeUnit.SECONDS.toNanos(1);
    private static final long RETRY_NANOS = TimeUnit.SECONDS.toNanos(10);

    private final ConnectWorker worker;
    private final LogSettings log;
    private final Sources sources;
    private final LongSupplier nanos;
    private final ConnectApi connect = new ConnectApi();

    private final Set<String> toSync = ConcurrentHashMap.newKeySet();
    /** Sources whose restart Connect refused. */
    private final Set<String> unsynced = new HashSet<>();

    private final Map<String, Map<String, String>> configured = new HashMap<>();
    private final Map<String, String> refused = new HashMap<>();
    private final Map<String, Long> triedAt = new HashMap<>();
    private Map<String, Status> running = Map.of();
    private String error = "";
    private boolean away = true;
    /** Whether there is no worker to ask: each try would start a process of ours that dies. */
    private boolean none;

    private long lookedAt;

    /** What a connector needs to know of its source. */
    interface Sources {
        /** What stands against a source of this id, or empty. */
        String clash(String id);

        Map<String, String> config(SourceDefinition source);

        /**
         * Makes ready what the connector will write to.
         *
         * @throws IllegalStateException when it cannot be had; the message says why, for people
         */
        void prepare(SourceDefinition source) throws InterruptedException, ExecutionException, TimeoutException;
    }

    /** @param nanos a clock as {@link System#nanoTime} */
    Connectors(ConnectWorker worker, LogSettings log, Sources sources, LongSupplier nanos) {
        this.worker = worker;
        this.log = log;
        this.sources = sources;
        this.nanos = nanos;
        this.lookedAt = nanos.getAsLong() - LOOK_NANOS - 1;
    }

    /** Has a source read as soon as Connect does it. */
    void sync(String id) {
        toSync.add(id);
    }

    /** Whether Connect was given nothing. */
    boolean isEmpty() {
        return configured.isEmpty();
    }

    /** Tries again at once what was refused: the file is another. */
    void forgive() {
        refused.clear();
        triedAt.clear();
        none = false;
    }

    /**
     * Once a second, and at once when there is something to do: sees to it that Connect runs what is declared.
     *
     * @param removed sources that are declared no more
     * @return whether Connect was asked and answered
     */
    boolean look(Collection<SourceDefinition> declared, Set<String> removed)
            throws InterruptedException, ExecutionException, TimeoutException {
        toSync.retainAll(declared.stream().map(SourceDefinition::id).collect(Collectors.toSet()));
        boolean due = nanos.getAsLong() - lookedAt > (none ? RETRY_NANOS : LOOK_NANOS);
        if (!due && (none || (toSync.isEmpty() && declared.stream().noneMatch(this::isNew)))) {
            return false;
        }
        lookedAt = nanos.getAsLong();
        URI base;
        try {
            base = worker.url();
            running = connect.connectors(base);
            error = "";
            away = false;
            none = false;
        } catch (IllegalStateException | ConnectException e) {
            error = String.valueOf(e.getMessage());
            running = Map.of();
            // what is not there at all runs nothing
            away = e instanceof ConnectException;
            none = !away;
            return false;
        }
        for (SourceDefinition source : declared) {
            reconcile(base, source);
        }
        for (String id : removed) {
            forget(base, id);
        }
        return true;
    }

    private boolean isNew(SourceDefinition source) {
        return source.enabled() != configured.containsKey(source.id()) && !refused.containsKey(source.id());
    }

    private void reconcile(URI base, SourceDefinition source)
            throws InterruptedException, ExecutionException, TimeoutException {
        String id = source.id();
        Status status = of(id);
        boolean sync = toSync.remove(id);
        try {
            String clash = sources.clash(id);
            if (!clash.isEmpty()) {
                refused.put(id, clash);
                return;
            }
            if (!source.enabled()) {
                configured.remove(id);
                unsynced.remove(id);
                if (status != null) {
                    connect.delete(base, name(id));
                }
                return;
            }
            Map<String, String> wanted = sources.config(source);
            Long tried = triedAt.get(id);
            boolean late = tried == null || nanos.getAsLong() - tried > RETRY_NANOS;
            if (status == null || !wanted.equals(configured.get(id))) {
                if (refused.containsKey(id) && !late) {
                    return;
                }
                sources.prepare(source);
                triedAt.put(id, nanos.getAsLong());
                connect.put(base, name(id), wanted);
                configured.put(id, wanted);
                refused.remove(id);
                unsynced.remove(id);
            } else if (sync || (late && (unsynced.contains(id) || status.state().equals("FAILED")))) {
                restart(base, id);
            }
        } catch (ConnectException | IllegalStateException e) {
            refused.put(id, String.valueOf(e.getMessage()));
        }
    }

    /** A refusal, as of a cluster that shares out its work anew, says nothing of the source, which is read on: it is tried again. */
    private void restart(URI base, String id) throws InterruptedException {
        triedAt.put(id, nanos.getAsLong());
        try {
            connect.restart(base, name(id));
            unsynced.remove(id);
        } catch (ConnectException e) {
            LOG.warn("the connector of {} could not be restarted; tried again: {}", id, e.getMessage());
            unsynced.add(id);
        }
    }

    private void forget(URI base, String id) throws InterruptedException {
        configured.remove(id);
        unsynced.remove(id);
        try {
            if (of(id) != null) {
                connect.forget(base, name(id));
            }
        } catch (ConnectException e) {
            LOG.warn("the connector of {} could not be removed; tried again: {}", id, e.getMessage());
        }
    }

    /** The connector of a source as Connect told it last; null when it has none, or does not answer. */
    @Nullable
    Status of(String id) {
        return running.get(name(id));
    }

    /** Whether it is not known what Connect runs: it was not asked yet, or does not answer. */
    boolean isAway() {
        return away;
    }

    /** Why Connect cannot be asked, or empty. */
    String error() {
        return error;
    }

    /** Why Connect does not run a source, or empty. */
    String error(String id) {
        return error.isEmpty() ? refused.getOrDefault(id, "") : error;
    }

    private String name(String id) {
        return SourceDefinition.connector(log, id);
    }

    @Override
    public void close() {
        connect.close();
    }
}
