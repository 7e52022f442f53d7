package io.millrace.standalone;

import io.millrace.standalone.parts.StartupException;
import java.util.List;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** The command line of Millrace. {@code ./millrace} finds a JDK, builds, and comes here. */
@Command(
        name = "millrace",
        description = "A hybrid LLM router that learns, built as a stream.",
        mixinStandardHelpOptions = true,
        synopsisSubcommandLabel = "COMMAND")
public final class Main implements Runnable {
    @Spec
    private CommandSpec spec = CommandSpec.create();

    private Main() {}

    /** Runs one command; exit code 0 when it did what was asked, 1 when it could not, 2 when it was called wrongly. */
    public static void main(String[] arguments) {
        int code = commandLine().execute(arguments);
        // what is not a daemon and forgets to stop must not keep a stopped instance alive
        System.exit(code);
    }

    static CommandLine commandLine() {
        CommandLine line = new CommandLine(new Main());
        List.of(new PartsCommand()).forEach(line::addSubcommand);
        line.setExecutionExceptionHandler((error, command, parsed) -> {
            if (error instanceof StartupException) {
                command.getErr().println("millrace: " + error.getMessage());
                return 1;
            }
            throw error;
        });
        return line;
    }

    @Override
    public void run() {
        throw new ParameterException(spec.commandLine(), "name a command");
    }
}
