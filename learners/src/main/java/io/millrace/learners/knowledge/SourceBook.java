package io.millrace.learners.knowledge;

import io.millrace.schema.SourceReport;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;

/** What the normalizer learned of sources: their last reports, and which of their documents it could not read. */
public final class SourceBook {
    private static final int FAILURES_KEPT = 50;

    private final Map<String, Page> pages = new ConcurrentHashMap<>();

    /**
     * Of one source.
     *
     * @param report of the last scan; null before the first
     * @param failures reason by path
     */
    public record Page(@Nullable SourceReport report, Map<String, String> failures) {
        public Page {
            failures = Map.copyOf(failures);
        }
    }

    private static final Page EMPTY = new Page(null, Map.of());

    /** What is known of a source. */
    public Page of(String source) {
        return pages.getOrDefault(source, EMPTY);
    }

    /** Takes what an earlier process knew, unless something newer is here. */
    public void recall(String source, @Nullable SourceReport report, Map<String, String> failures) {
        pages.putIfAbsent(source, new Page(report, failures));
    }

    /** Forgets a source. */
    public void forget(String source) {
        pages.remove(source);
    }

    void report(String source, SourceReport report) {
        pages.merge(source, new Page(report, Map.of()), (before, now) -> new Page(report, before.failures()));
    }

    void failed(String source, String path, String reason) {
        pages.compute(source, (id, before) -> {
            Page known = before == null ? EMPTY : before;
            if (known.failures().size() >= FAILURES_KEPT && !known.failures().containsKey(path)) {
                return known;
            }
            Map<String, String> failures = new LinkedHashMap<>(known.failures());
            failures.put(path, reason);
            return new Page(known.report(), failures);
        });
    }

    void well(String source, String path) {
        pages.computeIfPresent(source, (id, known) -> {
            if (!known.failures().containsKey(path)) {
                return known;
            }
            Map<String, String> failures = new LinkedHashMap<>(known.failures());
            failures.remove(path);
            return new Page(known.report(), failures);
        });
    }
}
