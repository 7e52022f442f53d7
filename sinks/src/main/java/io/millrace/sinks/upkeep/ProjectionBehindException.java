package io.millrace.sinks.upkeep;

/** Postgres does not have yet what the log says of documents and their use: nothing can be called unused. */
public final class ProjectionBehindException extends Exception {
    private static final long serialVersionUID = 1L;

    ProjectionBehindException(long behind) {
        super("Postgres is " + behind + " records behind the log");
    }
}
