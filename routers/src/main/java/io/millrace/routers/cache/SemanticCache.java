package io.millrace.routers.cache;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.github.benmanes.caffeine.cache.Cache;
import com.github.benmanes.caffeine.cache.Caffeine;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.Timer;
import io.millrace.knowledge.Embedder;
import io.millrace.knowledge.Vectors;
import io.millrace.knowledge.meaning.Question;
import io.millrace.knowledge.meaning.QuestionPair;
import io.millrace.knowledge.meaning.SameMeaning;
import io.millrace.routers.cache.Rejections.Gate;
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
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The semantic response cache: after an exact miss, the answer to a question that means the same, asked by the same caller in the same
 * way of the same knowledge.
 *
 * <p>Questions that may be cached are appended to a Redis stream of their scope: all that the exact key holds, but the question, and the
 * epoch. A stream is bounded by Redis, outlives this process, and is read incrementally, so that a look costs one round trip and a
 * comparison with at most {@link #QUESTIONS} vectors in memory. The answers stay where the exact cache keeps them; a question whose answer is gone, or never came, is
 * passed over. The epoch in the key ends all of it at once. A question that was answered from here is not added: near is not transitive.
 *
 * <p>Which question means the same is learned ({@link SameMeaning}), and served from a threshold that keeps the stated error bound. Only
 * the nearest question that has an answer is judged: each further verdict would be one more chance of being wrong. What people said
 * ({@link CacheFeedback}) comes before the verdict.
 */
public final class SemanticCache {
    private static final Logger LOG = LoggerFactory.getLogger(SemanticCache.class);

    /** Most questions remembered in a scope. */
    static final int QUESTIONS = 512;

    private static final String KEY = "millrace:questions:";

    /** The answers of so many nearest questions are looked for; only the nearest that has one is judged. */
    private static final int CANDIDATES = 4;

    /** Questions in memory over all scopes, about 4 KB each. */
    private static final long IN_MEMORY = 20_000;

    private final RedisValues redis;
    private final Rejections rejections;
    private final MeterRegistry metrics;
    private final Duration keep;
    private final SameMeaning verifier;
    private final Embedder second;
    private final double threshold;
    private final Timer verdicts;
    private volatile @Nullable String trouble;
    private final Cache<String, Scope> scopes;

    /**
     * @param keep time to live of a scope after its last question
     * @param second whose vectors the verdict looks at beside those of the search; asked for near questions only
     * @param maxError share of the questions with another meaning that may be served, above 0, at most 0.2
     */
    public SemanticCache(
            RedisValues redis,
            Rejections rejections,
            MeterRegistry metrics,
            Duration keep,
            SameMeaning verifier,
            Embedder second,
            double maxError) {
        this.redis = redis;
        this.rejections = rejections;
        this.metrics = metrics;
        this.keep = keep;
        this.scopes = Caffeine.newBuilder()
                .maximumWeight(IN_MEMORY)
                .weigher((String key, Scope scope) -> 1 + scope.questions.size())
                // with the stream: a question that is known here is not added to it again
                .expireAfterWrite(keep)
                .build();
        this.verifier = verifier;
        this.second = second;
        this.threshold = verifier.threshold(maxError);
        this.verdicts = metrics.timer("millrace.semantic.cache.verdict");
    }

    /** Fingerprint of the embedder whose vectors can be compared. */
    public String embedder() {
        return verifier.embedder();
    }

    /** Why nothing is served by meaning; empty while it is. */
    public Optional<String> trouble() {
        return Optional.ofNullable(trouble);
    }

    /** @param last id in the stream of the newest question seen */
    private record Scope(String last, Map<String, Question> questions) {}

    /**
     * @param key of the answer
     * @param pair names the two questions
     */
    private record Candidate(String key, String pair, Question question) {}

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
        List<Candidate> near = near(known, question, query, exact);
        Optional<CachedAnswer> found = near.isEmpty() ? Optional.empty() : judge(near, question, epoch, query);
        if (found.isPresent()) {
            count("hit");
            return found;
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

    /** Nearest first, without those that differ by rule. */
    private static List<Candidate> near(Scope scope, Question question, Query query, String exact) {
        return scope.questions.entrySet().stream()
                .filter(entry -> !entry.getKey().equals(exact) && !SameMeaning.differ(question, entry.getValue()))
                .sorted(Comparator.comparingDouble(
                                (Map.Entry<String, Question> entry) -> question.cosine(entry.getValue()))
                        .reversed())
                .limit(CANDIDATES)
                .map(entry -> new Candidate(
                        entry.getKey(),
                        Served.pair(
                                query.getEnvelope().getTenant(),
                                query.getText(),
                                entry.getValue().text()),
                        entry.getValue()))
                .toList();
    }

    /** One verdict a query, so that the bound of the verdict's error is that of the query's. */
    private Optional<CachedAnswer> judge(List<Candidate> near, Question question, String epoch, Query query)
            throws InterruptedException {
        String[] keys = Stream.of(
                        near.stream().map(Candidate::key), near.stream().map(candidate -> Bans.key(candidate.pair())))
                .flatMap(each -> each)
                .toArray(String[]::new);
        List<Optional<byte[]>> values = redis.get(keys).orElse(List.of());
        for (int i = 0; i < near.size() && !values.isEmpty(); i++) {
            Optional<CachedAnswer> answer = values.get(i).flatMap(bytes -> ResponseCache.read(bytes, epoch));
            if (answer.isEmpty()) {
                continue;
            }
            if (values.get(near.size() + i).isPresent()) {
                count("banned");
                continue;
            }
            Candidate nearest = near.get(i);
            double probability = probability(question, nearest.question());
            if (probability <= threshold) {
                return Optional.empty();
            }
            // the verdict took its time: what was said meanwhile counts
            Gate gate = rejections.serve(
                    query.getInteractionId(),
                    new Served.Semantic(nearest.pair()),
                    keep,
                    Bans.key(nearest.pair()),
                    Bans.answer(answer.get().getInteractionId()));
            if (gate != Gate.OPEN) {
                count(gate == Gate.REJECTED ? "banned" : gate.label());
                return Optional.empty();
            }
            return Optional.of(CachedAnswer.newBuilder(answer.get())
                    .setKind("semantic")
                    .setSimilarity(question.cosine(nearest.question()))
                    .setProbability(probability)
                    .setPair(nearest.pair())
                    .build());
        }
        return Optional.empty();
    }

    /** 0 when the second model has no opinion: the bound was promised with it. */
    private double probability(Question question, Question nearest) {
        long began = System.nanoTime();
        try {
            double probability = verifier.probability(QuestionPair.of(question, nearest, second::embed));
            trouble = null;
            verdicts.record(System.nanoTime() - began, TimeUnit.NANOSECONDS);
            return probability;
        } catch (Embedder.EmbeddingException e) {
            if (trouble == null) {
                LOG.warn("nothing is served by meaning: {}", e.getMessage());
            }
            trouble = "off: " + e.getMessage();
            return 0;
        }
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
                String asked = new String(text, StandardCharsets.UTF_8);
                Question question = Question.of(asked, Vectors.fromBytes(ByteBuffer.wrap(vector)));
                questions.put(new String(exact, StandardCharsets.UTF_8), question);
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
