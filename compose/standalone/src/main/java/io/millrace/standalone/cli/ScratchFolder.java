package io.millrace.standalone.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;

/** A folder for one evaluation, the embedder's native library in it; gone when it ends. */
final class ScratchFolder implements AutoCloseable {
    private final Path folder;

    ScratchFolder() throws IOException {
        folder = Files.createTempDirectory("millrace-eval-");
        // the tokenizer's native library; ~/.djl.ai without this
        System.setProperty("DJL_CACHE_DIR", folder.resolve("cache").toString());
    }

    Path resolve(String name) {
        return folder.resolve(name);
    }

    @Override
    public void close() throws IOException {
        try (Stream<Path> walk = Files.walk(folder)) {
            List<Path> all = walk.sorted(Comparator.reverseOrder()).toList();
            for (Path path : all) {
                Files.deleteIfExists(path);
            }
        }
    }
}
