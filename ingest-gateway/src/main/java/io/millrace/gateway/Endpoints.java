package io.millrace.gateway;

import io.vertx.core.json.JsonObject;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.URI;
import java.util.Map;
import java.util.TreeMap;

/** Where the standing parts are, and whether their ports take connections. */
final class Endpoints {
    private static final int PATIENCE_MS = 300;

    private final Map<String, String> shown;

    /** @param shown by name; URLs, JDBC URLs or host:port lists, without passwords */
    Endpoints(Map<String, String> shown) {
        this.shown = new TreeMap<>(shown);
    }

    JsonObject toJson() {
        JsonObject json = new JsonObject();
        shown.forEach(json::put);
        return json;
    }

    /** By name; null where nothing is configured. Blocks. */
    JsonObject check() {
        JsonObject json = new JsonObject();
        shown.forEach((name, where) -> json.put(name, where.isEmpty() ? null : answers(where)));
        return json;
    }

    private static boolean answers(String where) {
        String first = where.split("[,?]", 2)[0];
        String url = first.startsWith("jdbc:") ? first.substring("jdbc:".length()) : first;
        try (Socket socket = new Socket()) {
            URI uri = URI.create(url.contains("://") ? url : "tcp://" + url);
            int port = uri.getPort() >= 0 ? uri.getPort() : usual(uri.getScheme());
            socket.connect(new InetSocketAddress(InetAddress.getByName(uri.getHost()), port), PATIENCE_MS);
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
            case "tcp" -> 9092;
            default -> 80;
        };
    }
}
