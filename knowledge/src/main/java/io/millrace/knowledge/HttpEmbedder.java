package io.millrace.knowledge;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.millrace.config.MillraceConfig;
import io.millrace.id.Ids;
import io.millrace.knowledge.Embedder.EmbeddingException.Reason;
import java.io.IOException;
import java.net.ConnectException;
import java.net.URI;
import java.net.http.HttpConnectTimeoutException;
import java.net.http.HttpTimeoutException;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Optional;

/**
 * An embedding model over HTTP, in OpenAI's contract, which llama.cpp's server, vLLM, Ollama and text-embeddings-inference share:
 * {@code POST {model, input}} gives {@code {data: [{index, embedding}]}}.
 */
public final class HttpEmbedder implements Embedder, AutoCloseable {
    /** What the texts are: some models were trained with another beginning for each. */
    public enum Role {
        QUESTION,
        PASSAGE,
        /** Of a client that says all of it. */
        PLAIN
    }

    private static final int PREFIX_DIGITS = 12;

    private final ModelClient client;
    private final String model;
    private final int dimension;
    private final String prefix;
    private final String fingerprint;

    private HttpEmbedder(MillraceConfig.Embedding configured, Role role, Duration timeout) {
        this.client =
                new ModelClient(URI.create(configured.url()), configured.key().value(), timeout);
        this.model = configured.model();
        this.dimension = configured.dimensions();
        this.prefix = switch (role) {
            case QUESTION -> configured.queryPrefix();
            case PASSAGE -> configured.passagePrefix();
            case PLAIN -> "";
        };
        String plain = model + ":" + dimension;
        boolean prefixed = !configured.queryPrefix().isEmpty()
                || !configured.passagePrefix().isEmpty();
        // of both, whichever is its own: questions are compared with passages
        this.fingerprint = role == Role.PLAIN || !prefixed
                ? plain
                : plain + ":"
                        + Ids.content(configured.queryPrefix(), configured.passagePrefix())
                                .substring(0, PREFIX_DIGITS);
    }

    /**
     * The configured model, where it is on a server.
     *
     * @param patience for one answer, where it is less than the configured one
     */
    public static Optional<HttpEmbedder> of(MillraceConfig.Embedding configured, Role role, Duration patience) {
        return configured.url().isEmpty()
                ? Optional.empty()
                : Optional.of(new HttpEmbedder(
                        configured,
                        role,
                        patience.compareTo(configured.timeout()) < 0 ? patience : configured.timeout()));
    }

    @Override
    public List<float[]> embed(List<String> texts) {
        ObjectNode body = ModelClient.object().put("model", model);
        // an empty text is an error to some servers
        texts.forEach(text -> body.withArray("input").add(prefix + (text.isBlank() ? "-" : text)));
        try {
            return read(client.post(body), texts.size());
        } catch (ModelClient.RefusedException e) {
            throw failed(e, reason(e.status()));
        } catch (ConnectException | HttpConnectTimeoutException e) {
            throw failed(e, Reason.AWAY);
        } catch (HttpTimeoutException e) {
            throw failed(e, Reason.LATE);
        } catch (IOException e) {
            throw failed(e, Thread.currentThread().isInterrupted() ? Reason.AWAY : Reason.FAILED);
        }
    }

    /**
     * A wrong key, model or path says nothing of the texts: else each passage of the meantime would be a dead letter. llama.cpp answers 500 to
     * a text that is longer than its physical batch.
     */
    private static Reason reason(int status) {
        return switch (status) {
            case 400, 413, 422 -> Reason.REFUSED;
            case 408, 504 -> Reason.LATE;
            case 502, 503 -> Reason.AWAY;
            default -> status >= 500 ? Reason.FAILED : Reason.AWAY;
        };
    }

    private EmbeddingException failed(IOException error, Reason reason) {
        return new EmbeddingException(
                "the embedding model at " + client.host() + " failed: "
                        + Objects.requireNonNullElse(error.getMessage(), "no connection"),
                error,
                reason);
    }

    private List<float[]> read(JsonNode answer, int count) throws IOException {
        float[][] vectors = new float[count][];
        for (JsonNode each : answer.path("data")) {
            int index = each.path("index").asInt(-1);
            if (index >= 0 && index < count) {
                vectors[index] = vector(each.path("embedding"));
            }
        }
        if (Arrays.stream(vectors).anyMatch(vector -> vector == null)) {
            throw new IOException("it did not embed every text");
        }
        return List.of(vectors);
    }

    private float[] vector(JsonNode numbers) throws IOException {
        if (numbers.size() != dimension) {
            throw new IOException("its vectors have " + numbers.size()
                    + " numbers, and knowledge.embedding-dimensions is " + dimension);
        }
        float[] vector = new float[dimension];
        double squares = 0;
        for (int i = 0; i < dimension; i++) {
            vector[i] = (float) numbers.path(i).asDouble(Double.NaN);
            squares += (double) vector[i] * vector[i];
        }
        if (!(squares > 0) || Double.isInfinite(squares)) {
            throw new IOException("a vector of it is zero, or holds what is no number");
        }
        return Vectors.unit(vector);
    }

    @Override
    public String fingerprint() {
        return fingerprint;
    }

    @Override
    public int dimension() {
        return dimension;
    }

    @Override
    public void close() {
        client.close();
    }
}
