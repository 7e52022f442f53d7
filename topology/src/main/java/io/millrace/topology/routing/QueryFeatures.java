package io.millrace.topology.routing;

import io.millrace.schema.Feature;
import io.millrace.schema.Query;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Cheap features of a query: its length, its type and its evidence. The type is the predecessor's task classifier (section 3.2 of
 * its facts; first match wins), as one-hot features.
 */
final class QueryFeatures {
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

    private QueryFeatures() {}

    static List<Feature> of(Query query, @Nullable Double contextScore) {
        String text = query.getText();
        List<Feature> features = new ArrayList<>(4);
        features.add(new Feature("length_chars", (double) text.length()));
        features.add(new Feature("type_" + typeOf(text), 1.0));
        if (contextScore != null) {
            features.add(new Feature("context_score", contextScore));
        }
        return List.copyOf(features);
    }

    static String typeOf(String text) {
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
