package io.millrace.knowledge;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import org.apache.lucene.index.FilterMergePolicy;
import org.apache.lucene.index.MergePolicy;
import org.apache.lucene.index.SegmentCommitInfo;
import org.apache.lucene.index.SegmentInfos;
import org.apache.lucene.index.TieredMergePolicy;
import org.jspecify.annotations.Nullable;

/**
 * Tiers of segments while passages come in; on a forced merge, as few as are worth their price.
 *
 * <p>Each segment has a graph and a dictionary of its own to search, so a search of the same passages takes longer the more segments there
 * are: with 100,000 passages in five the graphs take three times what one takes. One after every quiet moment would write the whole index
 * for a single new passage. So smaller segments are merged into a larger one only when together they are a quarter of it: a passage is written
 * again when what it stands in grows by a quarter at least, a number of times that is logarithmic in the passages that ever come, and what
 * is left is a largest segment and a few that are each much smaller than the one before.
 */
final class SettledMerges extends FilterMergePolicy {
    private static final int SEGMENTS_PER_TIER = 4;

    /** What the smaller segments must make of a larger one to be merged with it. */
    private static final double WORTH = 0.25;

    /**
     * Largest segment that merges make: 200,000 to 250,000 passages, whose graph takes about 75 MB of the heap while it is made.
     * Larger ones would risk the process, and make the search little faster.
     */
    private static final long MOST_MB = 1_024;

    SettledMerges() {
        super(tiered());
    }

    private static TieredMergePolicy tiered() {
        TieredMergePolicy tiers = new TieredMergePolicy();
        tiers.setSegmentsPerTier(SEGMENTS_PER_TIER);
        tiers.setMaxMergedSegmentMB(MOST_MB);
        return tiers;
    }

    @Override
    public @Nullable MergeSpecification findForcedMerges(
            SegmentInfos infos, int most, Map<SegmentCommitInfo, Boolean> asked, MergeContext context)
            throws IOException {
        record Sized(SegmentCommitInfo segment, long bytes) {}
        List<Sized> ascending = new ArrayList<>();
        for (SegmentCommitInfo segment : infos) {
            if (asked.containsKey(segment) && !context.getMergingSegments().contains(segment)) {
                ascending.add(new Sized(segment, size(segment, context)));
            }
        }
        ascending.sort(Comparator.comparingLong(Sized::bytes));
        long smaller = 0;
        int merged = 0;
        for (int i = 0; i < ascending.size(); i++) {
            long bytes = ascending.get(i).bytes;
            if (smaller + bytes > MOST_MB * 1024 * 1024) {
                break;
            }
            if (i > 0 && smaller >= WORTH * bytes) {
                merged = i + 1;
            }
            smaller += bytes;
        }
        if (merged == 0) {
            return null;
        }
        MergeSpecification merges = new MergeSpecification();
        merges.add(new MergePolicy.OneMerge(
                ascending.subList(0, merged).stream().map(Sized::segment).toList()));
        return merges;
    }
}
