package io.millrace.bench.load;

import java.net.URI;
import java.util.Map;

/**
 * What to ask of whom.
 *
 * @param name for the report
 * @param uri where to POST
 * @param headers beside the content type
 * @param body JSON
 */
public record Target(String name, URI uri, Map<String, String> headers, String body) {
    public Target {
        headers = Map.copyOf(headers);
    }
}
