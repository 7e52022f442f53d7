package io.millrace.standalone.parts;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.Optional;
import java.util.function.Predicate;

/**
 * Tells a process that was written down from a later one that was given its pid.
 *
 * <p>By its start; but Linux counts that from boot, and the JDK makes a time of it with the clock of now, so that all starts move
 * when the clock is set, as it is on a machine that comes up without one. There the count itself and the id of the boot are the mark.
 * Other kernels keep the time as it was, and have no mark.
 */
public final class ProcessMark {
    private static final Path BOOT_ID = Path.of("/proc/sys/kernel/random/boot_id");
    /** Where proc_pid_stat(5) has the start, less the two fields that end with the name. */
    private static final int START_FIELD = 22 - 3;

    private ProcessMark() {}

    /** The mark of a running process; empty where there is none. */
    static String of(long pid) {
        try {
            String stat = Files.readString(Path.of("/proc", String.valueOf(pid), "stat"));
            // the name may hold spaces and brackets
            String[] fields = stat.substring(stat.lastIndexOf(')') + 1).strip().split(" ", -1);
            return fields.length > START_FIELD ? Files.readString(BOOT_ID).strip() + ":" + fields[START_FIELD] : "";
        } catch (IOException e) {
            return "";
        }
    }

    /**
     * A process that was written down, if it still runs.
     *
     * @param mark what was written; empty when there was none
     * @param isStart decides by the time of its start where there is no mark
     */
    public static Optional<ProcessHandle> find(long pid, String mark, Predicate<Instant> isStart) {
        return ProcessHandle.of(pid).filter(ProcessHandle::isAlive).filter(process -> {
            String now = mark.isEmpty() ? "" : of(pid);
            return now.isEmpty() ? process.info().startInstant().filter(isStart).isPresent() : now.equals(mark);
        });
    }
}
