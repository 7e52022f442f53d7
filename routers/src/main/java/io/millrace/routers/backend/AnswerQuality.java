package io.millrace.routers.backend;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.MissingNode;
import io.millrace.schema.Answer;
import io.millrace.schema.Dispatch;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/**
 * How good an answer looks, without asking a model: 1 minus what is wrong with it.
 *
 * <table>
 * <caption>deductions</caption>
 * <tr><td>empty</td><td>1.0</td><td>no text and no tool call: a thinking model that spent its budget, for one</td></tr>
 * <tr><td>invalid_json</td><td>1.0</td><td>JSON was asked for and this is none</td></tr>
 * <tr><td>schema_violated</td><td>0.5</td><td>a schema was given, and a field that it requires at the top is missing</td></tr>
 * <tr><td>refusal</td><td>0.5</td><td>the first words decline or say that it is not known</td></tr>
 * <tr><td>truncated</td><td>0.3</td><td>finish reason is not stop, tool_calls or function_call</td></tr>
 * <tr><td>ungrounded</td><td>0.3</td><td>context was given, and under a tenth of the answer's content words are in it</td></tr>
 * <tr><td>short</td><td>0.1</td><td>under 20 characters</td></tr>
 * </table>
 *
 * <p>Against the default bar of 0.8, any one of them but the last sends the query on.
 */
public final class AnswerQuality {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Pattern REFUSAL = Pattern.compile(
            "^\\W*(?:(?:i(?:'|’)?m |i am )?(?:very |so |really )?sorry|(?:i apologi[sz]e|my apologies)"
                    + "|i (?:do not|don(?:'|’)?t) (?:know|have)|i (?:can(?:'|’)?t|cannot|could not|couldn(?:'|’)?t)"
                    + "|i(?:'|’)?(?:m| am) (?:unable|not able|not sure)|as an ai|unfortunately"
                    + "|there is (?:no|not enough) (?:information|context)"
                    + "|the (?:provided |given )?(?:context|passages?|documents?|text) (?:does|do)(?: not|n(?:'|’)?t))",
            Pattern.CASE_INSENSITIVE);
    private static final Pattern WORD = Pattern.compile("[^\\p{L}\\p{N}]+");
    private static final int SHORT = 20;
    private static final int CONTENT_WORD = 5;
    private static final double GROUNDED = 0.1;

    private AnswerQuality() {}

    /**
     * A verdict.
     *
     * @param score 0..1
     * @param reasons names of the deductions
     */
    public record Verdict(double score, List<String> reasons) {
        public Verdict {
            reasons = List.copyOf(reasons);
        }
    }

    /** Judges an answer to a dispatched query. */
    public static Verdict judge(Dispatch dispatch, Answer answer) {
        List<String> reasons = new ArrayList<>();
        double score = 1;
        String text = answer.getText().strip();
        JsonNode message = json(answer.getMessage());
        boolean calls = !message.path("tool_calls").isEmpty()
                || !message.path("function_call").isEmpty();
        if (text.isEmpty() && !calls && !message.hasNonNull("refusal")) {
            return new Verdict(0, List.of("empty"));
        }
        boolean structured = dispatch.getQuery().getStructured() && !calls;
        if (structured) {
            JsonNode said = json(text);
            if (!said.isContainerNode()) {
                return new Verdict(0, List.of("invalid_json"));
            }
            if (lacksRequired(dispatch, said)) {
                score -= 0.5;
                reasons.add("schema_violated");
            }
        }
        if (message.hasNonNull("refusal")
                || (!structured && REFUSAL.matcher(text).find())) {
            score -= 0.5;
            reasons.add("refusal");
        }
        if (!Set.of("stop", "tool_calls", "function_call").contains(answer.getFinishReason())) {
            score -= 0.3;
            reasons.add("truncated");
        }
        if (!dispatch.getContext().isEmpty()
                && !calls
                && !structured
                && overlap(text, dispatch.getContext()) < GROUNDED) {
            score -= 0.3;
            reasons.add("ungrounded");
        }
        if (text.length() < SHORT && !calls && !structured) {
            score -= 0.1;
            reasons.add("short");
        }
        return new Verdict(Math.max(0, score), reasons);
    }

    /** Only what costs nothing to check and fails most often with small models; whoever needs more validates the answer. */
    private static boolean lacksRequired(Dispatch dispatch, JsonNode said) {
        JsonNode required = json(dispatch.getQuery().getBody()).at("/response_format/json_schema/schema/required");
        for (JsonNode field : required) {
            if (!said.has(field.asText())) {
                return true;
            }
        }
        return false;
    }

    private static JsonNode json(String text) {
        try {
            return JSON.readTree(text);
        } catch (JsonProcessingException e) {
            return MissingNode.getInstance();
        }
    }

    private static double overlap(String answer, String context) {
        Set<String> said = words(answer);
        if (said.isEmpty()) {
            return 1;
        }
        Set<String> known = words(context);
        return (double) said.stream().filter(known::contains).count() / said.size();
    }

    private static Set<String> words(String text) {
        return Arrays.stream(WORD.split(text.toLowerCase(Locale.ROOT)))
                .filter(word -> word.length() >= CONTENT_WORD)
                .collect(Collectors.toSet());
    }
}
