package io.millrace.text;

import java.util.List;
import java.util.Locale;
import java.util.regex.Pattern;

/** The predecessor's task classifier (section 3.2 of its facts; first match wins). */
public final class QueryType {
    private record Type(String name, Pattern pattern) {}

    private static final List<Type> TYPES = List.of(
            type("code", "implement|refactor|debug|fix.*bug|write.*function|write.*class|write.*script|add.*feature"),
            type(
                    "reasoning",
                    "\\bwhy\\b|how does|explain|analy[sz]e|compare|\\bdesign\\b|architect|strategy|trade.?off"),
            type("format", "\\bformat\\b|convert|extract|\\bjson\\b|\\byaml\\b|\\bcsv\\b|\\bparse|transform|output as"),
            type("lookup", "what is|what are|define|who is|when was|where is|\\bwhich\\b|list the|list all"));

    /** The classifier looks at the beginning only: a pasted log must not cost time or decide the type. */
    private static final int LOOK_AT = 2_000;

    private QueryType() {}

    /** code, reasoning, format, lookup or synthesize. */
    public static String of(String text) {
        String head = text.substring(0, Math.min(text.length(), LOOK_AT)).toLowerCase(Locale.ROOT);
        return TYPES.stream()
                .filter(t -> t.pattern.matcher(head).find())
                .map(Type::name)
                .findFirst()
                .orElse("synthesize");
    }

    private static Type type(String name, String regex) {
        return new Type(name, Pattern.compile(regex));
    }
}
