package io.millrace.standalone.parts;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.millrace.config.MillraceConfig;
import io.millrace.config.Secret;
import io.millrace.standalone.error.UserException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;

/**
 * Where the standing parts are.
 *
 * @param registryUrl base of Confluent's API, with user and password where it wants them
 * @param jdbcUrl of the database of the sink
 * @param redisUrl with its password
 */
public record Endpoints(
        String bootstrapServers, String registryUrl, String jdbcUrl, String user, String password, String redisUrl) {
    /** The file in a data folder that says where its parts are; mode 0600. */
    public static final String FILE = "endpoints.json";

    private static final ObjectMapper JSON = new ObjectMapper();

    /** With everything that the configuration sets in place of what is here. */
    public Endpoints overriddenBy(MillraceConfig config) {
        boolean otherPostgres = !config.postgres().url().isEmpty();
        return new Endpoints(
                prefer(config.kafka().bootstrapServers(), bootstrapServers),
                prefer(config.registry().address(), registryUrl),
                prefer(config.postgres().url(), jdbcUrl),
                otherPostgres ? config.postgres().user() : user,
                otherPostgres ? config.postgres().password().value() : password,
                prefer(config.redis().url(), redisUrl));
    }

    private static String prefer(String configured, String embedded) {
        return configured.isEmpty() ? embedded : configured;
    }

    /**
     * What the configuration says, completed by what the parts in this data folder wrote.
     *
     * @throws UserException when an endpoint is in neither
     */
    public static Endpoints of(MillraceConfig config, Path data) {
        Path file = data.resolve(FILE);
        Endpoints endpoints = read(file).overriddenBy(config);
        if (Stream.of(endpoints.bootstrapServers, endpoints.registryUrl, endpoints.jdbcUrl, endpoints.redisUrl)
                .anyMatch(String::isEmpty)) {
            throw new UserException("kafka, registry, postgres and redis must all be configured, or written to " + file
                    + " by `millrace parts` or `millrace up`");
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
                    json.path("postgres_password").asText(""),
                    json.path("redis").asText(""));
        } catch (IOException e) {
            throw new UserException(file + " cannot be read: " + DataFolder.reason(e), e);
        }
    }

    /** Writes {@link #FILE}. */
    public void write(DataFolder data) {
        data.write(
                FILE,
                JSON.createObjectNode()
                                .put("kafka", bootstrapServers)
                                .put("registry", registryUrl)
                                .put("postgres", jdbcUrl)
                                .put("postgres_user", user)
                                .put("postgres_password", password)
                                .put("redis", redisUrl)
                                .toPrettyString()
                        + "\n");
    }

    /** Without the secrets. */
    @Override
    public String toString() {
        return "Endpoints[" + bootstrapServers + ", " + Secret.masked(registryUrl) + ", " + Secret.masked(jdbcUrl)
                + "]";
    }
}
