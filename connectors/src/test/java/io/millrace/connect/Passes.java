package io.millrace.connect;

import io.millrace.connect.Scan.ScanException;
import io.millrace.connect.Scan.Step;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.function.Supplier;
import org.apache.kafka.connect.storage.OffsetStorageReader;
import org.jspecify.annotations.Nullable;

/** Passes over a source, with the offsets that Connect keeps between them and for the next process. */
final class Passes {
    /** By the text of the partition, as Connect knows them by their bytes. */
    private final Map<String, Map<String, Object>> offsets = new HashMap<>();

    private final Map<String, String> values = new HashMap<>();
    private final Supplier<KnowledgeTask> tasks;
    private KnowledgeTask task;

    Passes(Supplier<KnowledgeTask> tasks, String location) {
        this.tasks = tasks;
        this.task = tasks.get();
        set(SourceSettings.SOURCE, "s");
        set(SourceSettings.TOPIC, "raw.s");
        set(SourceSettings.LOCATION, location);
        set(SourceSettings.COLLECTION, "c");
        set(SourceSettings.DEFINITION, "1");
    }

    Passes set(String key, String value) {
        values.put(key, value);
        return this;
    }

    /** As when the worker is started again: only the offsets are left. */
    void restart() {
        task.stop();
        task = tasks.get();
    }

    /**
     * What a pass did.
     *
     * @param found content by path
     * @param skipped reason by path
     * @param everything all paths, or empty when the pass does not know
     */
    record Pass(
            Map<String, String> found,
            List<String> gone,
            Map<String, String> skipped,
            List<String> unchanged,
            Optional<List<String>> everything) {}

    Pass run() throws ScanException {
        Map<String, String> found = new TreeMap<>();
        List<String> gone = new ArrayList<>();
        Map<String, String> skipped = new TreeMap<>();
        List<String> unchanged = new ArrayList<>();
        try (Scan scan = task.scan(new SourceSettings(values), reader())) {
            for (Optional<Step> step = scan.next(); step.isPresent(); step = scan.next()) {
                switch (step.get()) {
                    case Step.Found each -> {
                        found.put(each.path(), String.valueOf(each.document().get("content")));
                        offsets.put(each.partition().toString(), each.offset());
                    }
                    case Step.Gone each -> {
                        gone.add(each.path());
                        offsets.put(each.partition().toString(), each.offset());
                    }
                    case Step.Skipped each -> skipped.put(each.path(), each.reason());
                    case Step.Unchanged each -> unchanged.add(each.path());
                }
            }
            Optional<List<String>> everything = scan.everything().map(paths -> {
                List<String> all = new ArrayList<>();
                paths.forEach(all::add);
                all.sort(null);
                return all;
            });
            offsets.put(Map.of("source", "s").toString(), scan.mark());
            gone.sort(null);
            return new Pass(found, gone, skipped, unchanged, everything);
        }
    }

    /** As when the worker is killed in a pass, after so many steps whose offsets are stored; and started again. */
    void cut(int steps) throws ScanException {
        try (Scan scan = task.scan(new SourceSettings(values), reader())) {
            for (int i = 0; i < steps; i++) {
                if (scan.next().orElseThrow() instanceof Step.Found found) {
                    offsets.put(found.partition().toString(), found.offset());
                }
            }
        }
        restart();
    }

    private OffsetStorageReader reader() {
        return new OffsetStorageReader() {
            @Override
            @SuppressWarnings("NullAway") // Connect's contract: null is no offset
            public <T> @Nullable Map<String, Object> offset(Map<String, T> partition) {
                return offsets.get(partition.toString());
            }

            @Override
            public <T> Map<Map<String, T>, Map<String, Object>> offsets(Collection<Map<String, T>> partitions) {
                Map<Map<String, T>, Map<String, Object>> found = new HashMap<>();
                partitions.forEach(partition -> {
                    Map<String, Object> offset = offsets.get(partition.toString());
                    if (offset != null) {
                        found.put(partition, offset);
                    }
                });
                return found;
            }
        };
    }
}
