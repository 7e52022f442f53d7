package io.millrace.standalone;

import static io.millrace.standalone.Live.JSON;
import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.config.ConfigLoader;
import io.millrace.knowledge.QdrantDouble;
import io.qdrant.client.PointIdFactory;
import io.qdrant.client.grpc.Common.PointId;
import io.qdrant.client.grpc.Points.PointStruct;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The running system with its passages on a Qdrant server: a double of it, or the one that MILLRACE_TEST_QDRANT_URL names. */
class QdrantIT {
    @TempDir
    Path folder;

    @Test
    void shouldKeepPassagesOnTheServerAndFindThemAfterARestart() throws Exception {
        try (QdrantDouble server = new QdrantDouble()) {
            String url = Optional.ofNullable(System.getenv("MILLRACE_TEST_QDRANT_URL"))
                    .orElse("http://127.0.0.1:" + server.port());
            String config = "knowledge: {index: qdrant, qdrant-url: \"" + url + "\", qdrant-prefix: \"it-"
                    + System.nanoTime() + "-\"}\n";
            try (Live first = Live.start(folder.resolve("data"), config)) {
                add(first, "lock.md", "A canal lock lifts barges between two levels of water.");
                add(first, "mill.md", "The mill grinds wheat with two stones.");
                for (String mode : List.of("keyword", "semantic", "hybrid", "tree", "auto")) {
                    assertThat(paths(first, mode, "\"language\":\"en\""))
                            .as(mode)
                            .startsWith("lock.md");
                    assertThat(paths(first, mode, "\"language\":\"fr\""))
                            .as(mode)
                            .isEmpty();
                }
            }
            try (Live second = Live.start(folder.resolve("data"), config)) {
                assertThat(paths(second, "hybrid", "\"language\":\"en\"")).startsWith("lock.md");
            }

            // as an operator's slip would, and a passage that is on no log
            String kept = Objects.requireNonNull(server.collections.keySet().stream()
                    .filter(name -> name.endsWith("codebase-context"))
                    .findFirst()
                    .orElse(null));
            Map<PointId, PointStruct> points = Objects.requireNonNull(server.collections.get(kept));
            assertThat(points).hasSizeGreaterThanOrEqualTo(2);
            Set<PointId> before = Set.copyOf(points.keySet());
            PointId slipped = before.iterator().next();
            PointStruct stray = Objects.requireNonNull(points.remove(slipped));
            points.put(PointIdFactory.id(7), stray);
            Rebuild.Result rebuilt = Rebuild.run(
                    ConfigLoader.load(
                            Optional.of(Files.writeString(folder.resolve("rebuild.yaml"), config)), Map.of(), Map.of()),
                    folder.resolve("data"),
                    Rebuild.What.INDEX,
                    line -> {});
            assertThat(rebuilt.exact()).as("%s", rebuilt.counts()).isTrue();
            assertThat(Objects.requireNonNull(server.collections.get(kept)).keySet())
                    .isEqualTo(before);
        }
    }

    private static void add(Live live, String path, String text) throws Exception {
        HttpResponse<String> response = live.post(
                "/documents?wait=true",
                JSON.createObjectNode()
                        .put("project", "it")
                        .put("relative_path", path)
                        .put("content", text)
                        .set("metadata", JSON.createObjectNode().put("language", "en"))
                        .toString());
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
    }

    private static List<String> paths(Live live, String mode, String filter) throws Exception {
        HttpResponse<String> response = live.post(
                "/search",
                "{\"query\":\"how does a canal lock lift barges\",\"mode\":\"" + mode + "\",\"filters\":{" + filter
                        + "}}");
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        return JSON.readTree(response.body()).path("results").findValuesAsText("path");
    }
}
