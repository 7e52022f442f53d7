package io.millrace.standalone.cli;

import java.io.Console;
import java.util.Optional;

/** One line on standard error that says how far something is: rewritten in place on a terminal, every tenth part otherwise. */
final class ProgressLine {
    private static final long EVERY_NANOS = 200_000_000;

    private final boolean terminal =
            Optional.ofNullable(System.console()).filter(Console::isTerminal).isPresent();
    private String step = "";
    private int tenth = -1;
    private long shown;
    private boolean open;

    void show(String what, int done, int all) {
        boolean other = !what.equals(step);
        if (other) {
            end();
            step = what;
            tenth = -1;
        }
        if (terminal) {
            long now = System.nanoTime();
            if (other || done == all || now - shown >= EVERY_NANOS) {
                shown = now;
                System.err.printf("\r%s %d of %d", what, done, all);
                System.err.flush();
                open = true;
            }
            return;
        }
        int part = all == 0 ? 10 : (int) (10L * done / all);
        if (part != tenth) {
            tenth = part;
            System.err.printf("%s %d of %d%n", what, done, all);
        }
    }

    /** Leaves the line. */
    void end() {
        if (open) {
            System.err.println();
            open = false;
        }
    }
}
