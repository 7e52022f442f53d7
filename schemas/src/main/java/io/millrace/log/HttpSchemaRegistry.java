package io.millrace.log;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.URI;
import java.net.URLDecoder;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Base64;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.ExecutionException;
import java.util.function.Supplier;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.avro.Schema;
import org.apache.avro.SchemaParseException;

/**
 * A client of Confluent's registry REST API, as Confluent, Karapace and Apicurio ({@code /apis/ccompat/v7}) serve it.
 *
 * <p>Ids and schemas are immutable, so both directions are cached for ever; after the first record of a topic the registry may be
 * down without anybody noticing.
 */
public final class HttpSchemaRegistry implements SchemaRegistry {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final String MEDIA_TYPE = "application/vnd.schemaregistry.v1+json";

    /** Four tries over about 1.4 s: longer than a restart of a load balancer, shorter than any deadline. */
    private static final int TRIES = 4;

    /** Refusals that say nothing of what was asked for: no or a wrong password, too late, too often. */
    private static final Set<Integer> OF_THE_REGISTRY = Set.of(401, 403, 407, 408, 429);

    private static final Pattern USER_IN_URL = Pattern.compile("([^/?#]+://)([^/?#]*)@([^@]*)");

    private static final Duration FIRST_BACKOFF = Duration.ofMillis(200);
    private static final Duration TIMEOUT = Duration.ofSeconds(5);

    /** Without a user and a password, so that no message and no log can show them. */
    private final URI base;

    /** The header Authorization; empty: none. */
    private final String authorization;

    private final HttpClient http = HttpClient.newBuilder()
            .connectTimeout(TIMEOUT)
            .version(HttpClient.Version.HTTP_1_1)
            .build();
    private final Map<Integer, Schema> byId = new ConcurrentHashMap<>();
    private final Map<Registration, Integer> ids = new ConcurrentHashMap<>();

    /** What is being asked for now. A worker with a backlog asks for one schema some hundred times at once. */
    private final ConcurrentMap<Integer, CompletableFuture<Schema>> asked = new ConcurrentHashMap<>();

    private final ConcurrentMap<Registration, CompletableFuture<Integer>> registered = new ConcurrentHashMap<>();

    private record Registration(String subject, Schema schema) {}

    /**
     * @param url base of the API, e.g. {@code http://127.0.0.1:8081} or {@code http://127.0.0.1:8080/apis/ccompat/v7}; with
     *     {@code user:password@}, percent-encoded where need be, it authenticates with them (RFC 7617)
     */
    public HttpSchemaRegistry(String url) {
        Matcher parts = USER_IN_URL.matcher(url.endsWith("/") ? url : url + "/");
        if (parts.matches()) {
            this.base = URI.create(parts.group(1) + parts.group(3));
            this.authorization = "Basic "
                    + Base64.getEncoder().encodeToString(decoded(parts.group(2)).getBytes(StandardCharsets.UTF_8));
        } else {
            this.base = URI.create(url.endsWith("/") ? url : url + "/");
            this.authorization = "";
        }
    }

    /** Percent signs only: a plus is one. A user alone has no password. */
    private static String decoded(String user) {
        String both = URLDecoder.decode(user.replace("+", "%2B"), StandardCharsets.UTF_8);
        return user.contains(":") ? both : both + ":";
    }

    @Override
    public int register(String subject, Schema schema) {
        Registration registration = new Registration(subject, schema);
        Integer known = ids.get(registration);
        return known != null ? known : once(registered, registration, () -> askToRegister(registration));
    }

    private int askToRegister(Registration registration) {
        String subject = registration.subject;
        Schema schema = registration.schema;
        String body = JSON.createObjectNode().put("schema", schema.toString()).toString();
        HttpResponse<String> response = send(request("subjects/" + encode(subject) + "/versions")
                .header("Content-Type", MEDIA_TYPE)
                .POST(HttpRequest.BodyPublishers.ofString(body))
                .build());
        if (response.statusCode() != 200) {
            throw new IncompatibleSchemaException("the schema registry refused " + subject + " with " + told(response));
        }
        int id = parse(response.body()).path("id").asInt();
        byId.put(id, schema);
        ids.put(registration, id);
        return id;
    }

