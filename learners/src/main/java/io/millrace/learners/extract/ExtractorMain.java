package io.millrace.learners.extract;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.ByteArrayInputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.LinkedBlockingQueue;
import org.apache.tika.config.TikaConfig;
import org.apache.tika.exception.TikaException;
import org.apache.tika.exception.WriteLimitReachedException;
import org.apache.tika.metadata.HttpHeaders;
import org.apache.tika.metadata.Metadata;
import org.apache.tika.metadata.TikaCoreProperties;
import org.apache.tika.parser.AutoDetectParser;
import org.apache.tika.parser.ParseContext;
import org.apache.tika.sax.ToHTMLContentHandler;
import org.apache.tika.sax.WriteOutContentHandler;
import org.xml.sax.SAXException;

/**
 * The process that parses: reads files from standard input, writes HTML to standard output. When its input ends, so does it, in the
 * middle of a file too.
 */
final class ExtractorMain {
    /** Without OCR: it would run a program of the machine for minutes per page. */
    private static final String CONFIG = """
            <properties>
              <parsers>
                <parser class="org.apache.tika.parser.DefaultParser">
                  <parser-exclude class="org.apache.tika.parser.ocr.TesseractOCRParser"/>
                </parser>
              </parsers>
            </properties>
            """;

    @SuppressWarnings("ArrayRecordComponent") // nobody compares jobs
    private record Job(String name, String mediaType, byte[] bytes) {}

    private ExtractorMain() {}

    public static void main(String[] arguments) throws Exception {
        int maxChars = Integer.parseInt(arguments[0]);
        DataOutputStream out = new DataOutputStream(new BufferedOutputStream(System.out));
        // parsers chat
        System.setOut(System.err);
        LinkedBlockingQueue<Job> jobs = new LinkedBlockingQueue<>();
        Thread.ofPlatform().daemon().start(() -> read(jobs));
        AutoDetectParser parser =
                new AutoDetectParser(new TikaConfig(new ByteArrayInputStream(CONFIG.getBytes(StandardCharsets.UTF_8))));
        while (true) {
            Job job = jobs.take();
            try {
                answer(out, true, parse(parser, job, maxChars));
            } catch (OutOfMemoryError e) {
                answer(out, false, "needs more memory than it is given");
            } catch (IOException | SAXException | TikaException | RuntimeException | StackOverflowError e) {
                answer(out, false, reason(e, maxChars));
            }
        }
    }

    private static void read(LinkedBlockingQueue<Job> jobs) {
        try {
            DataInputStream in = new DataInputStream(new BufferedInputStream(System.in));
            while (true) {
                jobs.add(new Job(in.readUTF(), in.readUTF(), in.readNBytes(in.readInt())));
            }
        } catch (EOFException e) {
            Runtime.getRuntime().halt(0);
        } catch (IOException e) {
            Runtime.getRuntime().halt(1);
        }
    }

    private static String parse(AutoDetectParser parser, Job job, int maxChars)
            throws IOException, SAXException, TikaException {
        Metadata metadata = new Metadata();
        metadata.set(TikaCoreProperties.RESOURCE_NAME_KEY, job.name());
        if (!job.mediaType().equals("application/octet-stream")) {
            metadata.set(HttpHeaders.CONTENT_TYPE, job.mediaType());
        }
        ToHTMLContentHandler html = new ToHTMLContentHandler();
        try (InputStream in = new ByteArrayInputStream(job.bytes())) {
            parser.parse(in, new WriteOutContentHandler(html, maxChars), metadata, new ParseContext());
        }
        return html.toString();
    }

    private static String reason(Throwable error, int maxChars) {
        if (WriteLimitReachedException.isWriteLimitReached(error)) {
            return "holds more than " + maxChars + " characters of text";
        }
        Throwable cause = error;
        while (cause.getCause() != null) {
            cause = cause.getCause();
        }
        String message =
                String.valueOf(cause.getMessage() == null ? cause.getClass().getSimpleName() : cause.getMessage());
        return "cannot be parsed: " + message.lines().findFirst().orElse("");
    }

    private static void answer(DataOutputStream out, boolean good, String text) throws IOException {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        out.writeBoolean(good);
        out.writeInt(bytes.length);
        out.write(bytes);
        out.flush();
    }
}
