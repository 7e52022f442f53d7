package io.millrace.standalone;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The launcher script in a checkout whose Maven takes two seconds and makes a program that says hello. */
class LauncherIT {
    /** Takes no notice of what is not for it, as Maven's JVM would; a build that was cut off leaves half a jar. */
    private static final String MAVEN = """
            #!/bin/sh
            [ "$1" = --version ] && exit 0
            exec sh -c '
                echo "$$" >>builds
                echo half >compose/standalone/target/millrace.jar
                sleep "${BUILD_TAKES:-2}"
                "$JAVA_HOME/bin/javac" -d compose/standalone/target/hello Hello.java
                "$JAVA_HOME/bin/jar" --create --file compose/standalone/target/millrace.jar --main-class Hello \
                    -C compose/standalone/target/hello .
                echo "$$" >>done
            ' maven "-Dmaven.multiModuleProjectDirectory=$PWD"
            """;

    /** For a test that has to meet the build while it runs, on a slow machine too. */
    private static final Map<String, String> SLOWLY = Map.of("BUILD_TAKES", "8");

    @TempDir
    private Path folder;

    private Path home = Path.of("");

    @BeforeEach
    void checkout() throws IOException {
        home = Files.createDirectories(folder.toRealPath().resolve("a checkout of millräce"));
        for (String module : List.of(
                "schemas",
                "topology",
                "knowledge",
                "ingest-gateway",
                "routers",
                "learners",
                "connectors",
                "sinks",
                "bench",
                "compose")) {
            Files.createDirectories(home.resolve(module).resolve("src/main"));
        }
        Files.createDirectories(home.resolve("compose/standalone"));
        Files.createDirectories(home.resolve(".mvn"));
        Files.writeString(home.resolve("pom.xml"), "<project><artifactId>millrace</artifactId></project>");
        Files.writeString(
                home.resolve("Hello.java"),
                "public class Hello { public static void main(String[] a) { System.out.println(\"hello\"); } }");
        executable("mvnw", MAVEN);
        executable(
                "millrace", Files.readString(Path.of(requireNonNull(System.getProperty("millrace.home")), "millrace")));
    }

    private void executable(String name, String script) throws IOException {
        Path file = Files.writeString(home.resolve(name), script);
        Files.setPosixFilePermissions(file, PosixFilePermissions.fromString("rwxr-xr-x"));
    }

    private Process start(String name, Map<String, String> environment) throws IOException {
        return start(name, home.resolve("millrace"), environment);
    }

    private Process start(String name, Path launcher, Map<String, String> environment) throws IOException {
        ProcessBuilder builder = new ProcessBuilder(launcher.toString(), "status")
                .redirectOutput(folder.resolve(name + ".out").toFile())
                .redirectError(folder.resolve(name + ".err").toFile());
        builder.environment().put("JAVA_HOME", System.getProperty("java.home"));
        builder.environment().putAll(environment);
        return builder.start();
    }

    private String run(Map<String, String> environment) throws Exception {
        Process process = start("run", environment);
        greets("run", process);
        return Millrace.read(folder, "run.err");
    }

    private void greets(String name, Process process) throws Exception {
        try {
            assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
        } finally {
            process.destroyForcibly();
        }
        assertThat(Millrace.read(folder, name + ".out"))
                .as(Millrace.said(folder, name))
                .isEqualTo("hello\n");
        assertThat(process.exitValue()).isZero();
    }

    private List<String> builds() throws IOException {
        return Files.readAllLines(home.resolve("builds"));
    }

