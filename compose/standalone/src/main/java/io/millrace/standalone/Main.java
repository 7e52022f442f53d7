package io.millrace.standalone;

import io.millrace.config.ConfigException;
import io.millrace.standalone.cli.AskCommand;
import io.millrace.standalone.cli.ConfigCommand;
import io.millrace.standalone.cli.DownCommand;
import io.millrace.standalone.cli.GapsCommand;
import io.millrace.standalone.cli.LogsCommand;
import io.millrace.standalone.cli.RateCommand;
import io.millrace.standalone.cli.SourcesCommand;
import io.millrace.standalone.cli.StatusCommand;
import picocli.CommandLine;
import picocli.CommandLine.Command;

/** The command line. Exit codes: 0 done, 1 it could not be done, 2 the command line is wrong. */
@Command(
        name = "millrace",
        mixinStandardHelpOptions = true,
        description = "A hybrid LLM router that learns, built as a stream on Kafka.",
        subcommands = {
            UpCommand.class,
            DownCommand.class,
            AskCommand.class,
            RateCommand.class,
            StatusCommand.class,
            LogsCommand.class,
            ConfigCommand.class,
            PartsCommand.class,
            ServiceCommand.class,
            SourcesCommand.class,
            GapsCommand.class,
            TrainCommand.class
        })
public final class Main {
    private Main() {}

    /** Runs a command and exits. */
    public static void main(String[] arguments) {
        CommandLine line = new CommandLine(new Main());
        line.setExecutionExceptionHandler((error, command, result) -> {
            if (error instanceof UserException || error instanceof IllegalStateException) {
                command.getErr().println("millrace: " + error.getMessage());
            } else if (error instanceof ConfigException config) {
                config.errors().forEach(each -> command.getErr().println("millrace: " + each));
            } else {
                command.getErr().println("millrace: " + error);
                error.printStackTrace(command.getErr());
            }
            return 1;
        });
        int code = line.execute(arguments);
        System.exit(code);
    }
}
