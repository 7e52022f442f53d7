package io.millrace.gateway;

import io.millrace.config.MillraceConfig;
import io.millrace.config.MillraceConfig.Backend;
import io.millrace.config.MillraceConfig.Locality;
import io.millrace.config.MillraceConfig.ModelPolicy;
import io.millrace.id.Ids;
import io.millrace.schema.Envelope;
import io.millrace.schema.Query;
import io.millrace.text.ContextLevel;
import io.millrace.text.Sanitizer;
import io.vertx.core.http.HttpServerRequest;
import io.vertx.core.json.JsonArray;
import io.vertx.core.json.JsonObject;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Makes queries for the log out of requests that are valid. */
final class Queries {
    /** What is asked for when a client names no model. */
    static final String DEFAULT_MODEL = "millrace";

    private static final String EXTRACTIVE = "extractive";
    private static final String LOCAL = "local";
    private static final String REMOTE = "remote";
    private static final String PING = "ping";

    /** Tokens of a turn's context when the client does not say (the predecessor's). */
    private static final int TURN_TOKENS = 2_000;

    private final MillraceConfig config;
    private final String gatewayId;
    private final int replyPartition;
    private final Map<String, ModelPolicy> models;

    Queries(MillraceConfig config, String gatewayId, int replyPartition) {
        this.config = config;
        this.gatewayId = gatewayId;
        this.replyPartition = replyPartition;
        this.models = models(config);
    }

    /** Everything that a request may name as model, aliases included. */
    static Map<String, ModelPolicy> models(MillraceConfig config) {
        Map<String, ModelPolicy> known = new HashMap<>();
        config.models().forEach((name, policy) -> {
            known.put(name, policy);
            policy.aliases().forEach(alias -> known.putIfAbsent(alias, policy));
        });
        config.backends()
                .keySet()
                .forEach(name -> config.model(name).ifPresent(policy -> known.putIfAbsent(name, policy)));
        config.model(EXTRACTIVE).ifPresent(policy -> known.putIfAbsent(EXTRACTIVE, policy));
        return Map.copyOf(known);
    }

    /** @param body the request's JSON as it came */
    Query chat(HttpServerRequest request, ChatRequest chat, String body) {
        String model = chat.model().isEmpty() ? DEFAULT_MODEL : chat.model();
        ModelPolicy policy = policy(model);
        boolean asked = Headers.flag(request, Headers.LOCAL_ONLY);
        return routed(start(request, "chat")
                .setText(chat.text())
                .setBody(body)
                .setModel(model)
                .setBackend(policy.backend())
                .setLocalOnly(asked || policy.localOnly())
                .setLocalOnlyReason(asked ? "request" : policy.localOnly() ? "model" : "")
                .setStructured(chat.structured())
                .setTools(chat.tools())
                .setStream(chat.stream())
                // a question of images only has nothing to search for
                .setRetrieval(chat.text().isBlank() ? "off" : policy.retrieval())
                .setAddContext(policy.addContext() && !chat.tools())
                .setLimit(config.retrieval().limit())
                .setKeywordLimit(config.retrieval().limit())
                .setStore(chat.store())
                .setMaxTokens(chat.maxTokens())
                .setTemperature(chat.temperature()));
    }

    /** Where neither evidence nor a cached answer can come there is nothing to wait for before the decision. */
    private static Query routed(Query.Builder query) {
        return query.setDirect(query.getRetrieval().equals("off") && !query.getCache())
                .build();
    }

    private ModelPolicy policy(String model) {
        ModelPolicy policy = models.get(model);
        if (policy == null) {
            throw Problem.field(
                    404,
                    "model_not_found",
                    "model",
                    "the model " + quoted(model) + " does not exist; see GET /v1/models");
        }
        return policy;
    }

    /** The body of the path that the face belongs to, valid by the contract. */
    Query of(HttpServerRequest request, JsonObject body, Face face) {
        return switch (face) {
            case AUGMENT -> augment(request, body);
            case CONTEXT -> context(request, body);
            default -> ask(request, body, face);
        };
    }

    /** A question whose answer is its own text with context, for a model that the client asks itself. */
    private Query augment(HttpServerRequest request, JsonObject body) {
        return contextual(request, "augment", body)
                .setLimit(body.getInteger("limit", config.retrieval().limit()))
                .setContextTokens(body.getInteger("max_tokens", 0))
                .setCollections(strings(body.getJsonArray("collections")))
                .setBody(new JsonObject()
                        .put("model", DEFAULT_MODEL)
                        .put("messages", new JsonArray().add(message(body)))
                        .put("user", body.getString("agent_type", ""))
                        .encode())
                .build();
    }

