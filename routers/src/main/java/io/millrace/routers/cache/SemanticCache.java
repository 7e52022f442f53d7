package io.millrace.routers.cache;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.github.benmanes.caffeine.cache.Cache;
import com.github.benmanes.caffeine.cache.Caffeine;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.Timer;
import io.millrace.knowledge.Vectors;
import io.millrace.knowledge.meaning.Question;
import io.millrace.knowledge.meaning.SameMeaning;
import io.millrace.routers.redis.RedisValues;
import io.millrace.schema.CachedAnswer;
import io.millrace.schema.Query;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * The semantic response cache: after an exact miss, the answer to a question that means the same, asked by the same caller in the same
 * way of the same knowledge.
 *
 * <p>Questions that may be cached are appended to a Redis stream of their scope: all that the exact key holds, but the question, and the
 * epoch. A stream is bounded by Redis, outlives this process, and is read incrementally, so that a look costs one round trip and a
 * comparison with at most {@link #QUESTIONS} vectors in memory. The answers stay where the exact cache keeps them; a question whose answer is gone, or never came, is
 * passed over. The epoch in the key ends all of it at once. A question that was answered from here is not added: near is not transitive.
 *
 * <p>Which question means the same is learned ({@link SameMeaning}), and served from a threshold that keeps the stated error bound.
 */
public final class SemanticCache {
    /** Most questions remembered in a scope. */
    static final int QUESTIONS = 512;

    private static final String KEY = "millrace:questions:";

    /** The verdict is asked about these, nearest first: each further one is one more chance of being wrong. */
    private static final int CANDIDATES = 4;

    /** Questions in memory over all scopes, about 4 KB each. */
    private static final long IN_MEMORY = 20_000;

    private final RedisValues redis;
    private final MeterRegistry metrics;
    private final Duration keep;
    private final SameMeaning verifier;
    private final double threshold;
    private final Timer verdicts;
    private final Cache<String, Scope> scopes = Caffeine.newBuilder()
            .maximumWeight(IN_MEMORY)
            .weigher((String key, Scope scope) -> 1 + scope.questions.size())
            .build();

    /**
     * @param keep time to live of a scope after its last question
     * @param maxError share of the questions with another meaning that may be served, above 0, at most 0.2
     */
    public SemanticCache(
            RedisValues redis, MeterRegistry metrics, Duration keep, SameMeaning verifier, double maxError) {
        this.redis = redis;
        this.metrics = metrics;
        this.keep = keep;
        this.verifier = verifier;
        this.threshold = verifier.threshold(maxError);
        this.verdicts = metrics.timer("millrace.semantic.cache.verdict");
    }

    /** Fingerprint of the embedder whose vectors can be compared. */
    public String embedder() {
        return verifier.embedder();
    }

    /** @param last id in the stream of the newest question seen */
    private record Scope(String last, Map<String, Question> questions) {}

    private record Candidate(String key, Question question, double cosine, double probability) {}

    /**
     * Whether meaning decides what this query's answer may be: a single question in plain text, without tools or a temperature above 0.
     *
     * @return what must be the same beside the question
     */
    public static Optional<String> scope(Query query, String knowledgeVersion) {
        if (!ResponseCache.allows(query)
                || query.getStructured()
                || query.getText().isBlank()
                || (query.getTemperature() != null && query.getTemperature() > 0)) {
            return Optional.empty();
        }
        try {
            JsonNode body = ResponseCache.JSON.readTree(query.getBody());
            JsonNode messages = body.path("messages");
            int last = messages.size() - 1;
            for (int i = 0; i <= last; i++) {
                boolean instruction = List.of("system", "developer")
                        .contains(messages.get(i).path("role").asText());
                if (instruction == (i == last)) {
                    return Optional.empty();
                }
            }
            if (last < 0
                    || !messages.get(last).path("role").asText().equals("user")
                    || !messages.get(last)
                            .path("content")
                            .asText()
                            .strip()
                            .equals(query.getText().strip())) {
                return Optional.empty();
            }
            ((ObjectNode) messages.get(last)).put("content", "");
            return Optional.of(
                    ResponseCache.hash(query, knowledgeVersion, ResponseCache.JSON.writeValueAsString(body)));
        } catch (JsonProcessingException e) {
            return Optional.empty();
        }
    }

    /**
     * Looks for the answer to a question of the same meaning, and remembers this one if there is none.
     *
     * @param scope of the query
     * @param ticket of the exact look that found nothing
     * @param vector of the question
     */
    public Optional<CachedAnswer> look(Query query, String scope, String ticket, float[] vector)
            throws InterruptedException {
        String[] parts = ticket.split(" ", 2);
        String epoch = parts[0];
        String exact = parts[1];
        String key = KEY + epoch + ":" + scope;
        Scope known = read(key);
        Question question = Question.of(query.getText(), vector);
        List<Candidate> near = verdicts.record(() -> near(known, question, exact));
        if (near != null && !near.isEmpty()) {
            String[] keys = near.stream().map(Candidate::key).toArray(String[]::new);
            List<Optional<byte[]>> values = redis.get(keys).orElse(List.of());
            for (int i = 0; i < values.size(); i++) {
                Candidate candidate = near.get(i);
                Optional<CachedAnswer> found = values.get(i).flatMap(bytes -> ResponseCache.read(bytes, epoch));
                if (found.isPresent()) {
                    count("hit");
                    return Optional.of(CachedAnswer.newBuilder(found.get())
                            .setKind("semantic")
                            .setSimilarity(candidate.cosine())
                            .setProbability(candidate.probability())
                            .build());
                }
            }
        }
        if (!known.questions.containsKey(exact)) {
            redis.append(
                    key,
                    Map.of(
                            "key", exact.getBytes(StandardCharsets.UTF_8),
                            "text", query.getText().getBytes(StandardCharsets.UTF_8),
                            "vector", Vectors.toBytes(vector).array()),
                    QUESTIONS,
                    keep);
        }
        count("miss");
        return Optional.empty();
    }

    private List<Candidate> near(Scope scope, Question question, String exact) {
        return scope.questions.entrySet().stream()
                .filter(entry -> !entry.getKey().equals(exact))
                .map(entry -> new Candidate(entry.getKey(), entry.getValue(), question.cosine(entry.getValue()), 0))
                .sorted(Comparator.comparingDouble(Candidate::cosine).reversed())
                .limit(CANDIDATES)
                .map(each -> new Candidate(
                        each.key(), each.question(), each.cosine(), verifier.probability(question, each.question())))
                .filter(each -> each.probability() > threshold)
                .sorted(Comparator.comparingDouble(Candidate::probability).reversed())
                .toList();
    }

    /** The questions of a scope, with what other processes added. */
    private Scope read(String key) throws InterruptedException {
        Scope known = scopes.getIfPresent(key);
        Scope before = known == null ? new Scope("", Map.of()) : known;
        List<RedisValues.Entry> added = redis.since(key, before.last);
        if (added.isEmpty()) {
            return before;
        }
        Map<String, Question> questions = new LinkedHashMap<>(before.questions);
        for (RedisValues.Entry entry : added) {
            byte[] exact = entry.fields().get("key");
            byte[] text = entry.fields().get("text");
            byte[] vector = entry.fields().get("vector");
            if (exact != null && text != null && vector != null) {
                questions.put(
                        new String(exact, StandardCharsets.UTF_8),
                        Question.of(
                                new String(text, StandardCharsets.UTF_8), Vectors.fromBytes(ByteBuffer.wrap(vector))));
            }
        }
        List<String> keys = new ArrayList<>(questions.keySet());
        keys.subList(0, Math.max(0, keys.size() - QUESTIONS)).forEach(questions::remove);
        Scope now = new Scope(added.getLast().id(), questions);
        scopes.put(key, now);
        return now;
    }

    private void count(String result) {
        metrics.counter("millrace.semantic.cache", "result", result).increment();
    }
}
