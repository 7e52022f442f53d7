package io.millrace.topology.routing;

import io.millrace.schema.Feature;
import io.millrace.schema.Query;
import io.millrace.text.QueryType;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Cheap features of a query: its length, its type and its evidence. The type is the predecessor's task classifier (section 3.2 of
 * its facts; first match wins), as one-hot features.
 */
final class QueryFeatures {
    private QueryFeatures() {}

    static List<Feature> of(Query query, @Nullable Double contextScore) {
        String text = query.getText();
        List<Feature> features = new ArrayList<>(4);
        features.add(new Feature("length_chars", (double) text.length()));
        features.add(new Feature("type_" + QueryType.of(text), 1.0));
        if (contextScore != null) {
            features.add(new Feature("context_score", contextScore));
        }
        return List.copyOf(features);
    }
}
