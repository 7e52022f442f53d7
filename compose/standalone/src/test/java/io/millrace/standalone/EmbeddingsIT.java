package io.millrace.standalone;

import static io.millrace.standalone.Live.JSON;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.openai.client.OpenAIClient;
import com.openai.client.okhttp.OpenAIOkHttpClient;
import com.openai.errors.NotFoundException;
import com.openai.models.embeddings.CreateEmbeddingResponse;
import com.openai.models.embeddings.EmbeddingCreateParams;
import com.openai.models.embeddings.EmbeddingCreateParams.EncodingFormat;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The embedding model of the running system, as an application uses it. */
class EmbeddingsIT {
    private static final String MODEL = "all-MiniLM-L6-v2";
    private static final List<String> TEXTS = List.of(
            "How does a canal lock lift barges?",
            "In what way are boats raised by a lock of a canal?",
            "The committee approved next year's budget.");

    @TempDir
    static Path folder;

    private static Live live;
    private static OpenAIClient client;

    @BeforeAll
    static void start() {
        live = Live.start(folder.resolve("data"), Map.of());
        client = OpenAIOkHttpClient.builder()
                .apiKey("none")
                .baseUrl(live.url() + "/v1")
                .maxRetries(0)
                .build();
    }

    @AfterAll
    static void stop() {
        client.close();
        live.close();
    }

    private static EmbeddingCreateParams.Builder asking(List<String> texts) {
        return EmbeddingCreateParams.builder().model(MODEL).inputOfArrayOfStrings(texts);
    }

    private static List<List<Float>> vectors(CreateEmbeddingResponse response) {
        return response.data().stream().map(each -> each.embedding()).toList();
    }

    private static double cosine(List<Float> a, List<Float> b) {
        assertThat(a).hasSameSizeAs(b);
        double sum = 0;
        for (int i = 0; i < a.size(); i++) {
            sum += a.get(i) * b.get(i);
        }
        return sum;
    }

    @Test
    void shouldGiveTheOfficialClientVectorsOfTheMeaningOfEachText() {
        CreateEmbeddingResponse response =
                client.embeddings().create(asking(TEXTS).build());

        assertThat(response.model()).isEqualTo(MODEL);
        assertThat(response.data()).extracting(each -> each.index()).containsExactly(0L, 1L, 2L);
        assertThat(response.usage().promptTokens()).isBetween(20L, 40L);
        List<List<Float>> vectors = vectors(response);
        assertThat(vectors).allSatisfy(vector -> {
            assertThat(vector).hasSize(384);
            assertThat(cosine(vector, vector)).isCloseTo(1, within(1e-4));
        });
        assertThat(cosine(vectors.get(0), vectors.get(1))).isGreaterThan(0.6);
        assertThat(cosine(vectors.get(0), vectors.get(2))).isLessThan(0.3);
        // one by one, and as it is named after its version
        for (int i = 0; i < TEXTS.size(); i++) {
            List<Float> alone = vectors(client.embeddings()
                            .create(EmbeddingCreateParams.builder()
                                    .model(MODEL + "-q:1")
                                    .input(TEXTS.get(i))
                                    .build()))
                    .getFirst();
            assertThat(cosine(alone, vectors.get(i))).isCloseTo(1, within(1e-3));
        }
    }

    @Test
    void shouldGiveTheSameVectorsInBothEncodings() throws Exception {
        List<List<Float>> plain = vectors(client.embeddings()
                .create(asking(TEXTS).encodingFormat(EncodingFormat.FLOAT).build()));
        List<List<Float>> decoded = vectors(client.embeddings()
                .create(asking(TEXTS).encodingFormat(EncodingFormat.BASE64).build()));
        JsonNode packed = JSON.readTree(
                live.post("/v1/embeddings", body(TEXTS).replaceFirst("\\{", "{\"encoding_format\":\"base64\","))
                        .body());

        assertThat(decoded).isEqualTo(plain);
        for (int i = 0; i < TEXTS.size(); i++) {
            ByteBuffer bytes = ByteBuffer.wrap(Base64.getDecoder()
                            .decode(packed.path("data")
                                    .path(i)
                                    .path("embedding")
                                    .asText()))
                    .order(ByteOrder.LITTLE_ENDIAN);
            List<Float> floats = new ArrayList<>();
            while (bytes.hasRemaining()) {
                floats.add(bytes.getFloat());
            }
            assertThat(floats).isEqualTo(plain.get(i));
        }
    }

    @Test
    void shouldSayWhichModelIsServedWhenAnotherIsAsked() {
        assertThatThrownBy(() -> client.embeddings()
                        .create(EmbeddingCreateParams.builder()
                                .model("text-embedding-3-small")
                                .input("x")
                                .build()))
                .isInstanceOf(NotFoundException.class)
                .hasMessageContaining(MODEL);
    }

    /** What a tokenizer may stumble over, as long as it may be. */
    @ParameterizedTest
    @ValueSource(strings = {"x", "\u0000x", "\uD83D\uDE00", "ß ", "a b", "\uDC00\uD800", "中", "[P]"})
    void shouldEmbedWhateverText(String piece) throws Exception {
        String text = piece.repeat(10_000 / piece.length());

        HttpResponse<String> response = live.post("/v1/embeddings", body(Collections.nCopies(32, text)));

        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
        JsonNode data = JSON.readTree(response.body()).path("data");
        assertThat(data).hasSize(32);
        assertThat(data.path(31).path("embedding"))
                .hasSize(384)
                .isEqualTo(data.path(0).path("embedding"));
    }

    private static String body(List<String> texts) throws Exception {
        return JSON.writeValueAsString(Map.of("model", MODEL, "input", texts));
    }
}
