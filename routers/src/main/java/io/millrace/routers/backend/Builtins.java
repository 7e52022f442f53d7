package io.millrace.routers.backend;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.millrace.schema.Answer;
import io.millrace.schema.Dispatch;
import io.millrace.schema.Hit;
import io.millrace.schema.Query;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** The backends that need no model, and the OpenAI shapes of their answers. Pure. */
public final class Builtins {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Pattern WORD = Pattern.compile("[^\\p{L}\\p{N}]+");
    private static final int PASSAGES = 3;
    private static final int EXTRACT_CHARS = 900;
    private static final Pattern PARAGRAPH = Pattern.compile("\\n\\s*\\n");

    private Builtins() {}

    /** The best passages with their citations. Says what it is: it never poses as a chat model. */
    public static Answer extractive(Dispatch dispatch) {
        List<Hit> hits = dispatch.getHits();
        StringBuilder text = new StringBuilder();
        if (hits.isEmpty()) {
            text.append("Nothing in the knowledge matches this question, and ")
                    .append(why(dispatch))
                    .append(". Add documents with `millrace up --knowledge DIR`.");
        } else {
            text.append("From the knowledge, without a model (")
                    .append(why(dispatch))
                    .append("):\n");
            Set<String> asked = words(dispatch.getQuery().getText());
            for (int i = 0; i < Math.min(PASSAGES, hits.size()); i++) {
                Hit hit = hits.get(i);
                text.append("\n[")
                        .append(i + 1)
                        .append("] ")
                        .append(hit.getTitle())
                        .append(" (")
                        .append(hit.getPath())
                        .append(")\n");
                text.append(extract(hit.getText(), asked)).append('\n');
            }
        }
        return answer(text.toString().strip(), "millrace/extractive");
    }

    /** The context, where it was asked for; the rest of the evidence is in the reply. */
    public static Answer evidence(Dispatch dispatch) {
        return answer(dispatch.getContext(), "millrace/evidence");
    }

    private static String why(Dispatch dispatch) {
        return dispatch.getReason().equals("forced_extractive")
                ? "extracts were asked for"
                : "no model is configured that may answer it: set MILLRACE_LOCAL_URL or MILLRACE_REMOTE_URL";
    }

    private static Answer answer(String text, String model) {
        return Answer.newBuilder()
                .setText(text)
                .setFinishReason("stop")
                .setModel(model)
                .build();
    }

    /** The paragraphs that share most words with the question, in their order, up to a bound. */
    private static String extract(String passage, Set<String> asked) {
        if (passage.length() <= EXTRACT_CHARS) {
            return passage.strip();
        }
        List<String> paragraphs = Arrays.asList(PARAGRAPH.split(passage.strip()));
        List<Integer> order = new ArrayList<>();
        for (int i = 0; i < paragraphs.size(); i++) {
            order.add(i);
        }
        order.sort(Comparator.comparingLong((Integer i) -> -shared(paragraphs.get(i), asked)));
        List<Integer> taken = new ArrayList<>();
        int length = 0;
        for (int i : order) {
            if (taken.isEmpty() || length + paragraphs.get(i).length() <= EXTRACT_CHARS) {
                taken.add(i);
                length += paragraphs.get(i).length();
            }
        }
        return taken.stream().sorted().map(paragraphs::get).collect(Collectors.joining("\n\n"));
    }

    private static long shared(String paragraph, Set<String> asked) {
        return words(paragraph).stream().filter(asked::contains).count();
    }

    private static Set<String> words(String text) {
        return Arrays.stream(WORD.split(text.toLowerCase(Locale.ROOT)))
                .filter(word -> word.length() > 2)
                .collect(Collectors.toSet());
    }

    /**
     * An answer as the chunks of an OpenAI stream: all of it in one, then the finish reason, then usage where the client asked for it. At
     * least two.
     */
    public static List<String> chunks(Dispatch dispatch, Answer answer) {
        ObjectNode delta = JSON.createObjectNode().put("role", "assistant").put("content", answer.getText());
        if (!answer.getMessage().isEmpty()) {
            delta.setAll(message(answer));
            // in a delta, and only there, calls are numbered
            int index = 0;
            for (JsonNode call : delta.path("tool_calls")) {
                if (call instanceof ObjectNode object) {
                    object.put("index", index);
                }
                index++;
            }
        }
        List<String> chunks = new ArrayList<>();
        chunks.add(chunk(dispatch, answer, delta, null));
        chunks.add(chunk(dispatch, answer, JSON.createObjectNode(), answer.getFinishReason()));
        if (isUsageWanted(dispatch.getQuery())) {
            chunks.add(usage(dispatch, answer));
        }
        return chunks;
    }

    private static boolean isUsageWanted(Query query) {
        try {
            return JSON.readTree(query.getBody())
                    .path("stream_options")
                    .path("include_usage")
                    .asBoolean(false);
        } catch (JsonProcessingException e) {
            // an answer without a model needs nothing of the body
            return false;
        }
    }

    private static ObjectNode message(Answer answer) {
        try {
            return (ObjectNode) JSON.readTree(answer.getMessage());
        } catch (JsonProcessingException e) {
            throw new IllegalStateException("a recorded message is JSON", e);
        }
    }

    private static String chunk(Dispatch dispatch, Answer answer, ObjectNode delta, @Nullable String finishReason) {
        ObjectNode chunk = chunk(dispatch, answer);
        chunk.putArray("choices")
                .addObject()
                .put("index", 0)
                .put("finish_reason", finishReason)
                .set("delta", delta);
        return chunk.toString();
    }

    private static String usage(Dispatch dispatch, Answer answer) {
        ObjectNode chunk = chunk(dispatch, answer);
        chunk.putArray("choices");
        chunk.putObject("usage")
                .put("prompt_tokens", answer.getTokensIn())
                .put("completion_tokens", answer.getTokensOut())
                .put("total_tokens", answer.getTokensIn() + answer.getTokensOut());
        return chunk.toString();
    }

    private static ObjectNode chunk(Dispatch dispatch, Answer answer) {
        return JSON.createObjectNode()
                .put("id", "chatcmpl-" + dispatch.getInteractionId())
                .put("object", "chat.completion.chunk")
                .put("created", dispatch.getEnvelope().getOccurredAt() / 1000)
                .put("model", answer.getModel());
    }
}
