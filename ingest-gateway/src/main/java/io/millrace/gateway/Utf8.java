package io.millrace.gateway;

import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;

/** Decodes bodies without hiding broken bytes. */
final class Utf8 {
    private Utf8() {}

    /** The text, or a 400 when the bytes are not UTF-8. */
    static String decode(byte[] bytes) {
        // The constructor is intrinsic and many times faster than a decoder; only a replacement character needs the
        // slow check.
        String text = new String(bytes, StandardCharsets.UTF_8);
        if (text.indexOf('\uFFFD') >= 0) {
            try {
                StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes));
            } catch (CharacterCodingException e) {
                throw Problem.invalid("body", "the body is not valid UTF-8");
            }
        }
        return text;
    }
}