    private ProcessHandle building() {
        Awaitility.await("a build")
                .atMost(Duration.ofSeconds(60))
                .ignoreExceptions()
                .until(() -> Files.size(home.resolve("compose/standalone/target/millrace.jar")) > 0);
        try {
            return ProcessHandle.of(Long.parseLong(builds().getLast())).orElseThrow();
        } catch (IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
    }

    /** With the places of the system below the test's folder. */
    private Map<String, String> machineWithAnOlderJdk() throws IOException {
        Path root = Files.createDirectories(folder.toRealPath().resolve("root"));
        String launcher = Files.readString(home.resolve("millrace"));
        int end = launcher.indexOf("JAVA_HOME=$(find_jdk)");
        executable(
                "millrace",
                launcher.substring(0, end).replaceAll(" /(?=(usr|opt|etc|run|nix|Library)/)", " " + root + "/")
                        + launcher.substring(end));
        Path older = Files.createDirectories(root.resolve("older/bin"));
        Files.writeString(root.resolve("older/release"), "JAVA_VERSION=\"21.0.9\"\n");
        for (String program : List.of("java", "javac")) {
            Path file = Files.writeString(older.resolve(program), "#!/bin/sh\nexit 1\n");
            Files.setPosixFilePermissions(file, PosixFilePermissions.fromString("rwxr-xr-x"));
        }
        return Map.of(
                "JAVA_HOME",
                root.resolve("older").toString(),
                "PATH",
                older + ":" + System.getenv("PATH"),
                "HOME",
                Files.createDirectories(root.resolve("home")).toString(),
                "SDKMAN_DIR",
                "");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "usr/lib/jvm/temurin-25",
                "nix/store/0a1b-openjdk-25.0.1+8/lib/openjdk",
                "opt/homebrew/opt/openjdk@25/libexec/openjdk.jdk/Contents/Home",
                "home/.sdkman/candidates/java/25-tem"
            })
    void shouldFindAJdkWhereItUsuallyIsWhenAnOlderOneIsOnThePath(String place) throws Exception {
        Map<String, String> machine = machineWithAnOlderJdk();
        Path jdk = folder.toRealPath().resolve("root").resolve(place);
        Files.createDirectories(requireNonNull(jdk.getParent()));
        Files.createSymbolicLink(jdk, Path.of(System.getProperty("java.home")));

        run(machine);

        assertThat(home.resolve("compose/standalone/target/built")).content().contains(" " + jdk + " ");
    }

    @Test
    void shouldSayWhatToInstallWhenThereIsNoJdk() throws Exception {
        Process process = start("none", machineWithAnOlderJdk());

        assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
        assertThat(process.exitValue()).isEqualTo(1);
        assertThat(Millrace.read(folder, "none.err").lines())
                .singleElement()
                .asString()
                .startsWith("millrace: a JDK 25 is needed")
                .contains("install", "adoptium", "JAVA_HOME");
        assertThat(home.resolve("builds")).doesNotExist();
    }

    /** The classes of another project, in a folder of the given name, and what must be left of it. */
    private static Path stranger(Path project) throws IOException {
        Path classes = Files.createDirectories(project.resolve("target/classes"));
        return Files.writeString(classes.resolve("Theirs.class"), "theirs");
    }

    @Test
    void shouldBuildInItsCheckoutWhenItIsCalledThroughLinks() throws Exception {
        Path elsewhere = Files.createDirectories(folder.toRealPath().resolve("some place"));
        Path theirs = stranger(elsewhere.resolve("theirs"));
        Path absolute = Files.createSymbolicLink(elsewhere.resolve("absolute"), home.resolve("millrace"));
        Path relative = Files.createSymbolicLink(elsewhere.resolve("mr"), Path.of("absolute"));
        // what .. means depends on where the link to the folder leads
        Path bin = Files.createDirectories(home.resolve("deep/bin"));
        Path up = Files.createSymbolicLink(bin.resolve("up"), Path.of("../../millrace"));
        Path folders = Files.createSymbolicLink(elsewhere.resolve("bin"), bin);

        for (Path link : List.of(absolute, relative, up, folders.resolve("up"))) {
            greets("linked", start("linked", link, Map.of()));
        }

        assertThat(builds()).hasSize(1);
        assertThat(theirs).exists();
        assertThat(elsewhere.resolve("compose")).doesNotExist();
    }

    @Test
    void shouldTouchNothingWhenItStandsInNoCheckout() throws Exception {
        Path elsewhere = Files.createDirectories(folder.toRealPath().resolve("some place"));
        Path theirs = stranger(elsewhere.resolve("theirs"));
        Path copy =
                Files.copy(home.resolve("millrace"), elsewhere.resolve("millrace"), StandardCopyOption.COPY_ATTRIBUTES);
        for (String pom : List.of("", "<project><artifactId>theirs</artifactId></project>")) {
            if (!pom.isEmpty()) {
                Files.writeString(elsewhere.resolve("pom.xml"), pom);
            }

            Process process = start("copied", copy, Map.of());

            assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
            assertThat(process.exitValue()).isEqualTo(1);
            assertThat(Millrace.read(folder, "copied.err").lines())
                    .singleElement()
                    .asString()
                    .isEqualTo("millrace: " + elsewhere + " is no checkout of millrace: link to the launcher instead of"
                            + " copying it");
            assertThat(theirs).exists();
            assertThat(elsewhere.resolve("compose")).doesNotExist();
        }
    }

    /** Somebody may keep other work in the folder of a checkout. */
    @Test
    void shouldLeaveTheClassesOfOthersInItsFolderWhenItBuilds() throws Exception {
        Path theirs = stranger(home.resolve("theirs"));
        Path ours = stranger(home.resolve("schemas"));

        run(Map.of());

        assertThat(theirs).exists();
        assertThat(ours).doesNotExist();
    }

