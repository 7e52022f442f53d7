package io.millrace.standalone.cli;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.stream.Stream;

/** A folder for one evaluation, the embedder's native library in it; gone when it ends, by Ctrl-C too. */
final class ScratchFolder implements AutoCloseable {
    /** With {@link #PAUSE_MS} between them: what an evaluation has open while it is stopped is in the way for a moment. */
    private static final int TRIES = 20;

    private static final long PAUSE_MS = 50;

    private final Path folder;

    ScratchFolder() throws IOException {
        folder = Files.createTempDirectory("millrace-eval-");
        // the tokenizer's native library; ~/.djl.ai without this
        System.setProperty("DJL_CACHE_DIR", folder.resolve("cache").toString());
        Runtime.getRuntime().addShutdownHook(Thread.ofPlatform().name("scratch").unstarted(this::sweep));
    }

    Path resolve(String name) {
        return folder.resolve(name);
    }

    private void sweep() {
        if (!Files.exists(folder)) {
            return;
        }
        try {
            // under another name nothing more is written into it
            Path swept = Files.move(folder, folder.resolveSibling(folder.getFileName() + "-swept"));
            for (int i = 0; i < TRIES && Files.exists(swept); i++) {
                try {
                    delete(swept);
                } catch (IOException | UncheckedIOException e) {
                    Thread.sleep(PAUSE_MS);
                }
            }
        } catch (IOException e) {
            Terminal.error(folder + " cannot be deleted: " + e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    @Override
    public void close() throws IOException {
        delete(folder);
    }

    private static void delete(Path folder) throws IOException {
        try (Stream<Path> walk = Files.walk(folder)) {
            List<Path> all = walk.sorted(Comparator.reverseOrder()).toList();
            for (Path path : all) {
                Files.deleteIfExists(path);
            }
        }
    }
}
