package io.millrace.gateway;

import io.millrace.text.ContextLevel;
import io.vertx.core.json.JsonObject;
import java.util.Arrays;
import java.util.Locale;

/** How many tokens of context are worth asking for, by the kind of question (the predecessor's table): {@code POST /discovery/token_budget}. */
enum TokenBudgets {
    QUICK_LOOKUP(500, 1_000, 2_000, "A fact, a name, a command"),
    TROUBLESHOOTING(1_000, 2_000, 4_000, "An error and what to do about it"),
    LEARNING(800, 1_500, 3_000, "How something works"),
    IMPLEMENTATION(1_500, 3_000, 6_000, "Code to write or to change");

    private final int standard;
    private final int detailed;
    private final int comprehensive;
    private final String description;

    TokenBudgets(int standard, int detailed, int comprehensive, String description) {
        this.standard = standard;
        this.detailed = detailed;
        this.comprehensive = comprehensive;
        this.description = description;
    }

    /** @param word in lower case; the contract lets no other through */
    static TokenBudgets of(String word) {
        return Arrays.stream(values())
                .filter(kind -> kind.word().equals(word))
                .findFirst()
                .orElse(QUICK_LOOKUP);
    }

    private String word() {
        return name().toLowerCase(Locale.ROOT);
    }

    private int tokens(ContextLevel level) {
        return switch (level) {
            case STANDARD -> standard;
            case DETAILED -> detailed;
            case COMPREHENSIVE -> comprehensive;
        };
    }

    /** @param level whose budget is named as recommended */
    JsonObject toJson(ContextLevel level) {
        JsonObject json = new JsonObject();
        for (ContextLevel each : ContextLevel.values()) {
            json.put(each.word(), tokens(each));
        }
        return json.put("description", description)
                .put("query_type", word())
                .put("context_level", level.word())
                .put("recommended", tokens(level));
    }
}