    @Test
    void shouldBuildOnceWhenTwoAreStarted() throws Exception {
        Process first = start("first", SLOWLY);
        Process second = start("second", SLOWLY);
        greets("first", first);
        greets("second", second);

        assertThat(builds()).hasSize(1);
        assertThat(Millrace.read(folder, "first.err") + Millrace.read(folder, "second.err"))
                .containsOnlyOnce("waiting for process")
                .containsOnlyOnce("building (");
        assertThat(home.resolve("compose/standalone/target/building.pid")).doesNotExist();
    }

    @Test
    void shouldEndTheBuildOfAKilledOneAndBuildAgain() throws Exception {
        Process killed = start("killed", SLOWLY);
        ProcessHandle maven = building();
        killed.destroyForcibly().waitFor();
        assertThat(maven.isAlive()).isTrue();

        assertThat(run(Map.of())).contains("ending process " + maven.pid());

        assertThat(maven.isAlive()).isFalse();
        assertThat(builds()).hasSize(2);
        // the first one never came to its end
        assertThat(Files.readAllLines(home.resolve("done"))).containsExactly(builds().getLast());
    }

    /** In a container every start has the pid of the one before, which was killed while it built. */
    @Test
    void shouldNotWaitForItselfWhenTheOneBeforeHadItsPid() throws Exception {
        Path lock = home.resolve("compose/standalone/target/building.pid");
        Files.createDirectories(lock.getParent());
        executable("again", "#!/bin/sh\nln -s $$ '" + lock + "'\nexec '" + home.resolve("millrace") + "' status\n");

        greets("again", start("again", home.resolve("again"), Map.of()));

        assertThat(Millrace.read(folder, "again.err")).contains("building (").doesNotContain("waiting");
        assertThat(lock).doesNotExist();
    }

    @Test
    void shouldTakeMavenAlongWhenItIsStopped() throws Exception {
        Process stopped = start("stopped", SLOWLY);
        ProcessHandle maven = building();

        stopped.destroy();

        assertThat(stopped.waitFor(60, TimeUnit.SECONDS)).isTrue();
        assertThat(stopped.exitValue()).isEqualTo(143);
        assertThat(maven.isAlive()).isFalse();
        assertThat(Millrace.read(folder, "stopped.err"))
                .contains("millrace: stopped")
                .doesNotContain("failed");
        assertThat(run(Map.of())).doesNotContain("ending process", "waiting");
    }

    /** A JVM that is given the class cache of another place does not start at all. */
    @Test
    void shouldBuildAgainOnlyWhenItWasMovedOrItsSourcesChanged() throws Exception {
        run(Map.of());
        Map<String, String> bare = new HashMap<>(Map.of("LANG", "C", "LC_ALL", "C", "HOME", ""));
        assertThat(run(bare)).isEmpty();
        assertThat(builds()).hasSize(1);

        Path moved = home.resolveSibling("moved");
        Files.move(home, moved);
        home = moved;
        assertThat(run(Map.of())).contains("building (");
        assertThat(run(Map.of())).isEmpty();
        assertThat(builds()).hasSize(2);

        Files.writeString(home.resolve("schemas/src/main/New.java"), "// new");
        assertThat(run(Map.of())).contains("building (");
        assertThat(builds()).hasSize(3);
    }

    /** An instance opens its jars when it first needs them, which may be days after its start. */
    @Test
    void shouldLeaveWhatRunsItsFilesWhenItBuildsAgain() throws Exception {
        run(Map.of());
        Path target = home.resolve("compose/standalone/target");
        Path first = target.resolve("app").toRealPath();
        Process running = new ProcessBuilder("sh", "-c", "read line", first + "/millrace.jar").start();
        try {
            Files.writeString(home.resolve("schemas/src/main/New.java"), "// new");
            assertThat(run(Map.of())).contains("building (");

            assertThat(target.resolve("app").toRealPath()).isNotEqualTo(first);
            assertThat(first.resolve("millrace.jar")).isNotEmptyFile();
        } finally {
            running.destroyForcibly().waitFor();
        }
        Files.writeString(home.resolve("schemas/src/main/Newer.java"), "// newer");
        run(Map.of());
        try (Stream<Path> kept = Files.list(target)) {
            assertThat(kept.filter(each -> each.getFileName().toString().startsWith("app-")))
                    .containsExactly(target.resolve("app").toRealPath());
        }
    }
}
