package io.millrace.gateway;

import io.millrace.text.Sanitizer;
import io.vertx.core.Future;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.json.JsonArray;
import io.vertx.core.json.JsonObject;
import io.vertx.ext.web.RoutingContext;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** {@code POST /v1/embeddings}: the vectors of texts. It keeps neither. */
final class EmbeddingsHandler {
    private static final Logger LOG = LoggerFactory.getLogger(EmbeddingsHandler.class);
    private static final String INPUT = "input";

    /** Given to the model at once; whether the client still waits is looked at between. */
    private static final int AT_ONCE = 32;

    /** OpenAI's limit. */
    private static final int MOST_TEXTS = 2_048;

    /** In one answer: of 384 dimensions 1,041 texts. Each takes some 20 bytes of heap and as many of JSON. */
    private static final int MOST_NUMBERS = 400_000;

    /** Of {@link Room}, for each number of an answer: a number takes some forty bytes of heap while it is written, and a byte there counts for 32. */
    private static final int NUMBER_BYTES = 2;

    // the predecessor's limit
    private static final int MOST_CHARS = 10_000;

    private final SearchPort knowledge;
    private final Blocking blocking;
    private final Room room;

    /**
     * @param blocking of its own: a slow model would keep searches from theirs
     * @param room for texts that wait, and for answers until they are read
     */
    EmbeddingsHandler(SearchPort knowledge, Blocking blocking, Room room) {
        this.knowledge = knowledge;
        this.blocking = blocking;
        this.room = room;
    }

    void create(RoutingContext context) {
        JsonObject body = Answers.body(context);
        SearchPort.EmbeddingModel model = knowledge.embeddingModel();
        requireServed(model, body.getString("model"));
        List<String> texts = texts(body.getValue(INPUT), Math.min(MOST_TEXTS, MOST_NUMBERS / model.dimension()));
        requireLength(model, body.getNumber("dimensions"));
        boolean packed = "base64".equals(body.getString("encoding_format"));
        if (context.response().closed()) {
            // its client went while the request was looked at, and nothing would tell of that again
            return;
        }
        Room.Share memory = room.share();
        long wanted =
                texts.stream().mapToLong(String::length).sum() + (long) NUMBER_BYTES * model.dimension() * texts.size();
        if (wanted > Room.SMALL_BYTES) {
            memory.hold(wanted);
        }
        blocking.run(() -> {
                    List<float[]> vectors = new ArrayList<>();
                    long tokens = 0;
                    for (int from = 0; from < texts.size(); from += AT_ONCE) {
                        if (context.response().closed()) {
                            // what nobody waits for any more is left to those who do
                            return Optional.<Buffer>empty();
                        }
                        SearchPort.Embedded some =
                                knowledge.embed(texts.subList(from, Math.min(texts.size(), from + AT_ONCE)));
                        vectors.addAll(some.vectors());
                        tokens += some.tokens();
                    }
                    return Optional.of(answer(model, new SearchPort.Embedded(vectors, tokens), packed));
                })
                .onFailure(error -> failed(context, error))
                // who does not read its answer holds it
                .compose(answer ->
                        answer.map(json -> Answers.json(context, 200, json)).orElseGet(Future::succeededFuture))
                .onComplete(ended -> memory.close());
    }

    private static void requireServed(SearchPort.EmbeddingModel model, String asked) {
        if (!asked.equals(model.name()) && !asked.equals(model.fingerprint())) {
            throw Problem.field(
                    404,
                    "model_not_found",
                    "model",
                    "the embedding model " + Queries.quoted(asked) + " is not served here; " + model.name() + " is");
        }
    }

    private static void requireLength(SearchPort.EmbeddingModel model, @Nullable Number asked) {
        if (asked != null && asked.doubleValue() != model.dimension()) {
            throw Problem.invalid(
                    "dimensions",
                    "dimensions must be " + model.dimension() + ": the vectors of " + model.name()
                            + " are not shortened");
        }
    }

    /** One text or some, as the contract limits them. Its validator would not say what is wanted in place of tokens. */
    private static List<String> texts(@Nullable Object input, int most) {
        if (input instanceof String text) {
            return List.of(text(INPUT, text));
        }
        if (!(input instanceof JsonArray several)) {
            throw Problem.invalid(INPUT, "input must be a text or an array of texts");
        }
        if (several.isEmpty() || several.size() > most) {
            throw Problem.invalid(INPUT, "input must have 1 to " + most + " texts, not " + several.size());
        }
        List<String> texts = new ArrayList<>();
        for (int i = 0; i < several.size(); i++) {
            if (!(several.getValue(i) instanceof String text)) {
                throw Problem.invalid(
                        INPUT, "input[" + i + "] is not a text; token numbers are not taken, the texts are wanted");
            }
            texts.add(text(INPUT + "[" + i + "]", text));
        }
        return texts;
    }

    private static String text(String field, String text) {
        // as questions and documents are read, so that one text has one vector
        String clean = Sanitizer.sanitize(text);
        if (clean.isBlank()) {
            throw Problem.invalid(field, field + " must not be empty");
        }
        int chars = text.codePointCount(0, text.length());
        if (chars > MOST_CHARS) {
            throw Problem.invalid(field, field + " has " + chars + " characters, and at most " + MOST_CHARS + " fit");
        }
        return clean;
    }

    /** Encoded where it blocks nobody: the vectors may be 400,000 numbers. */
    private static Buffer answer(SearchPort.EmbeddingModel model, SearchPort.Embedded embedded, boolean packed) {
        JsonArray data = new JsonArray();
        for (float[] vector : embedded.vectors()) {
            data.add(new JsonObject()
                    .put("object", "embedding")
                    .put("index", data.size())
                    .put("embedding", packed ? packed(vector) : numbers(vector)));
        }
        return new JsonObject()
                .put("object", "list")
                .put("data", data)
                .put("model", model.name())
                .put(
                        "usage",
                        new JsonObject().put("prompt_tokens", embedded.tokens()).put("total_tokens", embedded.tokens()))
                .toBuffer();
    }

    private static JsonArray numbers(float[] vector) {
        JsonArray numbers = new JsonArray(new ArrayList<>(vector.length));
        for (float number : vector) {
            numbers.add(number);
        }
        return numbers;
    }

    private static String packed(float[] vector) {
        ByteBuffer bytes = ByteBuffer.allocate(vector.length * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
        bytes.asFloatBuffer().put(vector);
        return Base64.getEncoder().encodeToString(bytes.array());
    }

    private static void failed(RoutingContext context, Throwable error) {
        switch (error) {
            case Problem problem -> context.fail(problem);
            case SearchPort.RefusedTextsException refused ->
                context.fail(Problem.invalid(INPUT, "input is refused: " + refused.getMessage()));
            default -> {
                LOG.warn("texts could not be embedded: {}", error.toString());
                context.fail(Problem.unavailable("embedder_unavailable", "the embedding model does not answer now"));
            }
        }
    }
}
