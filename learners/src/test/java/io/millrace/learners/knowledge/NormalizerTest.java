package io.millrace.learners.knowledge;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.millrace.learners.extract.Extractor.NoTextException;
import io.millrace.learners.extract.Extractor.UnreadableException;
import io.millrace.log.Records;
import io.millrace.schema.Document;
import io.millrace.schema.RawDocument;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What of a raw document is kept. Keys are put together here, so that this file holds none. */
class NormalizerTest {
    private static final String SECRET = "sk-" + "proj-abcdef123456abcdef";

    @BeforeAll
    static void trust() {
        Records.trust();
    }

    @Test
    void shouldKeepNoSecretOfWhatIsBesideTheText() throws UnreadableException {
        Document document = Normalizer.ofText(RawDocument.newBuilder(raw("dir/" + SECRET + ".md"))
                .setSourceUrl("http://bob:pa55" + "w0rdXX@host/page?access_token=" + SECRET)
                .setTags(List.of("mill", SECRET))
                .setMetadata(Map.of("version", SECRET))
                .build());

        assertThat(document.toString())
                .doesNotContain("abcdef123456")
                .doesNotContain("w0rdXX")
                .contains("mill");
        assertThat(document.getPath()).isEqualTo("dir/[REDACTED:api_key].md");
        assertThat(document.getTitle()).isEqualTo("[REDACTED:api_key].md");
        assertThat(document.getSourceUrl())
                .isEqualTo("http://bob:[REDACTED:connection_password]@host/page?access_token=[REDACTED:api_key]");
    }

    @Test
    void shouldKnowDocumentsByTheirOwnPaths() throws UnreadableException {
        RawDocument one = raw(SECRET + "1");
        RawDocument other = raw(SECRET + "2");

        assertThat(Normalizer.ofText(one).getPath())
                .isEqualTo(Normalizer.ofText(other).getPath());
        assertThat(Normalizer.ofText(one).getDocumentId())
                .isEqualTo(Normalizer.documentId(one.getEnvelope().getTenant(), one.getSource(), one.getPath()))
                .isNotEqualTo(Normalizer.ofText(other).getDocumentId());
    }

    /** What was emptied is told from what cannot be read: its last version goes. */
    @ParameterizedTest
    @ValueSource(strings = {"", " \n\t", "\u200b", "<html><body><img src='a.png'></body></html>"})
    void shouldTellWhatHoldsNoText(String content) {
        RawDocument raw = RawDocument.newBuilder(raw("a.html"))
                .setContent(content)
                .setContentType("text/html")
                .build();

        assertThatThrownBy(() -> Normalizer.ofText(raw))
                .isInstanceOf(NoTextException.class)
                .hasMessage("there is no text in it");
    }

    /** A client may write it anew while the garbage collector still looks at others. */
    @Test
    void shouldDeleteOnlyTheVersionThatIsNamed() {
        RawDocument deletion = RawDocument.newBuilder(raw("a.md"))
                .setDocumentId("a")
                .setDeleted(true)
                .setMetadata(Map.of("checksum", "1"))
                .build();

        assertThat(Normalizer.isMeant(deletion, new DocumentTable.Entry("notes", "a.md", "1", false)))
                .isTrue();
        assertThat(Normalizer.isMeant(deletion, new DocumentTable.Entry("notes", "a.md", "2", false)))
                .isFalse();
        // a client that deletes means whatever there is
        assertThat(Normalizer.isMeant(
                        RawDocument.newBuilder(deletion).setMetadata(Map.of()).build(),
                        new DocumentTable.Entry("notes", "a.md", "2", false)))
                .isTrue();
    }

    private static RawDocument raw(String path) {
        return RawDocument.newBuilder()
                .setSource("notes")
                .setPath(path)
                .setContent("The mill shop opens at seven.")
                .build();
    }
}
