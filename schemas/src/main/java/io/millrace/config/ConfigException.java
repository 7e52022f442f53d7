package io.millrace.config;

import java.util.List;

/** A configuration that cannot be used; holds every error that was found, one line each. */
public final class ConfigException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final List<String> errors;

    public ConfigException(List<String> errors) {
        super(String.join("\n", errors));
        this.errors = List.copyOf(errors);
    }

    /** One line for each error: where, which key, and what is wrong. */
    public List<String> errors() {
        return errors;
    }
}
