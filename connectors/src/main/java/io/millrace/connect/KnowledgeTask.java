package io.millrace.connect;

import io.millrace.connect.Scan.ScanException;
import io.millrace.connect.Scan.Step;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.function.LongSupplier;
import org.apache.kafka.connect.source.SourceRecord;
import org.apache.kafka.connect.source.SourceTask;
import org.apache.kafka.connect.storage.OffsetStorageReader;
import org.jspecify.annotations.Nullable;

/**
 * Scans a source when it is due and sends what changed, then a report. A scan that fails is reported and tried again, later each time
 * up to a minute or the schedule, whichever is longer: a task never dies of its source.
 *
 * <p>Records are JSON objects without a schema, told apart by {@code type}: {@code document}, {@code deleted}, {@code manifest} (all
 * paths there are; what is not among them is gone) and {@code report}. Each says by which definition of its source it was made: Connect
 * cancels a task that does not stop in time, and what such a task still writes must be known for what it is.
 */
public abstract class KnowledgeTask extends SourceTask {
    private static final int BATCH_RECORDS = 100;
    private static final int BATCH_CHARS = 4 << 20;
    private static final long BATCH_NANOS = 500_000_000L;
    private static final long IDLE_MS = 200;
    private static final long FIRST_RETRY_MS = 1_000;
    private static final long LAST_RETRY_MS = 60_000;
    private static final int REPORTED_SKIPS = 50;

    /** Bytes of the paths of one manifest, which is a record of 32 MiB at most: a quarter is left for what JSON escapes. */
    private static final long MANIFEST_BYTES = 24 << 20;

    private @Nullable SourceSettings settings;
    private @Nullable Scan scan;
    private final LongSupplier clock;
    private Pass pass = new Pass(0);
    private long dueAt;
    private long waitMs;
    private long retryMs = FIRST_RETRY_MS;
    private volatile boolean stopped;

    KnowledgeTask() {
        this(System::currentTimeMillis);
    }

    /** @param clock epoch milliseconds */
    KnowledgeTask(LongSupplier clock) {
        this.clock = clock;
    }

    /** What one scan did. */
    private static final class Pass {
        private final long startedAt;
        private final Map<String, String> skips = new LinkedHashMap<>();
        private int skipped;
        private int sent;
        private int deleted;
        private int told = -1;

        private Pass(long startedAt) {
            this.startedAt = startedAt;
        }

        private void skip(String path, String reason) {
            skipped++;
            if (skips.size() < REPORTED_SKIPS) {
                skips.put(path, reason);
            }
        }
    }

    /** Begins a pass. */
    abstract Scan scan(SourceSettings settings, OffsetStorageReader offsets) throws ScanException;

    @Override
    public String version() {
        return "1";
    }

    @Override
    public void start(Map<String, String> values) {
        settings = new SourceSettings(values);
    }

    @Override
    @SuppressWarnings("NullAway") // Connect's contract: null is nothing to send
    public @Nullable List<SourceRecord> poll() throws InterruptedException {
        SourceSettings known = settings;
        if (known == null || stopped) {
            return null;
        }
        long wait = dueAt - clock.getAsLong();
        // more than was to be waited for: the clock was set back, by years perhaps
        if (scan == null && wait > 0 && wait <= waitMs) {
            Thread.sleep(Math.min(IDLE_MS, wait));
            return null;
        }
        List<SourceRecord> batch = new ArrayList<>();
        try {
            Scan running = scan;
            if (running == null) {
                pass = new Pass(clock.getAsLong());
                batch.add(report(known, "scanning", 0, "", mark(known)));
                running = scan(known, context.offsetStorageReader());
                scan = running;
                return batch;
            }
            fill(known, running, batch);
        } catch (ScanException e) {
            failed(known, batch, String.valueOf(e.getMessage()));
        } catch (RuntimeException e) {
            failed(known, batch, e.toString());
        }
        return batch.isEmpty() ? null : batch;
    }

    private void fill(SourceSettings known, Scan running, List<SourceRecord> batch) throws ScanException {
        long until = System.nanoTime() + BATCH_NANOS;
        long chars = 0;
        while (!stopped && batch.size() < BATCH_RECORDS && chars < BATCH_CHARS && System.nanoTime() < until) {
            Optional<Step> step = running.next();
            if (step.isEmpty()) {
                finish(known, running, batch);
                return;
            }
            switch (step.get()) {
                case Step.Found found -> {
                    batch.add(record(known, found.path(), found.document(), found.partition(), found.offset()));
                    chars += size(found.document());
                    pass.sent++;
                }
                case Step.Gone gone -> {
                    batch.add(record(
                            known,
                            gone.path(),
                            Map.of("type", "deleted", "path", gone.path()),
                            gone.partition(),
                            gone.offset()));
                    pass.deleted++;
                }
                case Step.Skipped skipped -> pass.skip(skipped.path(), skipped.reason());
                case Step.Unchanged unchanged -> {}
            }
        }
        if (running.found() != pass.told) {
            pass.told = running.found();
            batch.add(report(known, "scanning", running.found(), "", mark(known)));
        }
    }

