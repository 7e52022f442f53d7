package io.millrace.knowledge;

import io.millrace.schema.Passage;
import java.util.List;
import java.util.Map;

/**
 * What a search is restricted to. Everything given must hold.
 *
 * @param collections any of these; empty for all
 * @param fields exact values by field, of {@link #FIELDS}
 * @param tags all of these
 * @param minSuccessRate least {@code success_rate} in the metadata, 0..1; a passage without one has 0; 0 for no restriction
 */
public record Filter(List<String> collections, Map<String, String> fields, List<String> tags, double minSuccessRate) {
    /** What can be asked for by value. */
    public static final List<String> FIELDS =
            List.of("language", "version", "framework", "category", "source", "trust");

    /** No restriction. */
    public static final Filter NONE = new Filter(List.of(), Map.of(), List.of(), 0);

    public Filter {
        collections = List.copyOf(collections);
        fields = Map.copyOf(fields);
        tags = List.copyOf(tags);
        fields.keySet().forEach(field -> {
            if (!FIELDS.contains(field)) {
                throw new IllegalArgumentException("filters." + field + ": there is no such field; there are "
                        + String.join(", ", FIELDS) + ", tags, min_success_rate");
            }
        });
    }

    /** Restricted to collections and nothing else. */
    public static Filter collections(List<String> collections) {
        return new Filter(collections, Map.of(), List.of(), 0);
    }

    /** What a passage has in a field; empty when nothing. */
    static String value(Passage passage, String field) {
        return switch (field) {
            case "source" -> passage.getSource();
            case "trust" -> passage.getTrust();
            default -> passage.getMetadata().getOrDefault(field, "");
        };
    }

    /** The success rate in a passage's metadata, 0..1; 0 when there is none. */
    static double successRate(Passage passage) {
        try {
            return Math.clamp(Double.parseDouble(passage.getMetadata().getOrDefault("success_rate", "0")), 0, 1);
        } catch (NumberFormatException e) {
            return 0;
        }
    }
}
