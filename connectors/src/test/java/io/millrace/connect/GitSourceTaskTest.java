package io.millrace.connect;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.millrace.connect.Passes.Pass;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.eclipse.jgit.api.Git;
import org.eclipse.jgit.api.ResetCommand;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Against repositories that are made here. */
class GitSourceTaskTest {
    @TempDir
    Path temp;

    private Path folder = Path.of("");
    private Git git = new Git(new org.eclipse.jgit.internal.storage.dfs.InMemoryRepository(
            new org.eclipse.jgit.internal.storage.dfs.DfsRepositoryDescription("none")));
    private Passes passes = new Passes(GitSourceTask::new, "");

    @BeforeEach
    void start() throws Exception {
        folder = temp.resolve("origin");
        git = Git.init().setDirectory(folder.toFile()).setInitialBranch("main").call();
        passes = new Passes(GitSourceTask::new, folder.toString())
                .set(SourceSettings.WORK, temp.resolve("work").toString());
    }

    @AfterEach
    void stop() {
        git.close();
    }

    private void write(String path, String text) throws Exception {
        Files.createDirectories(folder.resolve(path).getParent());
        Files.writeString(folder.resolve(path), text);
    }

    private void commit() throws Exception {
        git.add().addFilepattern(".").call();
        git.add().addFilepattern(".").setUpdate(true).call();
        git.commit()
                .setMessage("a commit")
                .setAuthor("Test", "test@example.org")
                .setCommitter("Test", "test@example.org")
                .setSign(false)
                .call();
    }

    @Test
    void shouldSendTheDifferenceBetweenTwoCommitsAlsoAfterARestart() throws Exception {
        write("a.md", "one");
        write("b.md", "two");
        commit();
        Pass first = passes.run();
        assertThat(first.found()).containsOnlyKeys("a.md", "b.md");
        assertThat(first.everything()).hasValue(List.of("a.md", "b.md"));
        assertThat(passes.run().found()).isEmpty();

        passes.restart();
        write("a.md", "one, again");
        Files.move(folder.resolve("b.md"), folder.resolve("c.md"));
        commit();
        Pass second = passes.run();

        assertThat(second.found()).containsOnlyKeys("a.md", "c.md").containsEntry("a.md", "one, again");
        assertThat(second.gone()).containsExactly("b.md");
        assertThat(second.everything()).isEmpty();
    }

    /** A forced push: the commit that was sent last is on no branch any more. */
    @Test
    void shouldSendWhatARewrittenHistoryChanges() throws Exception {
        write("a.md", "one");
        commit();
        write("b.md", "two");
        commit();
        passes.run();
        git.reset().setMode(ResetCommand.ResetType.HARD).setRef("HEAD~1").call();
        write("c.md", "three");
        commit();

        Pass pass = passes.run();

        assertThat(pass.found()).containsOnlyKeys("c.md");
        assertThat(pass.gone()).containsExactly("b.md");
    }

    /** As after a forced push when the copy was lost, too: nothing tells the difference, so all is sent and listed. */
    @Test
    void shouldSendAllAndListItWhenTheLastCommitIsNowhere() throws Exception {
        write("a.md", "one");
        write("b.md", "two");
        commit();
        passes.run();
        git.close();
        delete(folder);
        delete(temp.resolve("work"));
        git = Git.init().setDirectory(folder.toFile()).setInitialBranch("main").call();
        write("a.md", "one");
        commit();
        passes.restart();

        Pass pass = passes.run();

        assertThat(pass.found()).containsOnlyKeys("a.md");
        assertThat(pass.everything()).hasValue(List.of("a.md"));
    }

    /** As after a full disk or a power cut: what is broken is taken from the repository again, with the next pass. */
    @ParameterizedTest
    @ValueSource(strings = {"pack", "idx", "config", "HEAD", "head"})
    void shouldFetchItsCopyAgainWhenThatIsDamaged(String ending) throws Exception {
        write("a.md", "one");
        commit();
        passes.run();
        passes.restart();
        write("a.md", "one, again");
        commit();
        int damaged = 0;
        try (Stream<Path> files = Files.walk(temp.resolve("work"))) {
            for (Path file : files.filter(each -> Files.isRegularFile(each)
                            && each.getFileName().toString().endsWith(ending))
                    .toList()) {
                file.toFile().setWritable(true);
                Files.writeString(file, "garbage");
                damaged++;
            }
        }
        assertThat(damaged).isPositive();

        Pass pass;
        try {
            pass = passes.run();
        } catch (Scan.ScanException e) {
            pass = passes.run();
        }

        assertThat(pass.found()).containsOnlyKeys("a.md").containsEntry("a.md", "one, again");
    }

