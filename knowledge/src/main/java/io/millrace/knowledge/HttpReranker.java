package io.millrace.knowledge;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.net.URI;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/**
 * A cross-encoder over HTTP, in the contract that Jina, Cohere, vLLM, llama.cpp's server and text-embeddings-inference's proxies share:
 * {@code POST {model, query, documents, top_n}} gives {@code {results: [{index, relevance_score}]}}.
 *
 * <p>A score outside 0..1 is a logit (llama.cpp gives those) and is put through the logistic function.
 */
public final class HttpReranker implements Reranker, AutoCloseable {
    private final ModelClient client;
    private final String model;

    /**
     * @param key bearer token; empty for none
     * @param timeout for the whole answer
     */
    public HttpReranker(URI url, String model, String key, Duration timeout) {
        this.client = new ModelClient(url, key, timeout);
        this.model = model;
    }

    @Override
    public boolean isLocal() {
        return client.isLocal();
    }

    @Override
    public List<Double> relevances(String question, List<String> texts) {
        ObjectNode body = ModelClient.object().put("query", question).put("top_n", texts.size());
        if (!model.isEmpty()) {
            body.put("model", model);
        }
        texts.forEach(body.putArray("documents")::add);
        try {
            return read(client.post(body), texts.size());
        } catch (IOException e) {
            throw new RerankException("the reranker at " + client.host() + " failed: " + e.getMessage(), e);
        }
    }

    private static List<Double> read(JsonNode answer, int count) throws IOException {
        List<Double> scores = new ArrayList<>(Collections.nCopies(count, Double.NaN));
        for (JsonNode result : answer.path("results")) {
            int index = result.path("index").asInt(-1);
            if (index >= 0 && index < count && result.path("relevance_score").isNumber()) {
                scores.set(index, result.path("relevance_score").asDouble());
            }
        }
        if (scores.stream().anyMatch(score -> score.isNaN())) {
            throw new IOException("it did not score every text");
        }
        boolean logits = scores.stream().anyMatch(score -> score < 0 || score > 1);
        return logits ? scores.stream().map(score -> 1 / (1 + Math.exp(-score))).toList() : List.copyOf(scores);
    }

    @Override
    public void close() {
        client.close();
    }
}
