package io.millrace.config;

import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** A value that is never printed. */
public record Secret(String value) {
    public static final Secret NONE = new Secret("");

    private static final String MASK = "********";

    /** In {@code redis://:secret@host}, and in {@code jdbc:postgresql://host/db?user=u&password=secret}. */
    private static final Pattern IN_URL =
            Pattern.compile("(?<=://)([^\\s/@:]*:)[^\\s/@]+(?=@)|(?i)((?<=[?&])[a-z]*(?:password|key|token)=)[^&\\s]+");

    /** A URL without the passwords that it may hold; any other text as it is. */
    public static String masked(String url) {
        return IN_URL.matcher(url)
                .replaceAll(found ->
                        Matcher.quoteReplacement((found.group(1) == null ? found.group(2) : found.group(1)) + MASK));
    }

    public boolean isPresent() {
        return !value.isEmpty();
    }

    @Override
    public String toString() {
        return isPresent() ? MASK : "";
    }
}
