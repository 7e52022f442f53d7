package io.millrace.gateway;

import java.util.Map;

/** The effective configuration as {@code GET /config} shows it. */
@FunctionalInterface
public interface ConfigView {
    /** JSON-ready maps, lists, strings, numbers and booleans; secrets masked; each value with its origin. */
    Map<String, Object> effective();
}