    /** A turn of a session that collects context. */
    private Query context(HttpServerRequest request, JsonObject body) {
        ContextLevel level = ContextLevel.of(body.getString("context_level", ContextLevel.STANDARD.word()))
                .orElse(ContextLevel.STANDARD);
        Query.Builder query = contextual(request, "context", body).setSessionId(body.getString("session_id"));
        return query.setVariant(variant(request, query.getEnvelope(), query.getSessionId()))
                .setContextLevel(level.word())
                .setLimit(level.hits())
                .setContextTokens(body.getInteger("max_tokens", TURN_TOKENS))
                .setExclude(strings(body.getJsonArray("previous_context_ids")))
                .setBody(new JsonObject()
                        .put("model", DEFAULT_MODEL)
                        .put("messages", new JsonArray().add(message(body)))
                        .put("metadata", body.getJsonObject("metadata", new JsonObject()))
                        .encode())
                .build();
    }

    private static JsonObject message(JsonObject body) {
        return new JsonObject().put("role", "user").put("content", body.getString("query"));
    }

    /** A question that is searched for, and whose context is the answer: no model is asked. */
    private Query.Builder contextual(HttpServerRequest request, String api, JsonObject body) {
        Filters filters = Filters.of(body);
        return start(request, api)
                .setText(text(body, "query"))
                .setModel(DEFAULT_MODEL)
                .setLocalOnly(Headers.flag(request, Headers.LOCAL_ONLY))
                .setLocalOnlyReason(Headers.flag(request, Headers.LOCAL_ONLY) ? "request" : "")
                .setGenerate(false)
                .setRetrieval("auto")
                .setAddContext(true)
                .setFilters(filters.fields())
                .setTags(filters.tags())
                .setMinSuccessRate(filters.minSuccessRate())
                .setStore(body.getBoolean("store", true));
    }

    private static String text(JsonObject body, String field) {
        String text = Sanitizer.sanitize(body.getString(field, ""));
        if (text.isBlank()) {
            throw Problem.invalid(field, field + " must not be empty");
        }
        return text;
    }

    /** The body of /query or /route, valid by the contract. */
    private Query ask(HttpServerRequest request, JsonObject body, Face face) {
        boolean named = body.containsKey("query");
        String field = named || !body.containsKey("prompt") ? "query" : "prompt";
        String text = text(body, field);
        String other = named ? Sanitizer.sanitize(body.getString("prompt", "")) : "";
        if (!other.isBlank() && !other.equals(text)) {
            throw Problem.invalid("prompt", "query and prompt are two names of one thing: give one of them");
        }
        String model = body.getString("model", DEFAULT_MODEL);
        ModelPolicy policy = policy(model);
        boolean asked = Headers.flag(request, Headers.LOCAL_ONLY) || body.getBoolean("local_only", false);
        String mode = body.getString("mode", policy.retrieval());
        Filters.checkQuestion(mode, field, text);
        Filters filters = Filters.of(body);
        boolean generate = body.getBoolean("generate_response", face == Face.ROUTE);
        Query.Builder query = start(request, face == Face.ROUTE ? "route" : "query")
                .setText(text)
                .setBody(chatBody(model, text, body).encode())
                .setModel(model)
                .setBackend(backend(body, policy))
                .setPreferLocal(body.getBoolean("prefer_local", true))
                .setLocalOnly(asked || policy.localOnly())
                .setLocalOnlyReason(asked ? "request" : policy.localOnly() ? "model" : "")
                .setGenerate(generate)
                .setRetrieval(mode)
                .setAddContext(policy.addContext())
                .setCollections(strings(body.getJsonArray("collections")))
                .setFilters(filters.fields())
                .setTags(filters.tags())
                .setMinSuccessRate(filters.minSuccessRate())
                .setLimit(body.getInteger("limit", config.retrieval().limit()))
                .setKeywordLimit(
                        body.getInteger("keyword_limit", config.retrieval().limit()))
                .setScoreThreshold(body.getDouble("score_threshold", 0.0))
                .setStore(body.getBoolean("store", true))
                .setMaxTokens(body.getInteger("max_tokens", 0))
                .setSessionId(body.getString("session_id", ""));
        query.setVariant(variant(request, query.getEnvelope(), query.getSessionId()));
        if (body.getBoolean("enable_cache", false)) {
            query.setCache(true);
        }
        Double seconds = body.getDouble("llm_timeout_s");
        if (seconds != null) {
            query.setDeadlineAt(query.getEnvelope().getOccurredAt() + Math.round(seconds * 1_000));
        }
        return routed(query);
    }