    @Test
    void shouldFailInOneLineAndDeleteNothingWhenTheBranchIsGone() throws Exception {
        write("a.md", "one");
        commit();
        git.branchCreate().setName("docs").call();
        passes.set(SourceSettings.BRANCH, "docs").run();
        git.branchDelete().setBranchNames("docs").setForce(true).call();

        assertThatThrownBy(passes::run)
                .isInstanceOf(Scan.ScanException.class)
                .hasMessage("the repository has no branch docs");

        git.branchCreate().setName("docs").call();
        Pass back = passes.run();
        assertThat(back.found()).isEmpty();
        assertThat(back.gone()).isEmpty();
    }

    @Test
    void shouldFailInOneLineWhenThereIsNoRepositoryOrNoCommit() throws Exception {
        assertThatThrownBy(passes::run)
                .isInstanceOf(Scan.ScanException.class)
                .hasMessage("the repository has no commit");
        passes.set(SourceSettings.LOCATION, temp.resolve("nowhere").toString());
        assertThatThrownBy(passes::run)
                .isInstanceOf(Scan.ScanException.class)
                .hasMessageContaining("nowhere cannot be reached")
                .satisfies(error ->
                        assertThat(String.valueOf(error.getMessage()).lines()).hasSize(1));
    }

    @Test
    void shouldDeleteAFileThatBecomesALinkAndSkipBinaries() throws Exception {
        write("a.md", "one");
        write("b.md", "two");
        Files.write(folder.resolve("logo.bin"), new byte[] {0, 1, 2});
        commit();
        assertThat(passes.run().skipped()).containsEntry("logo.bin", "binary, no text");
        Files.delete(folder.resolve("b.md"));
        Files.createSymbolicLink(folder.resolve("b.md"), Path.of("a.md"));
        commit();

        Pass pass = passes.run();

        assertThat(pass.gone()).containsExactly("b.md");
        assertThat(pass.found()).isEmpty();
        // told with every pass, although only the first looks at it
        assertThat(pass.skipped()).containsEntry("logo.bin", "binary, no text");
    }

    /** What was there before was answered from for ever. */
    @Test
    void shouldDeleteAFileThatBecomesBinaryOrTooLarge() throws Exception {
        passes.set(SourceSettings.MAX_BYTES, "100");
        write("a.md", "one");
        write("b.md", "two");
        write("c.md", "three");
        commit();
        passes.run();
        Files.write(folder.resolve("a.md"), new byte[] {0, 1, 2});
        write("b.md", "x".repeat(200));
        commit();

        Pass pass = passes.run();

        assertThat(pass.gone()).containsExactly("a.md", "b.md");
        assertThat(pass.skipped())
                .containsEntry("a.md", "binary, no text")
                .containsEntry("b.md", "200 bytes, more than the 100 of max_bytes");
        assertThat(passes.run().gone()).isEmpty();
        // where the list of all says what there is, they are not on it
        assertThat(passes.set(SourceSettings.DEFINITION, "2").run().everything())
                .hasValue(List.of("c.md"));
        write("a.md", "mended");
        commit();
        assertThat(passes.run().found()).containsOnlyKeys("a.md");
    }

    /** What was deleted used up the bound, and what was over it was not looked at again. */
    @Test
    void shouldSendAllOfARenamedFolderWhenThereAreAsManyAsMayBe() throws Exception {
        passes.set(SourceSettings.MAX_DOCUMENTS, "3");
        for (int i = 0; i < 3; i++) {
            write("a/" + i + ".md", "text " + i);
        }
        commit();
        passes.run();
        Files.move(folder.resolve("a"), folder.resolve("b"));
        commit();

        Pass pass = passes.run();

        assertThat(pass.found()).containsOnlyKeys("b/0.md", "b/1.md", "b/2.md");
        assertThat(pass.gone()).containsExactly("a/0.md", "a/1.md", "a/2.md");
        assertThat(pass.skipped()).isEmpty();
    }

