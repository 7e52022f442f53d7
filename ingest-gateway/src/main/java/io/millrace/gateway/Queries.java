package io.millrace.gateway;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.millrace.config.MillraceConfig;
import io.millrace.config.MillraceConfig.ModelPolicy;
import io.millrace.id.Ids;
import io.millrace.schema.Envelope;
import io.millrace.schema.Query;
import io.millrace.text.Sanitizer;
import java.util.List;
import java.util.Set;
import java.util.function.UnaryOperator;

/** Makes queries of requests. Whatever is wrong is an {@link ApiException} that names the field. */
final class Queries {
    private static final Set<String> QUERY_FIELDS = Set.of(
            "query",
            "prompt",
            "mode",
            "prefer_local",
            "force_local",
            "force_remote",
            "context",
            "limit",
            "keyword_limit",
            "score_threshold",
            "generate_response",
            "agent_type",
            "agent_id",
            "session_id",
            "priority",
            "max_tokens",
            "collections",
            "llm_timeout_s",
            "enable_cache",
            "debug",
            "store",
            "model");
    private static final Set<String> ROUTE_FIELDS = Set.of(
            "query",
            "context",
            "prefer_local",
            "force_local",
            "force_remote",
            "session_id",
            "max_tokens",
            "collections",
            "store");
    private static final Set<String> MODES = Set.of("auto", "keyword", "semantic", "hybrid");
    private static final int MAX_TEXT = 16 * 1024 * 1024;

    private final MillraceConfig config;

    Queries(MillraceConfig config) {
        this.config = config;
    }

    /** {@code POST /v1/chat/completions}. Unknown fields stay in the body and are forwarded. */
    Query chat(String text, UnaryOperator<String> header) {
        Fields fields = Fields.parse(text);
        String model = fields.required("model", 200);
        ModelPolicy policy = policy(model);
        JsonNode messages = fields.json().path("messages");
        if (!messages.isArray() || messages.isEmpty()) {
            throw ApiException.field("messages", "is required and must be a list of at least one message");
        }
        int users = 0;
        String last = "";
        for (int i = 0; i < messages.size(); i++) {
            JsonNode message = messages.get(i);
            if (!message.isObject() || !message.path("role").isTextual()) {
                throw ApiException.field("messages[" + i + "].role", "is required and must be a string");
            }
            if (message.path("role").textValue().equals("user")) {
                users++;
                last = content(message.path("content"), i);
            }
        }
        if (users == 0) {
            throw ApiException.field("messages", "must hold a message of role user");
        }
        if (last.isBlank()) {
            throw ApiException.field("messages", "the last user message is empty");
        }
        boolean tools = fields.json().path("tools").isArray()
                && !fields.json().path("tools").isEmpty();
        String format = fields.json().path("response_format").path("type").asText("");
        double temperature = fields.number("temperature", -1, 0, 2);
        int maxTokens =
                fields.integer("max_tokens", fields.integer("max_completion_tokens", 0, 1, 10_000_000), 0, 10_000_000);
        boolean localOnly = policy.localOnly() || "true".equals(header.apply("x-millrace-local-only"));
        return base("chat", header)
                .setText(Sanitizer.sanitize(last))
                .setBody(text)
                .setModel(model)
                .setBackend(policy.backend())
                .setLocalOnly(localOnly)
                .setLocalOnlyReason(policy.localOnly() ? "model" : localOnly ? "request" : "")
                .setStructured(format.startsWith("json"))
                .setTools(tools)
                .setStream(fields.bool("stream", false))
                .setRetrieval(policy.retrieval())
                .setAddContext(policy.addContext())
                .setLimit(config.retrieval().limit())
                .setStore(fields.bool("store", true))
                .setMaxTokens(maxTokens)
                .setTemperature(temperature < 0 ? null : temperature)
                .build();
    }

    /** {@code POST /query}, the predecessor's contract. */
    Query query(String text, UnaryOperator<String> header) {
        Fields fields = Fields.parse(text).only(QUERY_FIELDS);
        String name = fields.has("query") || !fields.has("prompt") ? "query" : "prompt";
        return asked("query", fields, name, header)
                .setRetrieval(fields.oneOf("mode", "auto", MODES))
                .setLimit(fields.integer("limit", config.retrieval().limit(), 1, 50))
                .setKeywordLimit(fields.integer("keyword_limit", 5, 1, 50))
                .setScoreThreshold(fields.number("score_threshold", 0, -1, 1))
                .setGenerate(fields.bool("generate_response", false))
                .build();
    }

