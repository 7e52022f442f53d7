package io.millrace.knowledge;

import io.millrace.knowledge.QdrantIndex.Server;
import java.net.URI;
import java.time.Duration;
import java.util.List;
import java.util.UUID;
import org.junit.jupiter.api.condition.EnabledIfEnvironmentVariable;

/** The contract against a real server, as {@code http://host:6334}; its collections are left behind under a prefix of their own. */
@EnabledIfEnvironmentVariable(named = "MILLRACE_TEST_QDRANT_URL", matches = ".+")
class QdrantServerTest extends VectorIndexContract {
    private final String prefix = "millrace-test-" + UUID.randomUUID() + "-";

    @Override
    VectorIndex open() {
        URI url = URI.create(System.getenv("MILLRACE_TEST_QDRANT_URL"));
        return QdrantIndex.open(
                new Server(
                        url.getHost(),
                        url.getPort() < 0 ? 6334 : url.getPort(),
                        "https".equals(url.getScheme()),
                        "",
                        prefix,
                        Duration.ofSeconds(30)),
                List.of("best-practices", "one", "two"),
                4,
                "test:1");
    }
}