    @Override
    public Schema byId(int id) {
        Schema known = byId.get(id);
        return known != null ? known : once(asked, id, () -> askFor(id));
    }

    /** Asks, or waits for who is asking, and for the same answer or trouble. */
    private <K, V> V once(ConcurrentMap<K, CompletableFuture<V>> others, K what, Supplier<V> ask) {
        CompletableFuture<V> mine = new CompletableFuture<>();
        CompletableFuture<V> theirs = others.putIfAbsent(what, mine);
        if (theirs != null) {
            return answer(theirs);
        }
        try {
            V answer = ask.get();
            mine.complete(answer);
            return answer;
        } catch (RuntimeException e) {
            mine.completeExceptionally(e);
            throw e;
        } finally {
            others.remove(what, mine);
        }
    }

    private <V> V answer(CompletableFuture<V> theirs) {
        try {
            return theirs.get();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new RegistryUnavailableException("interrupted while asking " + place(), e);
        } catch (ExecutionException e) {
            if (e.getCause() instanceof RuntimeException trouble) {
                throw trouble;
            }
            throw new IllegalStateException("a request throws nothing else", e);
        }
    }

    private Schema askFor(int id) {
        HttpResponse<String> response = send(request("schemas/ids/" + id).GET().build());
        if (OF_THE_REGISTRY.contains(response.statusCode())) {
            // nothing is wrong with the record
            throw unavailable(told(response));
        }
        if (response.statusCode() != 200) {
            throw new UndecodableException("no schema has id " + id + " (HTTP " + response.statusCode() + ")");
        }
        try {
            Schema schema = new Schema.Parser()
                    .parse(parse(response.body()).path("schema").asText());
            byId.put(id, schema);
            return schema;
        } catch (SchemaParseException e) {
            throw new UndecodableException("the schema with id " + id + " is not Avro", e);
        }
    }

    private HttpRequest.Builder request(String path) {
        HttpRequest.Builder request =
                HttpRequest.newBuilder(base.resolve(path)).timeout(TIMEOUT).header("Accept", MEDIA_TYPE);
        return authorization.isEmpty() ? request : request.header("Authorization", authorization);
    }

    /** Sends with retries on connection errors and 5xx. */
    private HttpResponse<String> send(HttpRequest request) {
        Duration backoff = FIRST_BACKOFF;
        IOException last = new IOException("never tried");
        for (int attempt = 1; attempt <= TRIES; attempt++) {
            try {
                HttpResponse<String> response = http.send(request, HttpResponse.BodyHandlers.ofString());
                if (response.statusCode() < 500) {
                    return response;
                }
                last = new IOException("HTTP " + response.statusCode() + ": " + response.body());
            } catch (IOException e) {
                last = e;
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new RegistryUnavailableException("interrupted while asking " + place(), e);
            }
            if (attempt < TRIES) {
                pause(backoff);
                backoff = backoff.multipliedBy(2);
            }
        }
        throw new RegistryUnavailableException("the schema registry at " + place() + " does not answer: " + last, last);
    }

    private void pause(Duration backoff) {
        try {
            Thread.sleep(backoff);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new RegistryUnavailableException("interrupted while asking " + place(), e);
        }
    }

    /** A proxy's page is no answer of the registry's. */
    private JsonNode parse(String body) {
        try {
            return JSON.readTree(body);
        } catch (JsonProcessingException e) {
            throw unavailable("no JSON: " + body);
        }
    }

    private String place() {
        return base.toString();
    }

    private static String told(HttpResponse<String> response) {
        String hint = response.statusCode() == 401 || response.statusCode() == 403
                ? " (registry.user and registry.password-env say who asks)"
                : "";
        return "HTTP " + response.statusCode() + hint + ": " + response.body();
    }

    private RegistryUnavailableException unavailable(String answer) {
        String message = "the schema registry at " + place() + " answers " + answer;
        return new RegistryUnavailableException(message, new IOException(message));
    }

    private static String encode(String segment) {
        return URLEncoder.encode(segment, StandardCharsets.UTF_8);
    }
}
