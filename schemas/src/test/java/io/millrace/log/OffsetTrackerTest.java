package io.millrace.log;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class OffsetTrackerTest {
    @Test
    void shouldCommitUpToTheLowestUnfinishedWhenRecordsFinishInAnyOrder() {
        OffsetTracker tracker = new OffsetTracker(5);
        for (long offset : new long[] {5, 6, 9}) {
            tracker.take(offset);
        }
        assertThat(tracker.uncommitted()).isEqualTo(-1);

        tracker.finish(6);
        assertThat(tracker.uncommitted()).isEqualTo(-1);
        tracker.finish(5);
        assertThat(tracker.uncommitted()).isEqualTo(9);
        tracker.finish(9);
        assertThat(tracker.uncommitted()).isEqualTo(10);
    }

    @Test
    void shouldOfferTheSameOffsetAgainWhenTheBrokerDidNotTakeIt() {
        // prevents that a commit which failed is never made up for when no record follows
        OffsetTracker tracker = new OffsetTracker(0);
        tracker.take(0);
        tracker.finish(0);

        assertThat(tracker.uncommitted()).isEqualTo(1);
        assertThat(tracker.uncommitted()).isEqualTo(1);
        tracker.committed(1);
        assertThat(tracker.uncommitted()).isEqualTo(-1);
    }

    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3, 4, 5, 6, 7, 8})
    void shouldNeverOfferMoreThanIsFinishedAndAtLastAllWhenCommitsFailAtRandom(long seed) {
        Random random = new Random(seed);
        OffsetTracker tracker = new OffsetTracker(100);
        List<Long> inWork = new ArrayList<>();
        List<Long> taken = new ArrayList<>();
        long next = 100;
        long committed = 100;
        for (int step = 0; step < 20_000; step++) {
            switch (random.nextInt(3)) {
                case 0 -> {
                    // compaction and transactions leave holes
                    long offset = next + random.nextInt(3);
                    next = offset + 1;
                    tracker.take(offset);
                    taken.add(offset);
                    inWork.add(offset);
                }
                case 1 -> {
                    if (!inWork.isEmpty()) {
                        long offset = inWork.remove(random.nextInt(inWork.size()));
                        tracker.finish(offset);
                    }
                }
                default -> {
                    long offered = tracker.uncommitted();
                    if (offered >= 0) {
                        assertThat(offered).isGreaterThan(committed).isLessThanOrEqualTo(next);
                        assertThat(inWork).allMatch(offset -> offset >= offered);
                        if (random.nextBoolean()) {
                            tracker.committed(offered);
                            committed = offered;
                        }
                    }
                }
            }
        }

        inWork.forEach(tracker::finish);
        tracker.committed(Math.max(committed, tracker.uncommitted()));
        assertThat(tracker.uncommitted()).isEqualTo(-1);
        assertThat(tracker.committable()).isEqualTo(taken.getLast() + 1);
    }
}
