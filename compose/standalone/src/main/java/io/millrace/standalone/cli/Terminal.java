package io.millrace.standalone.cli;

import java.util.Locale;

/**
 * What a command prints. Answers, documents, names of files and log lines are others' words: a character with which they could move the cursor,
 * rewrite the screen or turn the direction of reading is written out instead, as {@code \\u001b}. Within JSON that is the same string.
 */
public final class Terminal {
    private Terminal() {}

    /** Prints to standard output, with a line end. */
    public static void line(String text) {
        System.out.println(printable(text));
    }

    /** Prints to standard error, with a line end. */
    public static void error(String text) {
        System.err.println(printable(text));
    }

    /** Prints to standard output in the place of the line that the cursor is in. */
    static void inPlace(String text) {
        System.out.print("\r" + printable(text) + " ");
        System.out.flush();
    }

    /** For what must stay within its line, such as a name: line ends are written out, too. */
    public static String inLine(String text) {
        return printable(text)
                .replace("\n", "\\u000a")
                .replace("\u2028", "\\u2028")
                .replace("\u2029", "\\u2029");
    }

    private static String printable(String text) {
        StringBuilder printable = new StringBuilder(text.length());
        for (int i = 0; i < text.length(); i++) {
            char each = text.charAt(i);
            boolean endsLine = each == '\r' && i + 1 < text.length() && text.charAt(i + 1) == '\n';
            if (!isHarmful(each)) {
                printable.append(each);
            } else if (!endsLine) {
                printable.append(String.format(Locale.ROOT, "\\u%04x", (int) each));
            }
        }
        return printable.toString();
    }

    /** Controls but newline and tab, and those of direction. What joins or hides letters stays: languages and emoji are written with it. */
    private static boolean isHarmful(char each) {
        return (each < 0x20 && each != '\n' && each != '\t')
                || (each >= 0x7f && each <= 0x9f)
                || (each >= 0x202a && each <= 0x202e)
                || (each >= 0x2066 && each <= 0x2069);
    }
}
