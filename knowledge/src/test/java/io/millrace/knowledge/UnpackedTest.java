package io.millrace.knowledge;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.onnxruntime.OrtEnvironment;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.FileTime;
import java.time.Instant;
import org.junit.jupiter.api.Test;

class UnpackedTest {
    /** In a jar, and small. */
    private static final String RESOURCE = "META-INF/MANIFEST.MF";

    @Test
    void aFileIsWrittenOnceAndDamageIsMended() throws IOException {
        byte[] expected;
        try (InputStream in = OrtEnvironment.class.getResourceAsStream("/" + RESOURCE)) {
            assertThat(in).isNotNull();
            expected = in.readAllBytes();
        }
        Path file = Unpacked.file(OrtEnvironment.class, RESOURCE);
        assertThat(file).hasFileName("MANIFEST.MF").hasBinaryContent(expected);

        FileTime old = FileTime.from(Instant.parse("2020-01-01T00:00:00Z"));
        Files.setLastModifiedTime(file, old);
        assertThat(Unpacked.file(OrtEnvironment.class, RESOURCE)).isEqualTo(file);
        assertThat(Files.getLastModifiedTime(file)).isEqualTo(old);

        // of the same length, as after a power cut
        Files.write(file, new byte[expected.length]);
        Unpacked.file(OrtEnvironment.class, RESOURCE);
        assertThat(file).hasBinaryContent(expected);

        Files.write(file, new byte[] {1}, StandardOpenOption.APPEND);
        Unpacked.file(OrtEnvironment.class, RESOURCE);
        assertThat(file).hasBinaryContent(expected);
        // other processes unpack other files meanwhile
        try (var beside = Files.list(file.getParent())) {
            assertThat(beside).noneMatch(each -> each.getFileName().toString().startsWith("part-MANIFEST.MF"));
        }
    }

    @Test
    void whatIsMissingIsNamed() {
        assertThatThrownBy(() -> Unpacked.file(OrtEnvironment.class, "no/such.onnx"))
                .isInstanceOf(IOException.class)
                .hasMessageContaining("no/such.onnx");
    }
}