    /** {@code POST /route}, the orchestration seed's contract. */
    Query route(String text, UnaryOperator<String> header) {
        Fields fields = Fields.parse(text).only(ROUTE_FIELDS);
        return asked("route", fields, "query", header)
                .setRetrieval("auto")
                .setLimit(config.retrieval().limit())
                .build();
    }

    /** The query that shows, before the gateway says ready, that an answer comes through the log. */
    Query probe() {
        return base("probe", name -> "")
                .setEnvelope(Envelope.newBuilder()
                        .setOccurredAt(System.currentTimeMillis())
                        .setSynthetic(true)
                        .build())
                .setText("probe")
                .setBody("{}")
                .setModel("millrace")
                .setRetrieval("off")
                .setGenerate(false)
                .build();
    }

    private Query.Builder asked(String api, Fields fields, String name, UnaryOperator<String> header) {
        String question =
                Sanitizer.sanitize(fields.required(name, config.limits().queryChars()));
        if (question.isBlank()) {
            throw ApiException.field(name, "is required and must not be empty");
        }
        boolean forceLocal = fields.bool("force_local", false);
        boolean forceRemote = fields.bool("force_remote", false);
        if (forceLocal && forceRemote) {
            throw ApiException.field("force_remote", "cannot be set together with force_local");
        }
        ModelPolicy policy = policy(fields.string("model", "millrace", 200));
        int maxTokens = fields.integer("max_tokens", 0, 1, 10_000_000);
        ObjectNode body = Fields.JSON.createObjectNode().put("model", policy.name());
        body.putArray("messages").addObject().put("role", "user").put("content", question);
        if (maxTokens > 0) {
            body.put("max_tokens", maxTokens);
        }
        List<String> collections = fields.strings("collections", 100);
        collections.forEach(this::known);
        boolean localOnly = policy.localOnly() || "true".equals(header.apply("x-millrace-local-only"));
        return base(api, header)
                .setText(question)
                .setBody(body.toString())
                .setModel(policy.name())
                .setBackend(forceLocal ? "local" : forceRemote ? "remote" : policy.backend())
                .setPreferLocal(fields.bool("prefer_local", true))
                .setLocalOnly(localOnly)
                .setLocalOnlyReason(localOnly ? "request" : "")
                .setAddContext(policy.addContext())
                .setCollections(collections)
                .setStore(fields.bool("store", true))
                .setMaxTokens(maxTokens)
                .setSessionId(fields.string("session_id", "", 200));
    }

    private Query.Builder base(String api, UnaryOperator<String> header) {
        long now = System.currentTimeMillis();
        return Query.newBuilder()
                .setEnvelope(Envelope.newBuilder()
                        .setOccurredAt(now)
                        .setTraceId(traceId(header.apply("traceparent")))
                        .setSynthetic("true".equals(header.apply("x-millrace-synthetic")))
                        .build())
                .setInteractionId(Ids.next())
                .setApi(api)
                .setDeadlineAt(now + config.routing().deadline().toMillis());
    }

    /** Refuses a collection that is not configured. */
    void known(String collection) {
        if (!config.collections().contains(collection)) {
            throw ApiException.field(
                    "collection",
                    "there is no " + collection + "; there are " + String.join(", ", config.collections()));
        }
    }

    private ModelPolicy policy(String model) {
        return config.model(model)
                .orElseThrow(() -> new ApiException(
                        404,
                        "model_not_found",
                        "model",
                        "model: there is no " + model + "; GET /v1/models lists what there is"));
    }

    private static String content(JsonNode content, int index) {
        if (content.isTextual()) {
            return bounded(content.textValue());
        }
        if (content.isArray()) {
            StringBuilder text = new StringBuilder();
            content.forEach(part -> text.append(part.path("text").asText("")).append('\n'));
            return bounded(text.toString().strip());
        }
        throw ApiException.field("messages[" + index + "].content", "must be a string or a list of parts");
    }

    private static String bounded(String text) {
        if (text.length() > MAX_TEXT) {
            throw ApiException.field("messages", "the last user message is too long");
        }
        return text;
    }

    private static String traceId(String traceparent) {
        String[] parts = traceparent.split("-", -1);
        return parts.length == 4 && parts[1].matches("[0-9a-f]{32}") ? parts[1] : "";
    }
}
