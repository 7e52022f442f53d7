package io.millrace.gateway;

import com.fasterxml.jackson.core.JacksonException;
import com.fasterxml.jackson.core.JsonLocation;
import com.fasterxml.jackson.core.exc.StreamConstraintsException;
import java.io.IOException;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/** What a client is told of a body that is not JSON: the parser's own words, without those about the parser. */
final class BadJson {
    /** Where a structure began. */
    private static final Pattern SOURCE =
            Pattern.compile("\\[Source: [^;\\]]*; (?:line: (\\d+), column: (\\d+))?[^\\]]*]");
    /** Switches that a program could set, from where they are named. */
    private static final Pattern SWITCH = Pattern.compile(
            ", from `[^`]*`|: (?:enable|disable) `[^`]*`.*| ?\\([^()]*(?:Feature|`)[^()]*\\)|: maybe a \\(non-standard\\) comment\\?");

    private static final Pattern INTERNAL = Pattern.compile("`|Feature|Source:|Stream|com\\.fasterxml");

    private BadJson() {}

    static Problem problem(IOException error) {
        if (error instanceof JacksonException json) {
            String words = words(json);
            return Problem.invalid(
                    "body",
                    json instanceof StreamConstraintsException
                            ? "the body goes beyond what JSON parsers take" + words
                            : "the body is not JSON" + words + place(json.getLocation()));
        }
        return Problem.invalid("body", "the body is not JSON");
    }

    private static String words(JacksonException error) {
        String said = error.getOriginalMessage();
        String plain = SWITCH.matcher(SOURCE.matcher(said).replaceAll("line $1, column $2"))
                .replaceAll("")
                .strip();
        // of another version of the parser perhaps
        return plain.isEmpty() || INTERNAL.matcher(plain).find() ? "" : ": " + plain;
    }

    private static String place(@Nullable JsonLocation at) {
        return at == null ? "" : " at line " + at.getLineNr() + ", column " + at.getColumnNr();
    }
}
