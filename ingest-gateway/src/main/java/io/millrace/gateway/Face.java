package io.millrace.gateway;

import io.millrace.log.Vocabulary.Route;
import io.millrace.schema.Answer;
import io.millrace.schema.Hit;
import io.millrace.schema.Query;
import io.millrace.schema.Reply;
import io.millrace.schema.SearchNote;
import io.millrace.text.ContextLevel;
import io.millrace.text.Prompts;
import io.millrace.text.QueryType;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.json.DecodeException;
import io.vertx.core.json.JsonArray;
import io.vertx.core.json.JsonObject;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.function.Function;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** The contract that a client spoke: how its answer and its errors look. */
enum Face {
    CHAT(Errors.OPENAI) {
        // of a backend's own body the first choice is kept, and of that the message
        @Override
        boolean isRecorded(Query query) {
            try {
                JsonObject asked = new JsonObject(query.getBody());
                return !(asked.getValue("n") instanceof Number choices && choices.intValue() > 1)
                        && !Boolean.TRUE.equals(asked.getValue("logprobs"));
            } catch (DecodeException e) {
                // a number of a thousand digits in a field that nobody read so far
                return false;
            }
        }

        @Override
        Buffer answer(Query query, Reply reply, double elapsedMs, boolean remote) {
            Answer answer = answerOf(reply);
            return answer.getBody().isEmpty()
                    ? Buffer.buffer(completion(query, answer).encode())
                    : Buffer.buffer(answer.getBody());
        }
    },

    /** The predecessor's: {@code route} is the search mode, {@code backend} the place. */
    QUERY(Errors.PROBLEM) {
        @Override
        Buffer answer(Query query, Reply reply, double elapsedMs, boolean remote) {
            SearchNote search = reply.getSearch();
            List<Hit> hits = reply.getHits();
            JsonObject results = new JsonObject()
                    .put("combined_results", items(hits, Hit::getScore, ""))
                    .put(
                            "sql_results",
                            items(
                                    hits.stream()
                                            .filter(hit -> hit.getUnit().equals("row"))
                                            .toList(),
                                    Hit::getScore,
                                    ""))
                    .put(
                            "semantic_results",
                            items(best(hits, Hit::getCosine, query.getLimit()), Hit::getCosine, "cosine"))
                    .put(
                            "keyword_results",
                            items(best(hits, Hit::getBm25, query.getKeywordLimit()), Hit::getBm25, "bm25"))
                    .put(
                            "collections",
                            new JsonArray(hits.stream()
                                    .map(Hit::getCollection)
                                    .distinct()
                                    .sorted()
                                    .toList()))
                    .put(
                            "context_compression",
                            new JsonObject()
                                    .put("enabled", search.getTokensAfter() > 0)
                                    .put("token_budget", search.getTokenBudget())
                                    .put("tokens_before", search.getTokensBefore())
                                    .put("compressed_tokens", search.getTokensAfter()))
                    .put("tokens", new JsonArray(tokens(query.getText())))
                    .put(
                            "prompt_cache",
                            new JsonObject()
                                    // the backends' own affair
                                    .put("policy_enabled", false)
                                    .put("prefix_hash", null)
                                    .put("cached_tokens", cachedTokens(answerOf(reply))))
                    .put("synthesis_skipped", !query.getGenerate())
                    .put(
                            "synthesis_fallback",
                            query.getGenerate() && reply.getRoute().equals(Route.EXTRACTIVE))
                    // the local side was tried, or would have been
                    .put("remote_burst", remote && (reply.getAttempt() > 1 || LOCAL_AWAY.contains(reply.getReason())))
                    .put("rounds", search.getRounds())
                    .put("session_turn", search.getSessionTurn() > 0 ? search.getSessionTurn() : null)
                    .put("searched_for", new JsonArray(List.copyOf(search.getQueries())));
            return new JsonObject()
                    .put("route", mode(query, search))
                    .put("backend", remote ? "remote" : "local")
                    .put("response", answerOf(reply).getText())
                    .put("latency_ms", Math.round(elapsedMs))
                    .put("interaction_id", query.getInteractionId())
                    .put("results", results)
                    .put("decision", decision(reply))
                    .put("capability_discovery", discovery(query, reply))
                    .toBuffer();
        }
    },

