package io.millrace.knowledge;

import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.schema.Passage;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.store.FSDirectory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class LuceneIndexTest extends VectorIndexContract {
    @TempDir
    Path folder;

    @Override
    VectorIndex open() {
        return LuceneIndex.open(folder, "test:1");
    }

    @Test
    void shouldStartAnewWhenAnotherModelMadeIt() {
        put(passage(1, NORTH, "sluice"));
        index.commit(Map.of(0, 1L));
        index.close();

        index = LuceneIndex.open(folder, "test:2");

        assertThat(index.count()).isZero();
        assertThat(index.committed()).isEmpty();
    }

    @Test
    void shouldLeaveFewSegmentsWhenSettledAndNotWriteALargeOneAgainForASmallOne() throws Exception {
        putMany(0, 400);
        putMany(400, 400);
        index.commit(Map.of(0, 1L));
        assertThat(segments()).isEqualTo(2);

        assertThat(index.settle()).isTrue();
        index.commit(Map.of(0, 1L));

        assertThat(segments()).isEqualTo(1);
        assertThat(index.count()).isEqualTo(800);
        // a small part of what is there
        putMany(800, 20);
        assertThat(index.settle()).isFalse();
        index.commit(Map.of(0, 2L));
        assertThat(segments()).isEqualTo(2);
        // with these it is a quarter and more: worth it
        putMany(820, 380);
        assertThat(index.settle()).isTrue();
        index.commit(Map.of(0, 3L));
        assertThat(segments()).isEqualTo(1);
        assertThat(index.count()).isEqualTo(1_200);
        assertThat(index.candidates(new VectorIndex.Question(NORTH, Map.of("sluic", 1.0), 10, Filter.NONE)))
                .hasSizeGreaterThanOrEqualTo(10);
    }

    @Test
    void shouldKeepItsVersionOverAMergeAndARestart() throws Exception {
        putMany(0, 30);
        putMany(30, 30);
        index.commit(Map.of(0, 1L));
        index.close();
        index = open();
        String before = index.version();

        index.settle();
        index.commit(Map.of(0, 1L));
        index.close();
        index = open();

        assertThat(index.version()).isEqualTo(before);
        putMany(60, 1);
        assertThat(index.version()).isNotEqualTo(before);
    }

    @Test
    void shouldEndWhatSettlesWhenClosed() throws Exception {
        Random random = new Random(7);
        for (int part = 0; part < 3; part++) {
            for (int i = 0; i < 700; i++) {
                int number = part * 700 + i;
                float[] vector = new float[64];
                for (int d = 0; d < vector.length; d++) {
                    vector[d] = (float) random.nextGaussian();
                }
                index.put(Passage.newBuilder(passage(1, Vectors.unit(vector), "sluice " + number))
                        .setPassageId("%032x".formatted(number))
                        .build());
            }
            index.refresh();
        }
        index.commit(Map.of(0, 7L));
        CompletableFuture<Boolean> settling = CompletableFuture.supplyAsync(index::settle);
        index.close();

        // done or given up, and what was committed is there
        settling.handle((done, error) -> true).get(30, TimeUnit.SECONDS);
        index = open();
        assertThat(index.count()).isEqualTo(2_100);
        assertThat(index.committed()).containsEntry(0, 7L);
    }

    private void putMany(int from, int count) {
        for (int i = from; i < from + count; i++) {
            index.put(Passage.newBuilder(passage(1, i % 2 == 0 ? NORTH : NORTH_EAST, "sluice number " + i))
                    .setPassageId("%032x".formatted(i))
                    .build());
        }
        index.refresh();
    }

    /** Of what is committed. */
    private int segments() throws IOException {
        try (DirectoryReader reader = DirectoryReader.open(FSDirectory.open(folder))) {
            return reader.leaves().size();
        }
    }

    @Test
    void shouldStartAnewWhenItsFilesAreBroken() throws Exception {
        put(passage(1, NORTH, "sluice"));
        index.commit(Map.of(0, 1L));
        index.close();
        try (var files = Files.list(folder)) {
            for (Path file :
                    files.filter(each -> each.toString().contains("segments_")).toList()) {
                Files.writeString(file, "broken");
            }
        }

        index = open();

        assertThat(index.count()).isZero();
    }
}
