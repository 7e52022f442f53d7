package io.millrace.standalone;

import static com.tngtech.archunit.core.domain.JavaClass.Predicates.resideInAnyPackage;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;
import static org.assertj.core.api.Assertions.assertThat;

import com.tngtech.archunit.base.DescribedPredicate;
import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption.DoNotIncludeTests;
import com.tngtech.archunit.lang.ArchRule;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Which module sees which: the folders are the architecture. */
class ModulesTest {
    private static final String ROOT = "io.millrace.";
    private static final Set<String> CONTRACT = Set.of("config", "id", "log", "schema", "service", "text");

    /** By module, which is the first package below ours: what of ours it may see beside itself and the contract. */
    private static final Map<String, Set<String>> MAY_SEE = new TreeMap<>(Map.of(
            "schemas", Set.of(),
            "connect", Set.of(),
            "topology", Set.of(),
            "knowledge", Set.of(),
            "gateway", Set.of(),
            "routers", Set.of("knowledge"),
            "learners", Set.of("knowledge"),
            "sinks", Set.of("knowledge"),
            "bench", Set.of("topology", "knowledge", "gateway", "routers", "learners", "sinks"),
            "standalone", Set.of("topology", "knowledge", "gateway", "routers", "learners", "sinks")));

    private static final JavaClasses OURS =
            new ClassFileImporter().withImportOption(new DoNotIncludeTests()).importPackages("io.millrace");

    static Stream<String> modules() {
        return MAY_SEE.keySet().stream();
    }

    @ParameterizedTest
    @MethodSource("modules")
    void shouldSeeOnlyWhatItMay(String module) {
        List<String> seen = new ArrayList<>(packages("schemas"));
        seen.addAll(packages(module));
        MAY_SEE.getOrDefault(module, Set.of()).forEach(other -> seen.addAll(packages(other)));
        DescribedPredicate<JavaClass> theirs = DescribedPredicate.not(resideInAnyPackage("io.millrace.."));
        ArchRule rule = classes()
                .that()
                .resideInAnyPackage(packages(module).toArray(String[]::new))
                .should()
                .onlyDependOnClassesThat(theirs.or(resideInAnyPackage(seen.toArray(String[]::new))))
                .because("the design's layout says so (section 2)");

        rule.check(OURS);
    }

    private static List<String> packages(String module) {
        return module.equals("schemas")
                ? CONTRACT.stream().map(name -> ROOT + name + "..").toList()
                : List.of(ROOT + module + "..");
    }

    /** A rule about packages says nothing of one that it has not heard of. */
    @Test
    void shouldKnowEveryPackage() {
        assertThat(OURS.stream()
                        .map(each ->
                                each.getPackageName().substring(ROOT.length()).split("\\.", 2)[0])
                        .map(name -> CONTRACT.contains(name) ? "schemas" : name)
                        .distinct())
                .containsExactlyInAnyOrderElementsOf(MAY_SEE.keySet());
    }

    /** The build says the same as the rules: what a pom does not name cannot be seen, whatever the packages are called. */
    @Test
    void shouldNameInEachPomOnlyWhatTheModuleMaySee() throws IOException {
        Path home = Path.of("..", "..");
        for (Map.Entry<String, Set<String>> module : MAY_SEE.entrySet()) {
            Path folder = home.resolve(
                    switch (module.getKey()) {
                        case "gateway" -> "ingest-gateway";
                        case "standalone" -> "compose/standalone";
                        case "connect" -> "connectors";
                        default -> module.getKey();
                    });
            List<String> named = Files.readString(folder.resolve("pom.xml"))
                    .lines()
                    .filter(line -> line.contains("<dependency><groupId>io.millrace</groupId>"))
                    .filter(line -> !line.contains("<scope>test</scope>"))
                    .map(line -> line.replaceAll(".*<artifactId>millrace-(ingest-)?([a-z]+)</artifactId>.*", "$2"))
                    .filter(name -> !name.equals("schemas"))
                    .toList();

            assertThat(module.getValue()).as("pom of %s", module.getKey()).containsAll(named);
        }
    }

    @Test
    void shouldHaveNoCyclesOfPackages() {
        slices().matching("io.millrace.(**)").should().beFreeOfCycles().check(OURS);
    }
}
