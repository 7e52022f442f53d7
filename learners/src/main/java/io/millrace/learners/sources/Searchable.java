package io.millrace.learners.sources;

import io.millrace.learners.knowledge.DocumentTable.Entry;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.function.BiPredicate;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Counts how many documents of a source searches find, as often as it is asked. All documents are walked only after one of them changed,
 * and the index is asked only of those that it did not have, for a part of a second: with 100,000 documents either would keep the machine
 * busy. Whoever is not asked of is at the front the next time. An index that does not answer is left alone for a while and what it said
 * before holds: sources are read without it, too.
 *
 * <p>For one thread.
 */
final class Searchable {
    private static final Logger LOG = LoggerFactory.getLogger(Searchable.class);

    /** A tick is four times a second: while an index has nothing new, to ask it takes a sixth of a thread. */
    private static final long IN_VAIN_NANOS = TimeUnit.MILLISECONDS.toNanos(50);

    /** What is found is not asked of again, so that it may take longer: at a start that is all. */
    private static final long AT_MOST_NANOS = TimeUnit.SECONDS.toNanos(1);

    /** Of all sources: a call to a server that hangs takes seconds, and each of them would wait for its own. */
    private static final long AWAY_NANOS = TimeUnit.SECONDS.toNanos(2);

    private final BiPredicate<String, @Nullable String> isIndexed;
    private final LongSupplier nanos;
    private final Map<String, Known> sources = new HashMap<>();
    private boolean away;
    private long awaySince;

    /** Of one source. */
    record Count(int documents, int searchable, int quarantined) {}

    private static final class Known {
        private long version = -1;
        private int quarantined;
        /** Checksum by document of what is in the index. */
        private final Map<String, String> found = new HashMap<>();

        private final LinkedHashSet<String> missing = new LinkedHashSet<>();
    }

    /**
     * @param isIndexed whether a document, by id, can be found, in this version where a checksum is given; throws when the index does
     *     not answer
     * @param nanos a clock as {@link System#nanoTime}
     */
    Searchable(BiPredicate<String, @Nullable String> isIndexed, LongSupplier nanos) {
        this.isIndexed = isIndexed;
        this.nanos = nanos;
    }

    /**
     * Counts.
     *
     * @param version another one whenever one of the documents changed
     */
    Count of(String source, long version, Map<String, Entry> documents) {
        Known known = sources.computeIfAbsent(source, id -> new Known());
        if (known.version != version) {
            walk(known, documents);
            known.version = version;
        }
        ask(known, documents);
        return new Count(known.found.size() + known.missing.size(), known.found.size(), known.quarantined);
    }

    private static void walk(Known known, Map<String, Entry> documents) {
        known.found.keySet().retainAll(documents.keySet());
        known.missing.retainAll(documents.keySet());
        known.quarantined = 0;
        documents.forEach((id, entry) -> {
            known.quarantined += entry.quarantined() ? 1 : 0;
            if (!entry.checksum().equals(known.found.get(id))) {
                known.found.remove(id);
                known.missing.add(id);
            }
        });
    }

    private void ask(Known known, Map<String, Entry> documents) {
        long began = nanos.getAsLong();
        boolean found = true;
        for (int left = known.missing.size();
                left > 0 && !isAway() && nanos.getAsLong() - began < (found ? AT_MOST_NANOS : IN_VAIN_NANOS);
                left--) {
            String id = known.missing.getFirst();
            Entry entry = documents.get(id);
            found = entry != null && has(id, entry.checksum(), false);
            known.missing.removeFirst();
            if (entry != null && found) {
                known.found.put(id, entry.checksum());
            } else {
                known.missing.addLast(id);
            }
        }
    }

    /** Whether a search may still find a document, in any version: it may while the index does not answer. */
    boolean mayBeFound(String document) {
        return isAway() || has(document, null, true);
    }

    private boolean isAway() {
        return away && nanos.getAsLong() - awaySince < AWAY_NANOS;
    }

    private boolean has(String document, @Nullable String checksum, boolean unanswered) {
        try {
            boolean has = isIndexed.test(document, checksum);
            away = false;
            return has;
        } catch (RuntimeException e) {
            // whichever: each index has its own, and the status of a source depends on none
            if (!away) {
                LOG.warn("what searches find is not counted while the index does not answer: {}", e.toString());
            }
            away = true;
            awaySince = nanos.getAsLong();
            return unanswered;
        }
    }

    void forget(String source) {
        sources.remove(source);
    }

    /** Those that searches did not find, a few of them, by id; empty while none is, or the index does not answer. */
    List<String> missing(String source, int most) {
        Known known = sources.get(source);
        return known == null || isAway()
                ? List.of()
                : known.missing.stream().limit(most).toList();
    }
}