    /** The orchestration seed's: {@code route} is the routing outcome. */
    ROUTE(Errors.PROBLEM) {
        @Override
        boolean isRecorded(Query query) {
            return true;
        }

        @Override
        Buffer answer(Query query, Reply reply, double elapsedMs, boolean remote) {
            Answer answer = answerOf(reply);
            return new JsonObject()
                    .put("response", answer.getText())
                    .put("route", reply.getRoute())
                    .put("confidence", reply.getConfidence())
                    .put("latency_ms", Math.round(elapsedMs))
                    .put("cost", answer.getCostUsd())
                    .put("cached", !reply.getCachedKind().isEmpty())
                    // scored after the answer has left; GET /interactions/{id} has it then
                    .put("value_score", null)
                    .put("learned", false)
                    .put("interaction_id", query.getInteractionId())
                    .put("decision", decision(reply))
                    .toBuffer();
        }
    },

    /** The predecessor's: the question with context, for a model that the client asks itself. */
    AUGMENT(Errors.PROBLEM) {
        @Override
        Buffer answer(Query query, Reply reply, double elapsedMs, boolean remote) {
            SearchNote search = reply.getSearch();
            return new JsonObject()
                    .put("augmented_prompt", Prompts.augmented(answerOf(reply).getText(), query.getText()))
                    .put("context_ids", new JsonArray(List.copyOf(search.getUsed())))
                    .put("original_query", query.getText())
                    .put("context_count", search.getUsed().size())
                    .put("token_count", search.getTokensAfter())
                    .put("context_score", reply.getContextScore())
                    .put("capability_discovery", discovery(query, reply))
                    .put("latency_ms", Math.round(elapsedMs))
                    .put("interaction_id", query.getInteractionId())
                    .toBuffer();
        }
    },

    /** The predecessor's: a turn of a session that collects context. */
    CONTEXT(Errors.PROBLEM) {
        @Override
        Buffer answer(Query query, Reply reply, double elapsedMs, boolean remote) {
            SearchNote search = reply.getSearch();
            return new JsonObject()
                    .put("context", answerOf(reply).getText())
                    .put("context_ids", new JsonArray(List.copyOf(search.getUsed())))
                    .put("suggestions", suggestions(query, reply))
                    .put("token_count", search.getTokensAfter())
                    .put("tokens_before", search.getTokensBefore())
                    .put("token_budget", query.getContextTokens())
                    // empty: all of them
                    .put("collections_searched", new JsonArray(List.copyOf(search.getCollections())))
                    .put("session_id", query.getSessionId())
                    // null: the sessions are not known now
                    .put("turn_number", search.getSessionTurn() > 0 ? search.getSessionTurn() : null)
                    .put("searched_for", new JsonArray(List.copyOf(search.getQueries())))
                    .put("context_score", reply.getContextScore())
                    .put("latency_ms", Math.round(elapsedMs))
                    .put("interaction_id", query.getInteractionId())
                    .toBuffer();
        }
    };

    private static final Logger LOG = LoggerFactory.getLogger(Face.class);
    private static final int SUGGESTIONS = 5;
    private static final Set<String> LOCAL_AWAY = Set.of("local_loading", "local_unhealthy");
    private static final String CACHED_TOKENS = "cached_tokens";
    private static final Pattern WORD = Pattern.compile("[\\p{L}\\p{N}_-]{2,}");
    private static final Set<String> LITTLE_WORDS = Set.of(
            "the", "and", "for", "with", "that", "this", "from", "into", "http", "https", "you", "your", "are", "was",
            "were", "can", "could", "should", "would");

    private final Errors errors;

    Face(Errors errors) {
        this.errors = errors;
    }

    Errors errors() {
        return errors;
    }

    /** Whether the record of an interaction, which has no hits, holds all that this query is answered with. */
    boolean isRecorded(Query query) {
        return false;
    }

    /**
     * The body of a whole answer, JSON.
     *
     * @param remote whether the backend that answered is elsewhere
     */
    abstract Buffer answer(Query query, Reply reply, double elapsedMs, boolean remote);

    static JsonObject decision(Reply reply) {
        return new JsonObject()
                .put("route", reply.getRoute())
                .put("reason", reply.getReason())
                .put("confidence", reply.getConfidence())
                .put("confidence_kind", reply.getConfidenceKind())
                .put("backend", reply.getBackend())
                .put("deployment", reply.getDeployment())
                .put("context_score", reply.getContextScore())
                .put("context_added", reply.getContextAdded())
                .put("attempt", reply.getAttempt())
                .put("cached", reply.getCachedKind().isEmpty() ? null : reply.getCachedKind());
    }