    /** Each commit could add as many again. */
    @Test
    void shouldHoldMaxDocumentsOverManyCommits() throws Exception {
        passes.set(SourceSettings.MAX_DOCUMENTS, "2");
        write("b.md", "two");
        write("c.md", "three");
        commit();
        passes.run();

        write("d.md", "four");
        commit();
        Pass more = passes.run();
        assertThat(more.found()).isEmpty();
        assertThat(more.skipped()).containsOnly(Map.entry("d.md", "more than 2 documents"));

        assertThat(passes.run().skipped()).containsOnly(Map.entry("d.md", "more than 2 documents"));
        passes.restart();
        assertThat(passes.run().skipped()).containsOnly(Map.entry("d.md", "more than 2 documents"));

        // as all that is taken anew: the first by path
        write("a.md", "one");
        commit();
        Pass before = passes.run();
        assertThat(before.found()).containsOnlyKeys("a.md");
        assertThat(before.gone()).containsExactly("c.md");

        Files.delete(folder.resolve("a.md"));
        Files.delete(folder.resolve("b.md"));
        commit();
        Pass less = passes.run();
        assertThat(less.found()).containsOnlyKeys("c.md", "d.md");
        assertThat(less.gone()).containsExactly("a.md", "b.md");
        assertThat(less.skipped()).isEmpty();
    }

    @Test
    void shouldTakeTheRestWhenTheBoundsAreRaised() throws Exception {
        passes.set(SourceSettings.MAX_DOCUMENTS, "2").set(SourceSettings.MAX_BYTES, "100");
        write("a.md", "one");
        write("b.md", "x".repeat(200));
        write("c.md", "three");
        commit();
        assertThat(passes.run().found()).containsOnlyKeys("a.md");
        passes.restart();

        assertThat(passes.set(SourceSettings.MAX_DOCUMENTS, "3").run().found()).containsOnlyKeys("a.md", "c.md");
        assertThat(passes.set(SourceSettings.MAX_BYTES, "200").run().found()).containsOnlyKeys("a.md", "b.md", "c.md");
        assertThat(passes.run().found()).isEmpty();
    }

    /** The copy takes settings of the user's git, too; a rename was no deletion then. */
    @ParameterizedTest
    @ValueSource(strings = {"true", "copies"})
    void shouldDeleteWhatWasRenamedWhenGitFindsRenames(String renames) throws Exception {
        write("a.md", "one");
        commit();
        passes.run();
        Files.writeString(
                temp.resolve("work/s.git/config"), "[diff]\n\trenames = " + renames + "\n", StandardOpenOption.APPEND);
        passes.restart();
        Files.move(folder.resolve("a.md"), folder.resolve("b.md"));
        commit();

        Pass pass = passes.run();

        assertThat(pass.found()).containsOnlyKeys("b.md");
        assertThat(pass.gone()).containsExactly("a.md");
    }

    @Test
    void shouldDeleteNothingWhenWhatIsNoDocumentComesChangesAndGoes() throws Exception {
        write("a.md", "one");
        commit();
        passes.run();
        Path logo = folder.resolve("logo.bin");
        for (byte[] bytes : List.of(new byte[] {0, 1, 2}, new byte[] {0, 1, 3})) {
            Files.write(logo, bytes);
            commit();
            Pass pass = passes.run();
            assertThat(pass.gone()).isEmpty();
            assertThat(pass.skipped()).containsOnly(Map.entry("logo.bin", "binary, no text"));
        }
        Files.delete(logo);
        commit();

        Pass pass = passes.run();

        assertThat(pass.gone()).isEmpty();
        assertThat(pass.skipped()).isEmpty();
    }

    /** What a pass that was cut short sent is in no commit that the next one compares with: it stayed for ever. */
    @Test
    void shouldSendAllWhenAPassWasCutShortAndItsCommitIsTakenBack() throws Exception {
        write("a.md", "one");
        commit();
        passes.run();
        write("a.md", "another");
        write("b.md", "two");
        write("c.md", "three");
        commit();
        passes.cut(2);
        git.reset().setMode(ResetCommand.ResetType.HARD).setRef("HEAD~1").call();
        // before its list of all
        passes.cut(1);

        Pass pass = passes.run();

        assertThat(pass.found()).containsOnly(Map.entry("a.md", "one"));
        assertThat(pass.everything()).hasValue(List.of("a.md"));
        assertThat(passes.run().everything()).isEmpty();
    }

    @Test
    void shouldSendTheDifferenceAgainWhenAPassWasCutShortAndNothingElseChanged() throws Exception {
        write("a.md", "one");
        commit();
        passes.run();
        write("b.md", "two");
        write("c.md", "three");
        commit();
        passes.cut(1);

        Pass pass = passes.run();

        assertThat(pass.found()).containsOnlyKeys("b.md", "c.md");
        assertThat(pass.everything()).isEmpty();
    }

    private static void delete(Path folder) throws Exception {
        try (var walk = Files.walk(folder)) {
            for (Path each : walk.sorted(java.util.Comparator.reverseOrder()).toList()) {
                Files.delete(each);
            }
        }
    }
}
