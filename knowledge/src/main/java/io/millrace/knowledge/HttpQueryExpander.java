package io.millrace.knowledge;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.millrace.text.Prompts;
import io.millrace.text.Sanitizer;
import java.io.IOException;
import java.net.URI;
import java.time.Duration;
import java.util.List;
import java.util.regex.Pattern;

/** Rewordings from any server with OpenAI's chat completions. */
public final class HttpQueryExpander implements QueryExpander, AutoCloseable {
    private static final int MOST = 2;
    private static final int MOST_TOKENS = 120;
    private static final int LONGEST = 500;

    /** Models number lines whatever they are told. */
    private static final Pattern NUMBER = Pattern.compile("^(?:\\d+[.):]|[-*•])\\s*");

    private final ModelClient client;
    private final String model;

    /**
     * @param model name sent along; empty for none
     * @param key bearer token; empty for none
     * @param timeout for the whole answer
     */
    public HttpQueryExpander(URI url, String model, String key, Duration timeout) {
        this.client = new ModelClient(url, key, timeout);
        this.model = model;
    }

    @Override
    public boolean isLocal() {
        return client.isLocal();
    }

    @Override
    public List<String> reword(String question) {
        ObjectNode body = ModelClient.object().put("temperature", 0).put("max_tokens", MOST_TOKENS);
        if (!model.isEmpty()) {
            body.put("model", model);
        }
        body.putArray("messages")
                .add(ModelClient.object().put("role", "system").put("content", Prompts.REWORD))
                .add(ModelClient.object().put("role", "user").put("content", question));
        try {
            JsonNode content = client.post(body).at("/choices/0/message/content");
            if (!content.isTextual()) {
                throw new IOException("it gave no text");
            }
            return content.asText()
                    .lines()
                    .map(line -> Sanitizer.sanitize(NUMBER.matcher(line.strip()).replaceFirst("")))
                    .filter(line -> !line.isBlank() && line.length() <= LONGEST && !line.equalsIgnoreCase(question))
                    .distinct()
                    .limit(MOST)
                    .toList();
        } catch (IOException e) {
            throw new ExpansionException("the rewording model at " + client.host() + " failed: " + e.getMessage(), e);
        }
    }

    @Override
    public void close() {
        client.close();
    }
}
