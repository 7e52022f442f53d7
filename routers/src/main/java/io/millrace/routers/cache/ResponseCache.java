package io.millrace.routers.cache;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.micrometer.core.instrument.MeterRegistry;
import io.millrace.id.Ids;
import io.millrace.routers.cache.Rejections.Gate;
import io.millrace.routers.dispatch.AnswerSink;
import io.millrace.routers.redis.RedisValues;
import io.millrace.schema.Answer;
import io.millrace.schema.CachedAnswer;
import io.millrace.schema.Dispatch;
import io.millrace.schema.Query;
import io.millrace.service.RedisKeys;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.TreeMap;
import org.apache.avro.SchemaNormalization;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.specific.SpecificDatumReader;
import org.apache.avro.specific.SpecificDatumWriter;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The exact response cache: the answer to the very same request of the very same caller.
 *
 * <p>Retrieval looks before it embeds; dispatch keeps what ended well. What is never cached: a query that did not ask for it, one with
 * tools, one of a session, one that is not stored or is synthetic, evidence without an answer; an answer that was cut off, judged too weak, or not a model's. The key
 * holds everything that the answer may depend on, the version of the knowledge among it, so an entry needs no
 * deletion: it ends with its time to live, at once with the epoch ({@code DELETE /cache}), or when somebody says that the answer was bad ({@link CacheFeedback}); what is found goes through {@link Rejections}. The epoch of the moment of <em>retrieval</em> goes with the
 * attempt: an answer that was on its way when the epoch moved is kept under the old one, where nobody finds it.
 */
