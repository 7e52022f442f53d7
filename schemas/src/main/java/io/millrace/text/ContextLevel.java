package io.millrace.text;

import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.stream.Stream;

/** How much context a client of a session asks for: where it is searched for first, and for how many passages (the predecessor's levels). */
public enum ContextLevel {
    /** Solutions and advice. */
    STANDARD(3),
    /** Code too. */
    DETAILED(5),
    /** Every collection. */
    COMPREHENSIVE(10);

    private final int hits;

    ContextLevel(int hits) {
        this.hits = hits;
    }

    /** The level of a word as {@link #word} gives it; empty for any other. */
    public static Optional<ContextLevel> of(String word) {
        return Arrays.stream(values())
                .filter(level -> level.word().equals(word))
                .findFirst();
    }

    /** Its name on the wire. */
    public String word() {
        return name().toLowerCase(Locale.ROOT);
    }

    /**
     * Where it searches first.
     *
     * @param configured names of all collections
     * @return those of this level that are configured; empty for all, also when none of them is
     */
    public List<String> collections(List<String> configured) {
        Stream<String> own = switch (this) {
            case STANDARD -> Stream.of("error-solutions", "best-practices");
            case DETAILED -> Stream.of("error-solutions", "best-practices", "codebase-context");
            case COMPREHENSIVE -> Stream.empty();
        };
        return own.filter(configured::contains).toList();
    }

    /** Most passages. */
    public int hits() {
        return hits;
    }

    /** The next wider one; empty for the widest. */
    public Optional<ContextLevel> next() {
        return switch (this) {
            case STANDARD -> Optional.of(DETAILED);
            case DETAILED -> Optional.of(COMPREHENSIVE);
            case COMPREHENSIVE -> Optional.empty();
        };
    }
}
