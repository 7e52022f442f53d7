package io.millrace.connect;

import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.Charset;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.Locale;
import java.util.Map;

/** What a file is, by its name and its bytes. Office files and PDF go on as base64; the normalizer reads them. */
final class Contents {
    private static final Map<String, String> PACKED = Map.ofEntries(
            Map.entry("pdf", "application/pdf"),
            Map.entry("doc", "application/msword"),
            Map.entry("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
            Map.entry("xls", "application/vnd.ms-excel"),
            Map.entry("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
            Map.entry("ppt", "application/vnd.ms-powerpoint"),
            Map.entry("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
            Map.entry("odt", "application/vnd.oasis.opendocument.text"),
            Map.entry("ods", "application/vnd.oasis.opendocument.spreadsheet"),
            Map.entry("odp", "application/vnd.oasis.opendocument.presentation"),
            Map.entry("rtf", "application/rtf"),
            Map.entry("epub", "application/epub+zip"));
    private static final Map<String, String> TEXT = Map.of(
            "md", "text/markdown",
            "markdown", "text/markdown",
            "mdx", "text/markdown",
            "html", "text/html",
            "htm", "text/html",
            "xhtml", "text/html",
            "txt", "text/plain",
            "rst", "text/x-rst");

    /** Above this share of control characters nobody wrote it as text. */
    private static final double MOST_CONTROLS = 0.02;

    private Contents() {}

    /** Bytes that are no document. */
    static final class NotADocumentException extends Exception {
        private static final long serialVersionUID = 1L;

        NotADocumentException(String message) {
            super(message);
        }
    }

    /** Puts content and content type of a file into a document. */
    static void of(String path, byte[] bytes, Map<String, Object> document) throws NotADocumentException {
        String ending = ending(path);
        String packed = PACKED.get(ending);
        if (packed != null) {
            packed(packed, bytes, document);
            return;
        }
        document.put("content", text(bytes));
        document.put("content_type", TEXT.getOrDefault(ending, "text/plain"));
    }

    /** Puts bytes of a media type that the normalizer unpacks into a document. */
    static void packed(String mediaType, byte[] bytes, Map<String, Object> document) {
        document.put("content_base64", Base64.getEncoder().encodeToString(bytes));
        document.put("content_type", mediaType);
    }

    static boolean isPacked(String mediaType) {
        return PACKED.containsValue(mediaType);
    }

    static String text(byte[] bytes) throws NotADocumentException {
        if (bytes.length >= 2
                && ((bytes[0] == (byte) 0xff && bytes[1] == (byte) 0xfe)
                        || (bytes[0] == (byte) 0xfe && bytes[1] == (byte) 0xff))) {
            return new String(bytes, StandardCharsets.UTF_16);
        }
        int controls = 0;
        for (byte each : bytes) {
            if (each == 0) {
                throw new NotADocumentException("binary, no text");
            }
            if (each > 0
                    && each < 0x20
                    && each != '\n'
                    && each != '\r'
                    && each != '\t'
                    && each != '\f'
                    && each != 0x1b) {
                controls++;
            }
        }
        if (controls > bytes.length * MOST_CONTROLS) {
            throw new NotADocumentException("binary, no text");
        }
        try {
            return StandardCharsets.UTF_8
                    .newDecoder()
                    .onMalformedInput(CodingErrorAction.REPORT)
                    .decode(ByteBuffer.wrap(bytes))
                    .toString();
        } catch (CharacterCodingException e) {
            return new String(bytes, Charset.forName("windows-1252"));
        }
    }

    private static String ending(String path) {
        String name = path.substring(path.lastIndexOf('/') + 1);
        return name.substring(name.lastIndexOf('.') + 1).toLowerCase(Locale.ROOT);
    }
}
