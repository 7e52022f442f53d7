package io.millrace.knowledge;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
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
