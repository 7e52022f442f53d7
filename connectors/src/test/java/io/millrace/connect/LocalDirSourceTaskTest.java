package io.millrace.connect;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.millrace.connect.Passes.Pass;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

class LocalDirSourceTaskTest {
    @TempDir
    Path temp;

    private Path folder = Path.of("");
    private Passes passes = new Passes(LocalDirSourceTask::new, "");

    @BeforeEach
    void start() throws IOException {
        folder = Files.createDirectory(temp.resolve("docs"));
        passes = new Passes(LocalDirSourceTask::new, folder.toString());
    }

    private void write(String path, String text) throws IOException {
        Files.createDirectories(folder.resolve(path).getParent());
        Files.writeString(folder.resolve(path), text);
    }

    @Test
    void shouldSendWhatIsNewAndNothingTwice() throws Exception {
        write("a.md", "one");
        write("sub/b.md", "two");
        Pass first = passes.run();
        assertThat(first.found()).containsOnlyKeys("a.md", "sub/b.md").containsEntry("a.md", "one");
        assertThat(first.everything()).hasValue(List.of("a.md", "sub/b.md"));

        Pass second = passes.run();
        assertThat(second.found()).isEmpty();
        assertThat(second.everything()).isEmpty();
        // the offsets say what an earlier process sent, the list what went away meanwhile
        passes.restart();
        Files.delete(folder.resolve("sub/b.md"));
        Pass third = passes.run();
        assertThat(third.found()).isEmpty();
        assertThat(third.everything()).hasValue(List.of("a.md"));
    }

    @Test
    void shouldDeleteTheOldNameAndSendTheNewOneWhenAFileIsRenamed() throws Exception {
        write("old.md", "text");
        passes.run();
        Files.move(folder.resolve("old.md"), folder.resolve("new.md"));

        Pass pass = passes.run();

        assertThat(pass.gone()).containsExactly("old.md");
        assertThat(pass.found()).containsExactlyEntriesOf(java.util.Map.of("new.md", "text"));
        // and back
        Files.move(folder.resolve("new.md"), folder.resolve("old.md"));
        pass = passes.run();
        assertThat(pass.gone()).containsExactly("new.md");
        assertThat(pass.found()).containsOnlyKeys("old.md");
    }

    @Test
    void shouldSendAllAgainWhenTheDefinitionChanges() throws Exception {
        write("a.md", "one");
        passes.run();

        assertThat(passes.set(SourceSettings.DEFINITION, "2").run().found()).containsOnlyKeys("a.md");
    }

    @Test
    void shouldFollowLinksInTheFolderAndTellOfTheOthers() throws Exception {
        write("real/a.md", "one");
        Path elsewhere = Files.writeString(temp.resolve("secret.md"), "no");
        Files.createSymbolicLink(folder.resolve("link.md"), folder.resolve("real/a.md"));
        Files.createSymbolicLink(folder.resolve("loop"), folder);
        Files.createSymbolicLink(folder.resolve("real/up"), folder.resolve("real"));
        Files.createSymbolicLink(folder.resolve("out.md"), elsewhere);
        Files.createSymbolicLink(folder.resolve("dangling.md"), folder.resolve("nowhere.md"));
        Files.createSymbolicLink(folder.resolve("self.md"), folder.resolve("self.md"));

        Pass pass = passes.run();

        assertThat(pass.found()).containsOnlyKeys("real/a.md", "link.md");
        assertThat(pass.skipped())
                .containsEntry("loop", "a loop of links")
                .containsEntry("real/up", "a loop of links")
                .containsEntry("out.md", "a link that leaves the folder")
                .containsEntry("dangling.md", "a link to nothing")
                .containsKey("self.md");
    }

    /** As a file that grows between the look and the read: without a bound it would take all memory. */
    @Test
    @EnabledOnOs(OS.LINUX)
    void shouldReadNoMoreThanItMayWhenAFileHoldsMoreThanItsSizeSays() throws Exception {
        Path made = Path.of("/proc/sys/kernel/random");
        assertThat(Files.size(made.resolve("boot_id"))).isZero();

        Pass pass = new Passes(LocalDirSourceTask::new, made.toString())
                .set(SourceSettings.FETCH, "boot_id")
                .set(SourceSettings.MAX_BYTES, "10")
                .run();

        assertThat(pass.found()).isEmpty();
        assertThat(pass.skipped()).containsEntry("boot_id", "more than the 10 bytes of max_bytes");
    }

    @Test
    void shouldSkipWhatIsNoDocumentAndTellItEachTime() throws Exception {
        Files.write(folder.resolve("junk.txt"), new byte[] {1, 2, 0, 4});
        try (RandomAccessFile huge =
                new RandomAccessFile(folder.resolve("huge.md").toFile(), "rw")) {
            huge.setLength(1L << 30);
        }
        write(".hidden/a.md", "no");
        write("a.log", "no");
        passes.set(SourceSettings.FETCH, "**/*.md\n**/*.txt");

        for (int i = 0; i < 2; i++) {
            Pass pass = passes.run();
            assertThat(pass.found()).isEmpty();
            assertThat(pass.skipped())
                    .containsOnlyKeys("junk.txt", "huge.md")
                    .containsEntry("junk.txt", "binary, no text")
                    .containsEntry("huge.md", "1073741824 bytes, more than the 8388608 of max_bytes");
        }
        write("junk.txt", "mended");
        assertThat(passes.run().found()).containsEntry("junk.txt", "mended");
    }

    @Test
    void shouldDeleteAFileThatBecomesBinaryOrTooLargeAlsoWhileNothingRan() throws Exception {
        passes.set(SourceSettings.MAX_BYTES, "100");
        for (String path : List.of("a.md", "b.md", "c.md", "d.md")) {
            write(path, "text");
        }
        passes.run();
        Files.write(folder.resolve("a.md"), new byte[] {0, 1, 2});
        write("b.md", "x".repeat(200));

        Pass pass = passes.run();

        assertThat(pass.gone()).containsExactly("a.md", "b.md");
        assertThat(pass.skipped()).containsEntry("a.md", "binary, no text").containsKey("b.md");
        assertThat(passes.run().gone()).isEmpty();

        Files.write(folder.resolve("c.md"), new byte[] {0, 1, 2});
        passes.restart();
        assertThat(passes.run().everything()).hasValue(List.of("d.md"));
        write("c.md", "mended");
        assertThat(passes.run().found()).containsOnlyKeys("c.md");
    }

    /** An unmounted disk is no deletion. */
    @Test
    void shouldDeleteNothingWhenTheFolderIsAway() throws Exception {
        write("a.md", "one");
        passes.run();
        Path away = Files.move(folder, temp.resolve("away"));

        assertThatThrownBy(passes::run)
                .isInstanceOf(Scan.ScanException.class)
                .hasMessage("there is no folder " + folder);

        Files.move(away, folder);
        Pass back = passes.run();
        assertThat(back.gone()).isEmpty();
        assertThat(back.found()).isEmpty();
    }

    @Test
    void shouldTellWhatIsBeyondTheMostDocuments() throws Exception {
        for (int i = 0; i < 5; i++) {
            write(i + ".md", "text");
        }

        Pass pass = passes.set(SourceSettings.MAX_DOCUMENTS, "3").run();

        assertThat(pass.found()).hasSize(3);
        assertThat(pass.skipped().values()).contains("more than 3 documents");
    }
}
