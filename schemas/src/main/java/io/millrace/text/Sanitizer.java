package io.millrace.text;

/** Strips characters that a reader does not see: C0 and C1 controls (TAB, LF and CR stay), bidirectional overrides, zero-width. */
public final class Sanitizer {
    private Sanitizer() {}

    /** The text without invisible characters; the same object when there are none. */
    public static String sanitize(String text) {
        int length = text.length();
        for (int i = 0; i < length; i++) {
            if (isInvisible(text.charAt(i))) {
                StringBuilder out = new StringBuilder(length).append(text, 0, i);
                for (int j = i; j < length; j++) {
                    char c = text.charAt(j);
                    if (!isInvisible(c)) {
                        out.append(c);
                    }
                }
                return out.toString();
            }
        }
        return text;
    }

    private static boolean isInvisible(char c) {
        return (c < 0x20 && c != '\t' && c != '\n' && c != '\r')
                || (c >= 0x7f && c <= 0x9f)
                || (c >= 0x202a && c <= 0x202e)
                || (c >= 0x2066 && c <= 0x2069)
                || (c >= 0x200b && c <= 0x200f && c != 0x200d && c != 0x200c)
                || c == 0x2060
                || c == 0xfeff;
    }
}
