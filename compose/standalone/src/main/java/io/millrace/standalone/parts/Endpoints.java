package io.millrace.standalone.parts;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.millrace.config.MillraceConfig;
import io.millrace.config.Secret;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Where the standing parts are.
 *
 * @param kafka bootstrap servers
 * @param registry base of Confluent's API
 * @param postgres JDBC URL
 * @param redis URL with its password
 */
public record Endpoints(
        String kafka, String registry, String postgres, String postgresUser, Secret postgresPassword, Secret redis) {
    /** The file in a data folder that says where its parts are; mode 0600. */
    public static final String FILE = "endpoints.json";

    private static final ObjectMapper JSON = new ObjectMapper();

    /** With everything that the configuration sets in place of what is here. */
    public Endpoints overriddenBy(MillraceConfig config) {
        boolean otherPostgres = !config.postgres().url().isEmpty();
        return new Endpoints(
                prefer(config.kafka().bootstrapServers(), kafka),
                prefer(config.registry().url(), registry),
                prefer(config.postgres().url(), postgres),
                otherPostgres ? config.postgres().user() : postgresUser,
                otherPostgres ? config.postgres().password() : postgresPassword,
                config.redis().url().isEmpty()
                        ? redis
                        : new Secret(config.redis().url()));
    }

    private static String prefer(String configured, String embedded) {
        return configured.isEmpty() ? embedded : configured;
    }

    /**
     * What the configuration says, completed by what the parts in this data folder wrote.
     *
     * @throws StartupException when an endpoint is in neither
     */
    public static Endpoints of(MillraceConfig config, Path data) {
        Path file = data.resolve(FILE);
        Endpoints endpoints = read(file).overriddenBy(config);
        if (endpoints.kafka().isEmpty()
                || endpoints.registry().isEmpty()
                || endpoints.postgres().isEmpty()
                || !endpoints.redis().isPresent()) {
            throw new StartupException("kafka, registry, postgres and redis must all be configured, or written to "
                    + file + " by `millrace parts` or `millrace up`");
        }
        return endpoints;
    }

    private static Endpoints read(Path file) {
        try {
            JsonNode json = Files.exists(file) ? JSON.readTree(file.toFile()) : JSON.createObjectNode();
            return new Endpoints(
                    json.path("kafka").asText(""),
                    json.path("registry").asText(""),
                    json.path("postgres").asText(""),
                    json.path("postgres_user").asText(""),
                    new Secret(json.path("postgres_password").asText("")),
                    new Secret(json.path("redis").asText("")));
        } catch (IOException e) {
            throw new StartupException(file + " cannot be read: " + DataFolder.reason(e), e);
        }
    }

    /** Writes {@link #FILE}. */
    public void write(DataFolder data, String url) {
        ObjectNode json = JSON.createObjectNode()
                .put("pid", ProcessHandle.current().pid())
                .put("url", url)
                .put("kafka", kafka)
                .put("registry", registry)
                .put("postgres", postgres)
                .put("postgres_user", postgresUser)
                .put("postgres_password", postgresPassword.value())
                .put("redis", redis.value());
        try {
            data.write(FILE, JSON.writerWithDefaultPrettyPrinter().writeValueAsString(json) + "\n");
        } catch (JsonProcessingException e) {
            throw new IllegalStateException(e);
        }
    }
}
