package io.millrace.routers.backend;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class SseLinesTest {
    /** Gives at most so many bytes at once, as a network does. */
    private static InputStream trickle(String text, int step) {
        return new ByteArrayInputStream(text.getBytes(StandardCharsets.UTF_8)) {
            @Override
            public synchronized int read(byte[] into, int offset, int length) {
                return super.read(into, offset, Math.min(step, length));
            }
        };
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2, 3, 7, 10_000})
    void shouldJoinLinesHoweverTheyArrive(int step) throws Exception {
        String longLine = "x".repeat(20_000);
        SseLines lines = new SseLines(trickle("data: Mühle 水\r\n\n" + longLine + "\nlast", step), 30_000, 100_000);

        List<String> read = new ArrayList<>();
        for (String line = lines.next(); line != null; line = lines.next()) {
            read.add(line);
        }

        assertThat(read).containsExactly("data: Mühle 水", "", longLine, "last");
    }

    @Test
    void shouldRefuseALineWithoutEnd() {
        SseLines lines = new SseLines(trickle("y".repeat(5_000), 100), 1_000, 100_000);

        assertThatThrownBy(lines::next).isInstanceOf(BackendException.class).hasMessageContaining("a line");
    }

    @Test
    void shouldRefuseAStreamWithoutEnd() throws Exception {
        SseLines lines = new SseLines(trickle("y\n".repeat(5_000), 100), 1_000, 1_000);

        assertThatThrownBy(() -> {
                    for (int i = 0; i < 5_000; i++) {
                        lines.next();
                    }
                })
                .isInstanceOf(BackendException.class)
                .hasMessageContaining("the stream");
    }
}
