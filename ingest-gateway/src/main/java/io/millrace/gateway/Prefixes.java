package io.millrace.gateway;

import java.util.List;

/** What paths begin with. */
final class Prefixes {
    /** The seed's proxy served the same handlers under these. */
    static final List<String> ALL = List.of("/aidb", "/hybrid", "/ralph", "/embeddings");

    /** Below it OpenAI's contract holds. */
    static final String OPENAI = "/v1/";

    private Prefixes() {}

    /** OpenAI's clients send what we do not know, and so do load balancers and scrapers. */
    static boolean takesAnyParameter(String path) {
        return path.startsWith(OPENAI) || path.startsWith("/health") || path.equals("/metrics");
    }

    /** The path as it is without the prefix that it begins with, if it does; begins with a slash when the path does. */
    static String strip(String path) {
        for (String prefix : ALL) {
            if (path.equals(prefix)) {
                return "/";
            }
            if (path.startsWith(prefix) && path.charAt(prefix.length()) == '/') {
                return path.substring(prefix.length());
            }
        }
        return path;
    }
}
