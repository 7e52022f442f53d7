package io.millrace.gateway;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Reads the fields of a JSON body; what is wrong is told with the field's name. */
final class Fields {
    static final ObjectMapper JSON = new ObjectMapper(JsonFactory.builder()
                    .streamReadConstraints(StreamReadConstraints.builder()
                            .maxNestingDepth(200)
                            .maxStringLength(20_000_000)
                            .build())
                    .build())
            .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);

    private final ObjectNode body;

    private Fields(ObjectNode body) {
        this.body = body;
    }

    /** The text of a body; UTF-8 that is none is an error and not a replacement character. */
    static String text(byte[] bytes) {
        try {
            return StandardCharsets.UTF_8
                    .newDecoder()
                    .onMalformedInput(CodingErrorAction.REPORT)
                    .onUnmappableCharacter(CodingErrorAction.REPORT)
                    .decode(ByteBuffer.wrap(bytes))
                    .toString();
        } catch (CharacterCodingException e) {
            throw ApiException.field("body", "is not valid UTF-8");
        }
    }

    static Fields parse(String text) {
        try {
            if (JSON.readTree(text) instanceof ObjectNode object) {
                return new Fields(object);
            }
        } catch (JsonProcessingException e) {
            throw ApiException.field("body", "is not valid JSON: " + e.getOriginalMessage());
        }
        throw ApiException.field("body", "must be a JSON object");
    }

    /** Refuses fields that are not among these. */
    Fields only(Set<String> known) {
        for (Map.Entry<String, JsonNode> field : body.properties()) {
            if (!known.contains(field.getKey())) {
                throw ApiException.field(field.getKey(), "is not a field of this request");
            }
        }
        return this;
    }

    ObjectNode json() {
        return body;
    }

    boolean has(String field) {
        return body.hasNonNull(field);
    }

    String string(String field, String otherwise, int maxChars) {
        JsonNode node = body.path(field);
        if (node.isMissingNode() || node.isNull()) {
            return otherwise;
        }
        if (!node.isTextual()) {
            throw ApiException.field(field, "must be a string");
        }
        if (node.textValue().length() > maxChars) {
            throw ApiException.field(field, "is longer than " + maxChars + " characters");
        }
        return node.textValue();
    }

    String required(String field, int maxChars) {
        String value = string(field, "", maxChars);
        if (value.isBlank()) {
            throw ApiException.field(field, "is required and must not be empty");
        }
        return value;
    }

    boolean bool(String field, boolean otherwise) {
        JsonNode node = body.path(field);
        if (node.isMissingNode() || node.isNull()) {
            return otherwise;
        }
        if (!node.isBoolean()) {
            throw ApiException.field(field, "must be true or false");
        }
        return node.booleanValue();
    }

    int integer(String field, int otherwise, int min, int max) {
        JsonNode node = body.path(field);
        if (node.isMissingNode() || node.isNull()) {
            return otherwise;
        }
        if (!node.isIntegralNumber() || !node.canConvertToInt() || node.intValue() < min || node.intValue() > max) {
            throw ApiException.field(field, "must be a whole number from " + min + " to " + max);
        }
        return node.intValue();
    }

    double number(String field, double otherwise, double min, double max) {
        JsonNode node = body.path(field);
        if (node.isMissingNode() || node.isNull()) {
            return otherwise;
        }
        if (!node.isNumber() || !(node.doubleValue() >= min && node.doubleValue() <= max)) {
            throw ApiException.field(field, "must be a number from " + min + " to " + max);
        }
        return node.doubleValue();
    }

    String oneOf(String field, String otherwise, Set<String> values) {
        String value = string(field, otherwise, 100);
        if (!values.contains(value)) {
            throw ApiException.field(field, "must be one of " + String.join(", ", new java.util.TreeSet<>(values)));
        }
        return value;
    }

    List<String> strings(String field, int max) {
        JsonNode node = body.path(field);
        if (node.isMissingNode() || node.isNull()) {
            return List.of();
        }
        if (!node.isArray() || node.size() > max) {
            throw ApiException.field(field, "must be a list of at most " + max + " strings");
        }
        List<String> values = new ArrayList<>();
        for (JsonNode each : node) {
            if (!each.isTextual() || each.textValue().length() > 1_000) {
                throw ApiException.field(field, "must be a list of strings of at most 1000 characters");
            }
            values.add(each.textValue());
        }
        return values;
    }

    Map<String, String> map(String field) {
        JsonNode node = body.path(field);
        if (node.isMissingNode() || node.isNull()) {
            return Map.of();
        }
        if (!node.isObject()) {
            throw ApiException.field(field, "must be an object");
        }
        Map<String, String> values = new HashMap<>();
        node.properties()
                .forEach(entry -> values.put(
                        entry.getKey(),
                        entry.getValue().isTextual()
                                ? entry.getValue().textValue()
                                : entry.getValue().toString()));
        return values;
    }
}
