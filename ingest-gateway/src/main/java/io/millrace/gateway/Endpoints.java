package io.millrace.gateway;

import io.millrace.config.MillraceConfig;
import io.vertx.core.json.JsonObject;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.URI;
import java.util.function.Supplier;

/** Where the standing parts are, and whether their ports answer. Calls block. */
final class Endpoints {
    private static final int PATIENCE_MS = 300;

    private final String kafka;
    private final String registry;
    private final Supplier<MillraceConfig.Postgres> postgres;
    private final String redis;

    Endpoints(String kafka, String registry, Supplier<MillraceConfig.Postgres> postgres, String redis) {
        this.kafka = kafka;
        this.registry = registry;
        this.postgres = postgres;
        this.redis = redis;
    }

    JsonObject check() {
        String jdbc = postgres.get().url();
        return new JsonObject()
                .put("kafka", endpoint(kafka, "kafka://" + kafka.split(",", 2)[0]))
                .put("registry", endpoint(registry, registry))
                // the driver's parameters may hold a password
                .put("postgres", endpoint(jdbc.split("\\?", 2)[0], jdbc.startsWith("jdbc:") ? jdbc.substring(5) : jdbc))
                .put("redis", endpoint(redis.replaceFirst("//[^@/]*@", "//"), redis));
    }

    private static JsonObject endpoint(String shown, String url) {
        return new JsonObject()
                .put("url", url.isEmpty() ? null : shown)
                .put("reachable", url.isEmpty() ? null : answers(url));
    }

    private static boolean answers(String url) {
        try (Socket socket = new Socket()) {
            URI uri = URI.create(url.split("\\?", 2)[0]);
            int port = uri.getPort() >= 0 ? uri.getPort() : usual(uri.getScheme());
            socket.connect(new InetSocketAddress(uri.getHost(), port), PATIENCE_MS);
            return true;
        } catch (IOException | IllegalArgumentException e) {
            return false;
        }
    }

    private static int usual(String scheme) {
        return switch (scheme) {
            case "https" -> 443;
            case "postgresql" -> 5432;
            case "redis", "rediss" -> 6379;
            default -> 80;
        };
    }
}
