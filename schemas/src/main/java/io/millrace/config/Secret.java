package io.millrace.config;

/** A value that is never printed. */
public record Secret(String value) {
    public static final Secret NONE = new Secret("");

    public boolean isPresent() {
        return !value.isEmpty();
    }

    @Override
    public String toString() {
        return isPresent() ? "********" : "";
    }
}