public final class ResponseCache implements AnswerSink, AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(ResponseCache.class);
    private static final String KEY = "millrace:response:";
    private static final long SCHEMA = SchemaNormalization.parsingFingerprint64(CachedAnswer.getClassSchema());

    /** What does not change the answer. */
    private static final List<String> IRRELEVANT = List.of("stream_options", "user", "metadata", "store");

    static final ObjectMapper JSON = JsonMapper.builder()
            .enable(SerializationFeature.ORDER_MAP_ENTRIES_BY_KEYS)
            .build();

    private final RedisValues redis;
    private final Rejections rejections;
    private final MeterRegistry metrics;
    private final Duration keep;

    /** @param keep time to live of an entry */
    public ResponseCache(RedisValues redis, Rejections rejections, MeterRegistry metrics, Duration keep) {
        this.redis = redis;
        this.rejections = rejections;
        this.metrics = metrics;
        this.keep = keep;
    }

    /**
     * What a look found.
     *
     * @param ticket where the answer belongs when there is none yet; empty when it may not be kept
     */
    public record Look(Optional<CachedAnswer> found, String ticket) {
        /** For a query that may neither be answered from here nor be kept. */
        public static final Look NOTHING = new Look(Optional.empty(), "");
    }

    /** Whether this query may be answered from here and its answer kept. */
    static boolean allows(Query query) {
        return query.getCache()
                && query.getGenerate()
                && query.getStore()
                && !query.getTools()
                // what a turn means depends on the turns before it
                && query.getSessionId().isEmpty()
                && !query.getEnvelope().getSynthetic()
                && !(query.getStream() && wantsMoreThanText(query.getBody()));
    }

    /** Several choices, or their probabilities: of a stream the first choice is kept, and of that the message. */
    private static boolean wantsMoreThanText(String body) {
        try {
            JsonNode json = JSON.readTree(body);
            return json.path("n").asInt(1) > 1 || json.path("logprobs").asBoolean(false);
        } catch (JsonProcessingException e) {
            return true;
        }
    }

    /**
     * Looks for the answer to a query.
     *
     * @param knowledgeVersion of the index that would be searched; empty when none would be
     */
    public Look look(Query query, String knowledgeVersion) throws InterruptedException {
        if (!allows(query)) {
            return Look.NOTHING;
        }
        String key = KEY + hash(query, knowledgeVersion, query.getBody());
        Optional<List<Optional<byte[]>>> values = redis.get(RedisKeys.CACHE_EPOCH, key);
        if (values.isEmpty()) {
            count("down");
            return Look.NOTHING;
        }
        String epoch = values.get()
                .getFirst()
                .map(bytes -> new String(bytes, StandardCharsets.UTF_8))
                .orElse("0");
        Optional<CachedAnswer> found = values.get().getLast().flatMap(bytes -> read(bytes, epoch));
        if (found.isPresent()) {
            String first = found.get().getInteractionId();
            Gate gate = rejections.serve(
                    query.getInteractionId(), new Served.Exact(epoch, key, first), keep, Bans.answer(first));
            if (gate != Gate.OPEN) {
                count(gate.label());
                return new Look(Optional.empty(), epoch + " " + key);
            }
        }
        count(found.isPresent() ? "hit" : "miss");
        return new Look(found, found.isPresent() ? "" : epoch + " " + key);
    }

    /** Keeps an answer under the ticket of its retrieval. */
    @Override
    public void put(Dispatch dispatch, Answer answer) {
        String[] ticket = dispatch.getCacheTicket().split(" ", 2);
        if (ticket.length < 2) {
            return;
        }
        CachedAnswer cached = CachedAnswer.newBuilder()
                .setKind("exact")
                .setInteractionId(dispatch.getInteractionId())
                // what is given again costs nothing again
                .setAnswer(Answer.newBuilder(answer)
                        .setCostUsd(0)
                        .setTokensIn(0)
                        .setTokensOut(0)
                        .build())
                .build();
        redis.set(ticket[1], write(cached, ticket[0]), keep);
        // who rates the first answer rates what others would get
        redis.set(
                Served.key(dispatch.getInteractionId()),
                new Served.Exact(ticket[0], ticket[1], dispatch.getInteractionId()).toBytes(),
                keep);
        count("kept");
    }

    private void count(String result) {
        metrics.counter("millrace.response.cache", "result", result).increment();
    }

    /** Of all that the answer may depend on. */
    static String hash(Query query, String knowledgeVersion, String body) {
        return Ids.content(
                query.getEnvelope().getTenant(),
                query.getEnvelope().getPrincipal(),
                query.getApi(),
                query.getModel(),
                query.getBackend(),
                Boolean.toString(query.getPreferLocal()),
                Boolean.toString(query.getLocalOnly()),
                Boolean.toString(query.getStream()),
                query.getVariant(),
                query.getRetrieval(),
                Boolean.toString(query.getAddContext()),
                String.join(",", query.getCollections()),
                Integer.toString(query.getLimit()),
                Integer.toString(query.getKeywordLimit()),
                Double.toString(query.getScoreThreshold()),
                JSON.valueToTree(List.of(new TreeMap<>(query.getFilters()), query.getTags()))
                        .toString(),
                Double.toString(query.getMinSuccessRate()),
                query.getContextLevel(),
                Integer.toString(query.getContextTokens()),
                JSON.valueToTree(query.getExclude()).toString(),
                knowledgeVersion,
                canonical(body));
    }

    /** The request with its fields in order and without those that change no answer: clients write the same JSON in many ways. */
    private static String canonical(String body) {
        try {
            JsonNode json = JSON.readTree(body);
            if (json instanceof ObjectNode object) {
                object.remove(IRRELEVANT);
            }
            // trees keep the order of the text, maps are written in the order of their keys
            return JSON.writeValueAsString(JSON.treeToValue(json, Object.class));
        } catch (JsonProcessingException e) {
            // the gateway has parsed it; at worst it is its own form
            return body;
        }
    }

    /** What an entry must begin with: the schema that it was written with, so that another version's is a miss, and the epoch. */
    private static byte[] head(String epoch) {
        return (SCHEMA + ":" + epoch).getBytes(StandardCharsets.UTF_8);
    }

    /** The head, a zero byte, the answer in Avro. */
    private static byte[] write(CachedAnswer cached, String epoch) {
        ByteArrayOutputStream out = new ByteArrayOutputStream(1_024);
        try {
            out.writeBytes(head(epoch));
            out.write(0);
            BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(out, null);
            new SpecificDatumWriter<>(CachedAnswer.class).write(cached, encoder);
            encoder.flush();
            return out.toByteArray();
        } catch (IOException e) {
            throw new IllegalStateException("an array cannot fail to be written", e);
        }
    }

    static Optional<CachedAnswer> read(byte[] bytes, String epoch) {
        byte[] head = head(epoch);
        if (bytes.length <= head.length
                || bytes[head.length] != 0
                || !Arrays.equals(bytes, 0, head.length, head, 0, head.length)) {
            return Optional.empty();
        }
        try {
            return Optional.of(new SpecificDatumReader<>(CachedAnswer.class)
                    .read(
                            null,
                            DecoderFactory.get()
                                    .binaryDecoder(bytes, head.length + 1, bytes.length - head.length - 1, null)));
        } catch (IOException | RuntimeException e) {
            LOG.warn("an entry of the response cache cannot be read and is passed over: {}", e.toString());
            return Optional.empty();
        }
    }

    @Override
    public void close() {
        redis.close();
    }
}
