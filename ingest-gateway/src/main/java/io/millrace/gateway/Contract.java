package io.millrace.gateway;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.dataformat.yaml.YAMLMapper;
import io.millrace.config.MillraceConfig;
import io.vertx.core.Future;
import io.vertx.core.Vertx;
import io.vertx.core.buffer.Buffer;
import io.vertx.core.json.JsonArray;
import io.vertx.core.json.JsonObject;
import io.vertx.ext.web.handler.HttpException;
import io.vertx.json.schema.OutputUnit;
import io.vertx.openapi.contract.OpenAPIContract;
import io.vertx.openapi.validation.SchemaValidationException;
import io.vertx.openapi.validation.ValidatorException;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The contract: openapi.yaml with the limits of this configuration.
 *
 * @param openapi what requests are validated against
 * @param yaml what {@code GET /openapi.yaml} serves
 */
record Contract(OpenAPIContract openapi, Buffer yaml) {
    private static final String RESOURCE = "openapi.yaml";
    private static final JsonFactory STRICT = JsonFactory.builder()
            .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
            .build();
    /** Keywords that only say that something below them is wrong. */
    private static final Set<String> WRAPPERS = Set.of("properties", "items", "$ref", "additionalProperties");

    /** Fields that are {@code retrieval.limit} where a request leaves them out. */
    private static final Set<String> LIMITS = Set.of("limit", "keyword_limit");

    private static final Pattern REQUIRED = Pattern.compile("required property \"?([^\" ]+)\"?");
    private static final Pattern PARAMETER = Pattern.compile("(?:path|query|header|cookie) parameter ([\\w-]+)");

    /** Reads the contract and puts the configuration's limits into it. */
    static Future<Contract> load(Vertx vertx, MillraceConfig config) {
        JsonObject contract = effective(config);
        Buffer yaml = Buffer.buffer(toYaml(contract));
        return OpenAPIContract.from(vertx, requestsOnly(contract.copy())).map(openapi -> new Contract(openapi, yaml));
    }

    private static JsonObject effective(MillraceConfig config) {
        JsonObject contract = read();
        JsonObject schemas = contract.getJsonObject("components").getJsonObject("schemas");
        schemas.getJsonObject("QueryText").put("maxLength", config.limits().queryChars());
        schemas.getJsonObject("Collection").put("enum", new JsonArray(List.copyOf(config.collections())));
        schemas.getJsonObject("DocumentRequest")
                .getJsonObject("properties")
                .getJsonObject("content")
                .put("maxLength", config.limits().documentChars());
        for (String schema : schemas.fieldNames()) {
            JsonObject fields = schemas.getJsonObject(schema).getJsonObject("properties", new JsonObject());
            LIMITS.stream()
                    .filter(fields::containsKey)
                    .forEach(limit -> fields.getJsonObject(limit)
                            .put("default", config.retrieval().limit()));
        }
        Duration unused = config.knowledge().garbageAfter();
        JsonObject olderThanDays = contract.getJsonObject("paths")
                .getJsonObject("/gc")
                .getJsonObject("post")
                .getJsonObject("requestBody")
                .getJsonObject("content")
                .getJsonObject("application/json")
                .getJsonObject("schema")
                .getJsonObject("properties")
                .getJsonObject("older_than_days");
        if (unused.equals(Duration.ofDays(unused.toDays()))) {
            olderThanDays.put("default", unused.toDays());
        } else {
            // 12 hours are no number of days
            olderThanDays.remove("default");
        }
        return contract;
    }