    /** What the client or else the model names; of a side and a backend on it, the backend. */
    private String backend(JsonObject body, ModelPolicy policy) {
        boolean forceLocal = body.getBoolean("force_local", false);
        boolean forceRemote = body.getBoolean("force_remote", false);
        if (forceLocal && forceRemote) {
            throw Problem.invalid("force_remote", "force_local and force_remote exclude each other");
        }
        if (!forceLocal && !forceRemote) {
            return policy.backend();
        }
        if (policy.backend().isEmpty()) {
            return forceLocal ? LOCAL : REMOTE;
        }
        if (isRemote(policy.backend()) != forceRemote) {
            String field = forceLocal ? "force_local" : "force_remote";
            throw Problem.invalid(
                    field,
                    field + " and the model " + quoted(policy.name())
                            + ", which is on the other side, exclude each other");
        }
        return policy.backend();
    }

    private boolean isRemote(String backend) {
        Backend known = config.backends().get(backend);
        return known == null ? backend.equals(REMOTE) : known.locality() == Locality.REMOTE;
    }

    /** A synthetic query that asks no model and searches nothing: what it measures is the way through the log, past every step of it. */
    Query probe() {
        long now = System.currentTimeMillis();
        return Query.newBuilder()
                .setEnvelope(Envelope.newBuilder()
                        .setOccurredAt(now)
                        .setSynthetic(true)
                        .build())
                .setInteractionId(Ids.next())
                .setApi("probe")
                .setGatewayId(gatewayId)
                .setReplyPartition(replyPartition)
                .setDeadlineAt(now + config.routing().deadline().toMillis())
                .setText(PING)
                .setBody(chatBody(DEFAULT_MODEL, PING, new JsonObject()).encode())
                .setModel(DEFAULT_MODEL)
                .setGenerate(false)
                .setRetrieval("off")
                .build();
    }

    /** The one that the client names, or the same for all queries of a session, where there is none of a key: by its hash, not by chance. */
    private String variant(HttpServerRequest request, Envelope who, String session) {
        String named = Headers.variant(request);
        double share = config.cache().variantB();
        if (!named.isEmpty() || share == 0) {
            return named;
        }
        String hash = Ids.content(who.getTenant(), who.getPrincipal(), session, "variant");
        return Long.parseLong(hash.substring(0, 8), 16) / (double) (1L << 32) < share ? "b" : "a";
    }

    private Query.Builder start(HttpServerRequest request, String api) {
        long now = System.currentTimeMillis();
        Query.Builder query = Query.newBuilder()
                .setToldByEnd(true)
                .setEnvelope(Envelope.newBuilder()
                        .setOccurredAt(now)
                        .setTraceId(Headers.traceId(request))
                        .setSynthetic(Headers.flag(request, Headers.SYNTHETIC))
                        .build())
                .setInteractionId(Ids.next())
                .setApi(api)
                .setGatewayId(gatewayId)
                .setReplyPartition(replyPartition)
                .setDeadlineAt(now + config.routing().deadline().toMillis())
                .setCache(Headers.flag(request, Headers.CACHE))
                .setIdempotencyKey(Headers.idempotencyKey(request));
        return query.setVariant(variant(request, query.getEnvelope(), ""));
    }

    private JsonObject chatBody(String model, String text, JsonObject body) {
        JsonArray messages = new JsonArray();
        JsonObject context = body.getJsonObject("context");
        if (context != null && !context.isEmpty()) {
            String encoded = context.encode();
            int most = 4 * config.limits().queryChars();
            if (encoded.length() > most) {
                throw Problem.invalid("context", "context must have at most " + most + " characters as JSON");
            }
            messages.add(new JsonObject()
                    .put("role", "system")
                    .put("content", "Context that the caller gave, as JSON:\n" + encoded));
        }
        messages.add(new JsonObject().put("role", "user").put("content", text));
        JsonObject chat = new JsonObject().put("model", model).put("messages", messages);
        Integer maxTokens = body.getInteger("max_tokens");
        return maxTokens == null ? chat : chat.put("max_tokens", maxTokens);
    }

    static List<String> strings(@org.jspecify.annotations.Nullable JsonArray array) {
        return array == null
                ? List.of()
                : array.stream().map(String.class::cast).distinct().toList();
    }

    /** A client's word in a message, bounded. */
    static String quoted(String word) {
        return '"' + (word.length() > 100 ? word.substring(0, 100) + "…" : word) + '"';
    }
}