    /**
     * Result items in the predecessor's shape: source is what a citation names, sources who found it.
     *
     * @param unit of the score; empty: as the hit says
     */
    static JsonArray items(List<Hit> hits, Function<Hit, @Nullable Double> score, String unit) {
        JsonArray items = new JsonArray();
        for (Hit hit : hits) {
            JsonArray sources = new JsonArray();
            if (hit.getCosine() != null) {
                sources.add("semantic");
            }
            if (hit.getBm25() != null) {
                sources.add("keyword");
            }
            items.add(new JsonObject()
                    .put("collection", hit.getCollection())
                    .put("id", hit.getPassageId())
                    .put("score", score.apply(hit))
                    .put("unit", unit.isEmpty() ? hit.getUnit() : unit)
                    .put(
                            "payload",
                            new JsonObject()
                                    .put("content", hit.getText())
                                    .put("title", hit.getTitle())
                                    .put("path", hit.getPath())
                                    .put("project", hit.getSource())
                                    .put("document_id", hit.getDocumentId())
                                    .put("chunk_index", hit.getChunkIndex())
                                    .put("trust", hit.getTrust())
                                    .put("factor", hit.getFactor())
                                    .put("relation", hit.getRelation().isEmpty() ? null : hit.getRelation())
                                    .put("related_to", hit.getRelatedTo().isEmpty() ? null : hit.getRelatedTo())
                                    .put("cosine", hit.getCosine())
                                    .put("bm25", hit.getBm25()))
                    .put("source", hit.getPath())
                    .put("sources", sources)
                    .put("rerank_score", hit.getUnit().equals("relevance") ? hit.getScore() : null));
        }
        return items;
    }

    /** The words of a question that say what it is about, as the predecessor told them. */
    private static List<String> tokens(String text) {
        return WORD.matcher(text.toLowerCase(Locale.ROOT))
                .results()
                .map(MatchResult::group)
                .filter(word -> !LITTLE_WORDS.contains(word))
                .toList();
    }

    /** Tokens of the prompt that the backend had in its cache; 0 where it does not say. */
    private static int cachedTokens(Answer answer) {
        if (!answer.getBody().contains(CACHED_TOKENS)) {
            return 0;
        }
        try {
            JsonObject usage = new JsonObject(answer.getBody()).getJsonObject("usage", new JsonObject());
            Object details = usage.getValue("prompt_tokens_details");
            return details instanceof JsonObject counts && counts.getValue(CACHED_TOKENS) instanceof Number count
                    ? count.intValue()
                    : 0;
        } catch (DecodeException | ClassCastException e) {
            // a backend's affair; the answer has been read
            return 0;
        }
    }

    /**
     * The predecessor's shape. Datasets are the documents that the context came from, or the hits where no context was asked for; of
     * tools, skills and servers there are none to be found yet.
     */
    private static JsonObject discovery(Query query, Reply reply) {
        SearchNote search = reply.getSearch();
        boolean used = !search.getUsed().isEmpty();
        boolean asked = query.getGenerate() || !query.getApi().equals("query");
        JsonArray datasets = new JsonArray();
        reply.getHits().stream()
                .filter(hit -> used ? search.getUsed().contains(hit.getPassageId()) : !asked)
                .map(hit -> new JsonObject().put("title", document(hit)).put("project", hit.getSource()))
                .distinct()
                .forEach(datasets::add);
        return new JsonObject()
                .put("decision", datasets.isEmpty() ? "skipped" : "used")
                .put("reason", reason(query, reply, datasets.isEmpty()))
                .put("cache_hit", !reply.getCachedKind().isEmpty())
                .put(
                        "intent_tags",
                        new JsonArray().add(QueryType.of(query.getText())).add(mode(query, search)))
                .put("tools", new JsonArray())
                .put("skills", new JsonArray())
                .put("servers", new JsonArray())
                .put("datasets", datasets);
    }

    private static String reason(Query query, Reply reply, boolean nothing) {
        if (query.getRetrieval().equals("off")) {
            return "retrieval_off";
        }
        if (!reply.getCachedKind().isEmpty()) {
            return "answer_cached";
        }
        if (!nothing) {
            return "context_found";
        }
        if (reply.getHits().isEmpty()) {
            return "nothing_found";
        }
        // it is only packed when the hits are convincing
        return reply.getSearch().getTokenBudget() > 0 ? "no_passage_fits" : "no_convincing_context";
    }

    /** A passage's title is the document's, then the headings above it. */
    private static String document(Hit hit) {
        String title = hit.getTitle().split(" › ", 2)[0];
        return title.isBlank() ? hit.getPath() : title;
    }

