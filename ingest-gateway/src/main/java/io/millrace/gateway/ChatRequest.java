package io.millrace.gateway;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import io.millrace.text.Sanitizer;
import java.io.IOException;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * What the gateway needs to know of a chat-completions request; the rest of the body is forwarded as it came.
 *
 * <p>Read in one pass of a streaming parser: the contract's validator takes some 10 to 50 µs for a small body and builds a tree, this
 * takes 1 to 2 µs. The limits are those of {@code ChatRequest} in openapi.yaml, and a test holds the two together.
 *
 * @param model as asked, or empty
 * @param text last user message, sanitized; empty when it has parts but no text
 * @param structured a response_format that is not text
 * @param tools tools or functions are offered
 * @param maxTokens 0 when none was given
 */
record ChatRequest(
        String model,
        String text,
        boolean stream,
        boolean structured,
        boolean tools,
        boolean store,
        int maxTokens,
        @Nullable Double temperature) {

    private static final JsonFactory JSON = new JsonFactory();
    private static final Set<String> ROLES = Set.of("system", "developer", "user", "assistant", "tool", "function");
    private static final int MOST_TOKENS = 10_000_000;
    private static final int MOST_MODEL_CHARS = 200;

    /** Reads a body, or says with a 400 which field is wrong. */
    static ChatRequest parse(String body) {
        try (JsonParser json = JSON.createParser(body)) {
            if (json.nextToken() != JsonToken.START_OBJECT) {
                throw Problem.invalid("body", "the body must be a JSON object");
            }
            ChatRequest request = new Reader(json).read();
            if (json.nextToken() != null) {
                throw Problem.invalid("body", "something follows the JSON object");
            }
            return request;
        } catch (IOException e) {
            throw BadJson.problem(e);
        }
    }

    /** One pass over a body. */
    private static final class Reader {
        private final JsonParser json;
        private String model = "";
        private String userText = "";
        private boolean userSeen;
        private boolean userHasParts;
        private String lastText = "";
        private boolean messages;
        private boolean stream;
        private boolean structured;
        private boolean tools;
        private boolean store = true;
        private int maxTokens;
        private @Nullable Double temperature;

        Reader(JsonParser json) {
            this.json = json;
        }

        ChatRequest read() throws IOException {
            for (String field = json.nextFieldName(); field != null; field = json.nextFieldName()) {
                json.nextToken();
                switch (field) {
                    case "model" -> model = text(field, MOST_MODEL_CHARS);
                    case "messages" -> readMessages();
                    case "stream" -> stream = bool(field, false);
                    case "store" -> store = bool(field, true);
                    case "max_tokens", "max_completion_tokens" -> maxTokens = whole(field, MOST_TOKENS, maxTokens);
                    case "n" -> whole(field, 128, 0);
                    case "temperature" -> temperature = number(field, 0, 2);
                    case "top_p" -> number(field, 0, 1);
                    case "presence_penalty", "frequency_penalty" -> number(field, -2, 2);
                    case "tools", "functions" -> tools |= filledArray(field);
                    case "response_format" -> structured = responseFormat();
                    case "stream_options" -> readStreamOptions();
                    default -> json.skipChildren();
                }
            }
            if (!messages) {
                throw Problem.invalid("messages", "messages is required");
            }
            // only a system prompt is unusual, but some clients send it; the last text is then the question
            String text = Sanitizer.sanitize(userSeen ? userText : lastText);
            if (text.isBlank() && !userHasParts) {
                throw Problem.invalid("messages", "messages must hold a text that is not empty");
            }
            return new ChatRequest(model, text, stream, structured, tools, store, maxTokens, temperature);
        }

        private void readMessages() throws IOException {
            if (json.currentToken() != JsonToken.START_ARRAY) {
                throw wrongType("messages", "an array");
            }
            int index = 0;
            for (; json.nextToken() != JsonToken.END_ARRAY; index++) {
                readMessage(index);
            }
            if (index == 0) {
                throw Problem.invalid("messages", "messages must not be empty");
            }
            messages = true;
        }

        private void readMessage(int index) throws IOException {
            if (json.currentToken() != JsonToken.START_OBJECT) {
                throw wrongType("messages[" + index + "]", "an object");
            }
            String role = "";
            String content = "";
            boolean given = false;
            boolean parts = false;
            for (String field = json.nextFieldName(); field != null; field = json.nextFieldName()) {
                json.nextToken();
                switch (field) {
                    case "role" -> role = role(index);
                    case "content" -> {
                        given = json.currentToken() != JsonToken.VALUE_NULL;
                        switch (json.currentToken()) {
                            case VALUE_STRING -> content = json.getText();
                            case VALUE_NULL -> content = "";
                            case START_ARRAY -> {
                                StringBuilder text = new StringBuilder();
                                parts = readParts(index, text);
                                content = text.toString();
                            }
                            default ->
                                throw wrongType(
                                        "messages[" + index + "].content", "a string, an array of parts or null");
                        }
                    }
                    default -> json.skipChildren();
                }
            }
            if (role.isEmpty()) {
                throw Problem.invalid("messages[" + index + "].role", "messages[" + index + "].role is required");
            }
            if (!given && !role.equals("assistant")) {
                // an assistant that called tools said nothing
                throw Problem.invalid("messages[" + index + "].content", "messages[" + index + "].content is required");
            }
            if (role.equals("user")) {
                userSeen = true;
                userText = content;
                userHasParts = parts;
            }
            if (!content.isBlank()) {
                lastText = content;
            }
        }

        /** Appends the texts of the parts; true when there are others, such as images. */
        private boolean readParts(int message, StringBuilder text) throws IOException {
            boolean others = false;
            for (int index = 0; json.nextToken() != JsonToken.END_ARRAY; index++) {
                String at = "messages[" + message + "].content[" + index + "]";
                if (json.currentToken() != JsonToken.START_OBJECT) {
                    throw wrongType(at, "an object");
                }
                String type = "";
                for (String field = json.nextFieldName(); field != null; field = json.nextFieldName()) {
                    json.nextToken();
                    if (field.equals("type")) {
                        type = string(at + ".type");
                    } else if (field.equals("text")) {
                        if (!text.isEmpty()) {
                            text.append('\n');
                        }
                        text.append(string(at + ".text"));
                    } else {
                        json.skipChildren();
                    }
                }
                if (type.isEmpty()) {
                    throw Problem.invalid(at + ".type", at + ".type is required");
                }
                others |= !type.equals("text");
            }
            return others;
        }

        private String role(int index) throws IOException {
            String at = "messages[" + index + "].role";
            String role = string(at);
            if (!ROLES.contains(role)) {
                throw Problem.invalid(at, at + " must be one of " + String.join(", ", new java.util.TreeSet<>(ROLES)));
            }
            return role;
        }

        private boolean responseFormat() throws IOException {
            if (json.currentToken() == JsonToken.VALUE_NULL) {
                return false;
            }
            if (json.currentToken() != JsonToken.START_OBJECT) {
                throw wrongType("response_format", "an object");
            }
            String type = "";
            for (String field = json.nextFieldName(); field != null; field = json.nextFieldName()) {
                json.nextToken();
                if (field.equals("type")) {
                    type = string("response_format.type");
                } else {
                    json.skipChildren();
                }
            }
            if (type.isEmpty()) {
                throw Problem.invalid("response_format.type", "response_format.type is required");
            }
            return !type.equals("text");
        }

        private void readStreamOptions() throws IOException {
            if (json.currentToken() == JsonToken.VALUE_NULL) {
                return;
            }
            if (json.currentToken() != JsonToken.START_OBJECT) {
                throw wrongType("stream_options", "an object");
            }
            for (String field = json.nextFieldName(); field != null; field = json.nextFieldName()) {
                json.nextToken();
                if (field.equals("include_usage")) {
                    bool("stream_options.include_usage", false);
                } else {
                    json.skipChildren();
                }
            }
        }

        private boolean filledArray(String field) throws IOException {
            if (json.currentToken() == JsonToken.VALUE_NULL) {
                return false;
            }
            if (json.currentToken() != JsonToken.START_ARRAY) {
                throw wrongType(field, "an array");
            }
            boolean filled = false;
            while (json.nextToken() != JsonToken.END_ARRAY) {
                filled = true;
                json.skipChildren();
            }
            return filled;
        }

        private String text(String field, int most) throws IOException {
            String text = string(field);
            if (text.isBlank() || text.length() > most) {
                throw Problem.invalid(field, field + " must have 1 to " + most + " characters");
            }
            return text;
        }

        private String string(String field) throws IOException {
            if (json.currentToken() != JsonToken.VALUE_STRING) {
                throw wrongType(field, "a string");
            }
            return json.getText();
        }

        private boolean bool(String field, boolean absent) {
            return switch (json.currentToken()) {
                case VALUE_TRUE -> true;
                case VALUE_FALSE -> false;
                case VALUE_NULL -> absent;
                default -> throw wrongType(field, "true or false");
            };
        }

        private int whole(String field, int most, int absent) throws IOException {
            if (json.currentToken() == JsonToken.VALUE_NULL) {
                return absent;
            }
            // 5.0 is an integer, too (JSON Schema), and one may have a thousand digits
            double value = json.currentToken().isNumeric() ? json.getDoubleValue() : Double.NaN;
            if (value != Math.rint(value)) {
                throw wrongType(field, "an integer");
            }
            if (value < 1 || value > most) {
                throw Problem.invalid(field, field + " must be between 1 and " + most);
            }
            return (int) value;
        }

        private @Nullable Double number(String field, double least, double most) throws IOException {
            if (json.currentToken() == JsonToken.VALUE_NULL) {
                return null;
            }
            if (!json.currentToken().isNumeric()) {
                throw wrongType(field, "a number");
            }
            double value = json.getDoubleValue();
            if (!(value >= least && value <= most)) {
                throw Problem.invalid(field, field + " must be between " + least + " and " + most);
            }
            return value;
        }

        private static Problem wrongType(String field, String expected) {
            return Problem.invalid(field, field + " must be " + expected);
        }
    }
}