    private void finish(SourceSettings known, Scan running, List<SourceRecord> batch) throws ScanException {
        Optional<Iterable<String>> paths = running.everything();
        if (paths.isPresent()) {
            batch.add(record(
                    known,
                    "$manifest",
                    Map.of("type", "manifest", "paths", manifest(paths.get())),
                    partition(known),
                    mark(known)));
        }
        batch.add(report(known, "done", running.found(), "", running.mark()));
        running.close();
        scan = null;
        retryMs = FIRST_RETRY_MS;
        waitFor(known.scheduleMs());
    }

    /** @throws ScanException when they are too many for one record */
    static List<String> manifest(Iterable<String> paths) throws ScanException {
        List<String> all = new ArrayList<>();
        long bytes = 0;
        for (String path : paths) {
            all.add(path);
            // two quotes and a comma
            bytes += path.getBytes(StandardCharsets.UTF_8).length + 3;
        }
        if (bytes > MANIFEST_BYTES) {
            // a record that is too large would end the task, which would be begun again for ever
            throw new ScanException("the paths of " + all.size() + " documents take " + bytes + " bytes, more than the "
                    + MANIFEST_BYTES + " of one list: lower max_documents, or divide the source by fetch");
        }
        return all;
    }

    private void failed(SourceSettings known, List<SourceRecord> batch, String reason) {
        Scan running = scan;
        int found = running == null ? 0 : running.found();
        if (running != null) {
            running.close();
        }
        scan = null;
        waitFor(retryMs);
        retryMs = Math.min(2 * retryMs, Math.max(LAST_RETRY_MS, known.scheduleMs()));
        batch.add(report(known, "failed", found, reason, mark(known)));
    }

    private void waitFor(long millis) {
        waitMs = millis;
        dueAt = clock.getAsLong() + millis;
    }

    /** The offset of the last whole pass, so that a report of an unfinished one does not move it. */
    Map<String, Object> mark(SourceSettings known) {
        Map<String, Object> last = context.offsetStorageReader().offset(partition(known));
        return last == null ? Map.of("definition", "") : last;
    }

    static Map<String, Object> partition(SourceSettings settings) {
        return Map.of("source", settings.source());
    }

    /**
     * Sorted: Connect knows an offset by the JSON of its partition, byte by byte, and {@link Map#of} has another order in each process.
     */
    static Map<String, Object> partition(SourceSettings settings, String path) {
        return new TreeMap<>(Map.of("source", settings.source(), "path", path));
    }

    private SourceRecord report(SourceSettings known, String state, int found, String error, Map<String, Object> mark) {
        Map<String, Object> report = new LinkedHashMap<>();
        report.put("type", "report");
        report.put("state", state);
        report.put("error", error);
        report.put("found", found);
        report.put("sent", pass.sent);
        report.put("deleted", pass.deleted);
        report.put("skipped", pass.skipped);
        report.put("skips", new LinkedHashMap<>(pass.skips));
        report.put("started_at", pass.startedAt);
        report.put("ended_at", state.equals("scanning") ? 0L : clock.getAsLong());
        report.put("next_at", state.equals("scanning") ? 0L : dueAt(state, known));
        return record(known, "$report", report, partition(known), mark);
    }

    private long dueAt(String state, SourceSettings known) {
        return state.equals("done") ? clock.getAsLong() + known.scheduleMs() : dueAt;
    }

    private static SourceRecord record(
            SourceSettings known,
            String key,
            Map<String, Object> value,
            Map<String, Object> partition,
            Map<String, Object> offset) {
        Map<String, Object> stamped = new LinkedHashMap<>(value);
        stamped.put(SourceSettings.DEFINITION, known.definition());
        return new SourceRecord(partition, offset, known.topic(), null, null, key, null, stamped);
    }

    private static long size(Map<String, Object> document) {
        Object text = document.getOrDefault("content", document.getOrDefault("content_base64", ""));
        return text.toString().length();
    }

    @Override
    public void stop() {
        stopped = true;
    }
}
