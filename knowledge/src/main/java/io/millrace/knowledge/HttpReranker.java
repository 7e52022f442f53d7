package io.millrace.knowledge;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
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
    private static final ObjectMapper JSON = new ObjectMapper();

    private final HttpClient http;
    private final URI url;
    private final String model;
    private final String key;
    private final Duration timeout;

    /**
     * @param key bearer token; empty for none
     * @param timeout for the whole answer
     */
    public HttpReranker(URI url, String model, String key, Duration timeout) {
        this.url = url;
        this.model = model;
        this.key = key;
        this.timeout = timeout;
        this.http = HttpClient.newBuilder().connectTimeout(timeout).build();
    }

    @Override
    public List<Double> relevances(String question, List<String> texts) {
        ObjectNode body = JSON.createObjectNode().put("query", question).put("top_n", texts.size());
        if (!model.isEmpty()) {
            body.put("model", model);
        }
        texts.forEach(body.putArray("documents")::add);
        HttpRequest.Builder request = HttpRequest.newBuilder(url)
                .timeout(timeout)
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body.toString()));
        if (!key.isEmpty()) {
            request.header("Authorization", "Bearer " + key);
        }
        try {
            HttpResponse<String> response = http.send(request.build(), HttpResponse.BodyHandlers.ofString());
            if (response.statusCode() != 200) {
                throw failed("it answered " + response.statusCode(), new IOException("status"));
            }
            return read(JSON.readTree(response.body()), texts.size());
        } catch (JsonProcessingException e) {
            throw failed("it did not answer with JSON", e);
        } catch (IOException e) {
            throw failed(e.toString(), e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw failed("interrupted", e);
        }
    }

    private List<Double> read(JsonNode answer, int count) {
        List<Double> scores = new ArrayList<>(Collections.nCopies(count, Double.NaN));
        for (JsonNode result : answer.path("results")) {
            int index = result.path("index").asInt(-1);
            if (index >= 0 && index < count && result.path("relevance_score").isNumber()) {
                scores.set(index, result.path("relevance_score").asDouble());
            }
        }
        if (scores.stream().anyMatch(score -> score.isNaN())) {
            throw failed("it did not score every text", new IOException("results"));
        }
        boolean logits = scores.stream().anyMatch(score -> score < 0 || score > 1);
        return logits ? scores.stream().map(score -> 1 / (1 + Math.exp(-score))).toList() : List.copyOf(scores);
    }

    private RerankException failed(String why, Exception cause) {
        return new RerankException("the reranker at " + url.getHost() + " failed: " + why, cause);
    }

    @Override
    public void close() {
        http.shutdownNow();
    }
}
