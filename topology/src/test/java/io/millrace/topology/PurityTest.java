package io.millrace.topology;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;

import com.tngtech.archunit.core.importer.ImportOption.DoNotIncludeTests;
import com.tngtech.archunit.junit.AnalyzeClasses;
import com.tngtech.archunit.junit.ArchTest;
import com.tngtech.archunit.lang.ArchRule;
import java.time.Instant;
import java.util.Random;

/** Law 2: topologies have no I/O, no wall clock and no chance. */
@AnalyzeClasses(packages = "io.millrace.topology", importOptions = DoNotIncludeTests.class)
class PurityTest {
    @ArchTest
    static final ArchRule SEES_ONLY_THE_CONTRACT_AND_STREAMS = classes()
            .should()
            .onlyDependOnClassesThat()
            .resideInAnyPackage(
                    "io.millrace.topology..",
                    "io.millrace.schema..",
                    "io.millrace.log..",
                    "io.millrace.config..",
                    "io.millrace.text..",
                    "io.millrace.id..",
                    "io.millrace.service..",
                    "org.apache.kafka..",
                    "org.apache.avro..",
                    "org.slf4j..",
                    "org.jspecify..",
                    "io.micrometer..",
                    "java..");

    @ArchTest
    static final ArchRule HAS_NO_CLOCK_AND_NO_CHANCE = noClasses()
            .that()
            .resideInAnyPackage(
                    "io.millrace.topology.routing..",
                    "io.millrace.topology.ledger..",
                    "io.millrace.topology.internal..")
            .should()
            .callMethod(System.class, "currentTimeMillis")
            .orShould()
            .callMethod(System.class, "nanoTime")
            .orShould()
            .callMethod(Instant.class, "now")
            .orShould()
            .dependOnClassesThat()
            .areAssignableTo(Random.class)
            .orShould()
            .dependOnClassesThat()
            .resideInAnyPackage("java.net..", "java.nio.file..", "java.sql..");
}
