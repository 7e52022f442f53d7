package io.millrace.gateway;

import io.millrace.config.MillraceConfig;
import io.millrace.schema.QueryGap;
import io.vertx.core.json.JsonArray;
import io.vertx.core.json.JsonObject;
import io.vertx.ext.web.RoutingContext;
import io.vertx.openapi.validation.RequestParameter;
import java.time.Instant;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;

/** {@code GET /gaps}: what was asked and is not known, each with the command that would fill it. */
final class GapsHandler {
    private static final int DAYS = 7;
    private static final int DEFAULT_LIMIT = 10;

    private final SearchPort knowledge;
    private final MillraceConfig config;

    GapsHandler(SearchPort knowledge, MillraceConfig config) {
        this.knowledge = knowledge;
        this.config = config;
    }

    private record Counted(QueryGap gap, long count) {}

    void list(RoutingContext context) {
        int limit = Answers.queryParam(context, "limit")
                .map(RequestParameter::getInteger)
                .orElse(DEFAULT_LIMIT);
        // dates of this form sort as they follow each other
        String since = LocalDate.now(ZoneOffset.UTC).minusDays(DAYS - 1L).toString();
        List<Counted> counted = knowledge.gaps().stream()
                .map(gap -> new Counted(gap, countSince(gap, since)))
                .filter(each -> each.count() > 0)
                .sorted(Comparator.comparingLong(Counted::count)
                        .reversed()
                        .thenComparingDouble(each -> each.gap().getContextScore())
                        .thenComparing(each -> each.gap().getQueryHash()))
                .toList();
        JsonArray gaps = new JsonArray();
        counted.stream().limit(limit).forEach(each -> gaps.add(json(each)));
        Answers.json(
                context,
                200,
                new JsonObject().put("gaps", gaps).put("total", counted.size()).put("days", DAYS));
    }

    private static long countSince(QueryGap gap, String since) {
        return gap.getByDay().entrySet().stream()
                .filter(day -> day.getKey().compareTo(since) >= 0)
                .mapToLong(java.util.Map.Entry::getValue)
                .sum();
    }

    private JsonObject json(Counted counted) {
        QueryGap gap = counted.gap();
        String collection = gap.getCollections().isEmpty()
                ? config.collections().getFirst()
                : gap.getCollections().getFirst();
        return new JsonObject()
                .put("query", gap.getQueryText())
                .put("query_hash", gap.getQueryHash())
                .put("count", counted.count())
                .put("context_score", gap.getContextScore())
                .put("last_asked_at", Instant.ofEpochMilli(gap.getLastAskedAt()).toString())
                .put("collections", new JsonArray(gap.getCollections()))
                .put(
                        "fill",
                        "millrace sources add " + name(gap)
                                + " <folder, repository or page that answers it> --collection " + collection);
    }

    /** A name for the source, of the words of the question. */
    private static String name(QueryGap gap) {
        String words = gap.getQueryText()
                .toLowerCase(Locale.ROOT)
                .replaceAll("[^a-z0-9]+", "-")
                .replaceAll("^-+", "");
        String cut = words.substring(0, Math.min(words.length(), 32)).replaceAll("-+$", "");
        return cut.isEmpty() ? "gap-" + gap.getQueryHash().substring(0, 8) : cut;
    }
}
