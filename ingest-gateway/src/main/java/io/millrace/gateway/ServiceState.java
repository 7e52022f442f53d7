package io.millrace.gateway;

import java.util.Map;

/**
 * A service as {@code /status} and {@code /health/detailed} show it.
 *
 * @param name kebab-case
 * @param ready whether it would do its work now
 * @param details states and degradations by name; empty when all is well
 */
public record ServiceState(String name, boolean ready, Map<String, String> details) {
    public ServiceState {
        details = Map.copyOf(details);
    }
}
