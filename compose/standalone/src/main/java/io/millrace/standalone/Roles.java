package io.millrace.standalone;

import java.util.Set;

/** What a process can be: one of these, some, or all at once. */
public final class Roles {
    public static final Set<String> ALL = Set.of(
            "gateway",
            "retrieval",
            "routing",
            "ledger",
            "learning",
            "dispatch",
            "prober",
            "clock",
            "knowledge",
            "postgres-sink",
            "archive");

    private Roles() {}
}