    /** What a client may ask for next: passages that did not fit, then the next level. */
    private static JsonArray suggestions(Query query, Reply reply) {
        SearchNote search = reply.getSearch();
        JsonArray suggestions = new JsonArray();
        reply.getHits().stream()
                .filter(hit -> !search.getUsed().contains(hit.getPassageId()))
                .map(hit -> "not in the context for want of room or of confidence: " + hit.getTitle() + " ("
                        + hit.getPath() + ")")
                .distinct()
                .limit(SUGGESTIONS)
                .forEach(suggestions::add);
        ContextLevel.of(query.getContextLevel())
                .flatMap(ContextLevel::next)
                .ifPresent(next ->
                        suggestions.add("context_level " + next.word() + " gives up to " + next.hits() + " passages"));
        return suggestions;
    }

    private static String mode(Query query, SearchNote search) {
        if (!search.getMode().isEmpty()) {
            return search.getMode();
        }
        return query.getRetrieval().equals("auto") ? "hybrid" : query.getRetrieval();
    }

    private static List<Hit> best(List<Hit> hits, Function<Hit, @Nullable Double> score, int limit) {
        return hits.stream()
                .filter(hit -> score.apply(hit) != null)
                .sorted(Comparator.comparingDouble((Hit hit) -> -orZero(score.apply(hit))))
                .limit(limit)
                .toList();
    }

    private static double orZero(@Nullable Double value) {
        return value == null ? 0 : value;
    }

    static Answer answerOf(Reply reply) {
        Answer answer = reply.getAnswer();
        return answer == null ? Answer.newBuilder().build() : answer;
    }

    private static JsonObject completion(Query query, Answer answer) {
        return new JsonObject()
                .put("id", chatId(query))
                .put("object", "chat.completion")
                .put("created", query.getEnvelope().getOccurredAt() / 1_000)
                .put("model", answer.getModel().isEmpty() ? query.getModel() : answer.getModel())
                .put(
                        "choices",
                        new JsonArray()
                                .add(new JsonObject()
                                        .put("index", 0)
                                        .put("message", message(answer))
                                        .put("logprobs", null)
                                        .put("finish_reason", answer.getFinishReason())))
                .put("usage", usage(answer));
    }

    private static JsonObject usage(Answer answer) {
        return new JsonObject()
                .put("prompt_tokens", answer.getTokensIn())
                .put("completion_tokens", answer.getTokensOut())
                .put("total_tokens", answer.getTokensIn() + answer.getTokensOut());
    }

    /**
     * The payloads of a stream whose pieces are not there any more: one with everything, one with the end, and one with usage where it
     * was asked for.
     */
    static List<String> chunks(Query query, Answer answer) {
        List<String> chunks = new ArrayList<>();
        chunks.add(chunk(query, answer, choice(numbered(message(answer)), null)).encode());
        chunks.add(chunk(query, answer, choice(new JsonObject(), answer.getFinishReason()))
                .encode());
        if (isUsageWanted(query)) {
            chunks.add(chunk(query, answer, new JsonArray())
                    .put("usage", usage(answer))
                    .encode());
        }
        return chunks;
    }

    /** In a delta, and only there, calls are numbered: clients put them together by that. */
    private static JsonObject numbered(JsonObject message) {
        if (message.getValue("tool_calls") instanceof JsonArray calls) {
            for (int i = 0; i < calls.size(); i++) {
                if (calls.getValue(i) instanceof JsonObject call) {
                    call.put("index", i);
                }
            }
        }
        return message;
    }

    private static boolean isUsageWanted(Query query) {
        try {
            return new JsonObject(query.getBody()).getValue("stream_options") instanceof JsonObject options
                    && Boolean.TRUE.equals(options.getValue("include_usage"));
        } catch (DecodeException e) {
            // what was skipped when the request was read may be more than this takes
            return false;
        }
    }

    private static JsonArray choice(JsonObject delta, @Nullable String finish) {
        return new JsonArray()
                .add(new JsonObject().put("index", 0).put("delta", delta).put("finish_reason", finish));
    }

    private static JsonObject chunk(Query query, Answer answer, JsonArray choices) {
        return new JsonObject()
                .put("id", chatId(query))
                .put("object", "chat.completion.chunk")
                .put("created", query.getEnvelope().getOccurredAt() / 1_000)
                .put("model", answer.getModel().isEmpty() ? query.getModel() : answer.getModel())
                .put("choices", choices);
    }

    private static JsonObject message(Answer answer) {
        if (!answer.getMessage().isEmpty()) {
            try {
                return new JsonObject(answer.getMessage());
            } catch (DecodeException e) {
                // a backend's message that is no JSON still has its text
                LOG.warn("{} sent a message that is not JSON", answer.getModel());
            }
        }
        return new JsonObject().put("role", "assistant").put("content", answer.getText());
    }

    private static String chatId(Query query) {
        return "chatcmpl-" + query.getInteractionId();
    }
}
