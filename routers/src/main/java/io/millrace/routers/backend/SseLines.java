package io.millrace.routers.backend;

import io.millrace.log.Vocabulary.FailureReason;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import org.jspecify.annotations.Nullable;

/** Lines of a stream, as they come, with a bound on each and on all of them. */
final class SseLines {
    private static final int BUFFER = 8 * 1024;

    private final InputStream in;
    private final int maxLine;
    private final long maxTotal;
    private final byte[] buffer = new byte[BUFFER];
    private int from;
    private int to;
    private long total;

    /**
     * @param maxLine bytes of the longest line
     * @param maxTotal bytes of all
     */
    SseLines(InputStream in, int maxLine, long maxTotal) {
        this.in = in;
        this.maxLine = maxLine;
        this.maxTotal = maxTotal;
    }

    /** The next line without its end, as soon as it is whole; null at the end of the stream. */
    @Nullable
    String next() throws IOException, BackendException {
        ByteArrayOutputStream line = new ByteArrayOutputStream(256);
        while (true) {
            if (from == to && !fill()) {
                return line.size() == 0 ? null : text(line);
            }
            int end = from;
            while (end < to && buffer[end] != '\n') {
                end++;
            }
            line.write(buffer, from, end - from);
            if (line.size() > maxLine) {
                throw tooLong("a line", maxLine);
            }
            if (end < to) {
                from = end + 1;
                return text(line);
            }
            from = to;
        }
    }

    private boolean fill() throws IOException, BackendException {
        int read = in.read(buffer);
        if (read <= 0) {
            return false;
        }
        from = 0;
        to = read;
        total += read;
        if (total > maxTotal) {
            throw tooLong("the stream", maxTotal);
        }
        return true;
    }

    private static String text(ByteArrayOutputStream line) {
        String text = line.toString(StandardCharsets.UTF_8);
        return text.endsWith("\r") ? text.substring(0, text.length() - 1) : text;
    }

    private static BackendException tooLong(String what, long bound) {
        return new BackendException(
                FailureReason.BACKEND_GARBAGE, what + " is longer than " + bound + " bytes", 502, true);
    }
}