    private static JsonObject read() {
        try (InputStream in = Contract.class.getResourceAsStream(RESOURCE)) {
            JsonNode tree = new YAMLMapper().readTree(in);
            // through text: the validator changes the contract, and wants Vert.x's own objects
            return new JsonObject(new ObjectMapper().writeValueAsString(tree));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static byte[] toYaml(JsonObject contract) {
        try {
            return new YAMLMapper().writeValueAsBytes(new ObjectMapper().readTree(contract.encode()));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Without responses: the validator refuses media types that it does not know, such as event streams, and only reads requests. */
    private static JsonObject requestsOnly(JsonObject contract) {
        JsonObject paths = contract.getJsonObject("paths");
        for (String path : paths.fieldNames()) {
            JsonObject operations = paths.getJsonObject(path);
            for (String method : operations.fieldNames()) {
                operations
                        .getJsonObject(method)
                        .put("responses", new JsonObject().put("default", new JsonObject().put("description", "any")));
            }
        }
        contract.getJsonObject("components").remove("responses");
        // its handler says more of what is wrong with it
        contract.getJsonObject("components")
                .getJsonObject("schemas")
                .getJsonObject("EmbeddingRequest")
                .getJsonObject("properties")
                .put("input", new JsonObject());
        return contract;
    }

    /** Refuses what is not UTF-8 or not one JSON object without doubled fields. */
    static void requireJsonObject(byte[] body) {
        String text = Utf8.decode(body);
        try (JsonParser json = STRICT.createParser(text)) {
            if (json.nextToken() != com.fasterxml.jackson.core.JsonToken.START_OBJECT) {
                throw Problem.invalid("body", "the body must be a JSON object");
            }
            json.skipChildren();
            if (json.nextToken() != null) {
                throw Problem.invalid("body", "something follows the JSON object");
            }
        } catch (IOException e) {
            throw BadJson.problem(e);
        }
    }

    /** What a failed request is told. Vert.x wraps the reason of a violation in an HttpException. */
    static Problem problem(Throwable failure) {
        Throwable cause = failure instanceof HttpException && failure.getCause() != null ? failure.getCause() : failure;
        return switch (cause) {
            case Problem problem -> problem;
            case SchemaValidationException violation -> violated(violation);
            case ValidatorException violation -> Problem.invalid(parameter(violation), message(violation));
            case HttpException http -> Problem.of(http.getStatusCode(), "refused", message(http));
            default -> Problem.of(500, "internal", "this should not have happened; it is in the log");
        };
    }

    private static Problem violated(SchemaValidationException violation) {
        String parameter = parameter(violation);
        OutputUnit output = violation.getOutputUnit();
        List<OutputUnit> errors = output.getErrors() == null ? List.of() : output.getErrors();
        Optional<OutputUnit> leaf = errors.stream()
                .filter(error -> !WRAPPERS.contains(keyword(error)))
                .findFirst();
        if (leaf.isEmpty()) {
            // an unknown field makes everything around it wrong, too: it is the innermost
            return errors.stream()
                    .filter(error -> keyword(error).equals("additionalProperties"))
                    .max(Comparator.comparingLong(Contract::depth))
                    .map(unknown -> Problem.invalid(field(unknown), field(unknown) + " is not a field of this request"))
                    .orElseGet(() -> Problem.invalid(parameter, message(violation)));
        }
        String error = leaf.get().getError();
        Matcher required = REQUIRED.matcher(error);
        String below = field(leaf.get());
        String field = !parameter.isEmpty()
                ? parameter
                : required.find() ? (below.equals("body") ? "" : below + ".") + required.group(1) : below;
        return Problem.invalid(field, field + ": " + plain(keyword(leaf.get()), error));
    }

    private static String plain(String keyword, String error) {
        return switch (keyword) {
            case "enum" -> error.replace("Instance does not match any of", "must be one of");
            case "required" -> "is required";
            case "type" -> error.replaceAll("Instance type (\\w+) is invalid\\. Expected (.+)", "must be $2, not $1");
            // the library's own words: "Array has too few items ( + 0 < 1)"
            default -> error.replace("( + ", "(");
        };
    }

    private static String keyword(OutputUnit error) {
        String location = error.getKeywordLocation();
        return location.substring(location.lastIndexOf('/') + 1);
    }

    private static long depth(OutputUnit error) {
        return error.getInstanceLocation().chars().filter(c -> c == '/').count();
    }

    /** {@code #/collections/0} → {@code collections[0]}. */
    private static String field(OutputUnit error) {
        String location = error.getInstanceLocation();
        String pointer = location.startsWith("#/") ? location.substring(2) : "";
        return pointer.isEmpty()
                ? "body"
                : pointer.replaceAll("/(\\d+)", "[$1]")
                        .replace('/', '.')
                        .replace("~1", "/")
                        .replace("~0", "~");
    }

    private static String parameter(Throwable violation) {
        Matcher matcher = PARAMETER.matcher(message(violation));
        return matcher.find() ? matcher.group(1) : "";
    }

    private static String message(Throwable failure) {
        String message = failure.getMessage();
        return message == null ? failure.getClass().getSimpleName() : message;
    }
}
