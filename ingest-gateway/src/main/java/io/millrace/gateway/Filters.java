package io.millrace.gateway;

import io.millrace.text.DocumentQuestion;
import io.vertx.core.json.JsonObject;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** The {@code filters} of a request, valid by the contract. */
record Filters(Map<String, String> fields, List<String> tags, double minSuccessRate) {
    private static final String TAGS = "tags";
    private static final String SUCCESS = "min_success_rate";

    static Filters of(JsonObject body) {
        JsonObject filters = body.getJsonObject("filters", new JsonObject());
        Map<String, String> fields = new HashMap<>();
        filters.forEach(entry -> {
            if (!entry.getKey().equals(TAGS) && !entry.getKey().equals(SUCCESS)) {
                fields.put(entry.getKey(), String.valueOf(entry.getValue()));
            }
        });
        return new Filters(fields, Queries.strings(filters.getJsonArray(TAGS)), filters.getDouble(SUCCESS, 0.0));
    }

    /** In sql mode the text must be a question about documents: a client is told now, not by an empty answer. */
    static void checkQuestion(String mode, String field, String text) {
        if (mode.equals("sql")) {
            try {
                DocumentQuestion.parse(text);
            } catch (DocumentQuestion.QuestionException e) {
                throw Problem.invalid(field, field + ": " + e.getMessage());
            }
        }
    }
}
