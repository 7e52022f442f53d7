package io.millrace.knowledge;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.millrace.knowledge.QdrantIndex.QdrantException;
import io.millrace.knowledge.QdrantIndex.Server;
import io.millrace.schema.Passage;
import io.qdrant.client.grpc.Collections.CreateCollection;
import io.qdrant.client.grpc.Collections.Distance;
import io.qdrant.client.grpc.Collections.Modifier;
import io.qdrant.client.grpc.Collections.VectorParams;
import io.qdrant.client.grpc.Points.PointStruct;
import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** The contract against the double, and what of Qdrant a person would look for there. */
class QdrantIndexTest extends VectorIndexContract {
    private static final List<String> COLLECTIONS = List.of("best-practices", "one", "two");

    private QdrantDouble server;

    QdrantIndexTest() throws IOException {
        server = new QdrantDouble();
    }

    @Override
    VectorIndex open() {
        return open("test:1");
    }

    private QdrantIndex open(String fingerprint) {
        return QdrantIndex.open(
                new Server("127.0.0.1", server.port(), false, "", "t-", Duration.ofSeconds(30)),
                COLLECTIONS,
                4,
                fingerprint);
    }

    @BeforeEach
    void noOther() {
        assertThat(server.collections).hasSize(COLLECTIONS.size() + 1);
    }

    @AfterEach
    void stop() {
        server.close();
    }

    @Test
    void shouldMakeCollectionsWithTheParametersOfTheSeeds() {
        CreateCollection made = Objects.requireNonNull(server.created.get("t-best-practices"));

        VectorParams dense = made.getVectorsConfig().getParamsMap().getMapOrThrow("dense");
        assertThat(dense.getSize()).isEqualTo(4);
        assertThat(dense.getDistance()).isEqualTo(Distance.Cosine);
        assertThat(dense.getHnswConfig().getM()).isEqualTo(16);
        assertThat(dense.getHnswConfig().getEfConstruct()).isEqualTo(64);
        assertThat(dense.getHnswConfig().getFullScanThreshold()).isEqualTo(10_000);
        assertThat(made.getSparseVectorsConfig().getMapOrThrow("words").getModifier())
                .isEqualTo(Modifier.Idf);
    }

    @Test
    void shouldKeepThePayloadFieldsOfTheSeeds() {
        put(Passage.newBuilder(passage(1, NORTH, "code"))
                .setPath("src/a.nix")
                .setMetadata(Map.of("language", "nix", "framework", "nixpkgs", "purpose", "build"))
                .build());

        PointStruct point = Objects.requireNonNull(server.collections.get("t-best-practices"))
                .values()
                .iterator()
                .next();
        assertThat(point.getId().getUuid()).isEqualTo("11111111-1111-1111-1111-111111111111");
        assertThat(point.getPayloadMap())
                .containsKeys("file_path", "language", "framework", "purpose", "success_rate", "content");
        assertThat(point.getPayloadOrThrow("purpose").getStringValue()).isEqualTo("build");
    }

    @Test
    void shouldMoveAPassageWhoseCollectionChanged() {
        put(passage(1, NORTH, "sluice"));

        put(Passage.newBuilder(passage(1, NORTH, "sluice")).setCollection("two").build());

        assertThat(index.count()).isEqualTo(1);
        assertThat(server.collections.get("t-best-practices")).isEmpty();
        assertThat(server.collections.get("t-two")).hasSize(1);
    }

    @Test
    void shouldStartAnewWhenAnotherModelMadeIt() {
        put(passage(1, NORTH, "sluice"));
        index.commit(Map.of(0, 1L));
        index.close();

        index = open("test:2");

        assertThat(index.count()).isZero();
        assertThat(index.committed()).isEmpty();
    }

    @Test
    void shouldKeepWhatCouldNotBeSent() throws IOException {
        server.close();
        index.put(passage(1, NORTH, "sluice"));
        assertThatThrownBy(index::refresh).isInstanceOf(QdrantException.class);

        server = new QdrantDouble();
        index.close();
        index = open();

        // another connection, as after a restart: the log brings it again
        put(passage(1, NORTH, "sluice"));
        assertThat(index.count()).isEqualTo(1);
    }

    /** Each query waited ten seconds for the count before its time for retrieval began. */
    @Test
    void shouldTakeTheLastCountForItsVersionWhenTheServerDoesNotCount() {
        put(passage(1, NORTH, "sluice"));
        String version = index.version();
        server.silent = true;
        long began = System.nanoTime();

        assertThat(index.version()).isEqualTo(version);

        assertThat(Duration.ofNanos(System.nanoTime() - began)).isLessThan(Duration.ofSeconds(4));
        server.silent = false;
        put(passage(2, NORTH, "weir"));
        assertThat(index.version()).isNotEqualTo(version);
    }

    @Test
    void shouldSayThatTheServerIsNotThere() {
        server.close();

        assertThatThrownBy(() -> open("test:1"))
                .isInstanceOf(QdrantException.class)
                .hasMessageContaining("Qdrant did not");
    }
}
