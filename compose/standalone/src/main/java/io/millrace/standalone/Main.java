package io.millrace.standalone;

import static java.util.Objects.requireNonNull;

import io.millrace.config.ConfigException;
import io.millrace.standalone.cli.AskCommand;
import io.millrace.standalone.cli.CacheCommand;
import io.millrace.standalone.cli.ConfigCommand;
import io.millrace.standalone.cli.DownCommand;
import io.millrace.standalone.cli.EvalCommand;
import io.millrace.standalone.cli.GapsCommand;
import io.millrace.standalone.cli.GarbageCommand;
import io.millrace.standalone.cli.LogsCommand;
import io.millrace.standalone.cli.RateCommand;
import io.millrace.standalone.cli.SourcesCommand;
import io.millrace.standalone.cli.StatusCommand;
import io.millrace.standalone.cli.Terminal;
import io.millrace.standalone.error.UserException;
import io.millrace.standalone.parts.DataFolder;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.List;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import picocli.CommandLine;
import picocli.CommandLine.Command;

/** The command line. Exit codes: 0 done, 1 it could not be done, 2 the command line is wrong. */
@Command(
        name = "millrace",
        mixinStandardHelpOptions = true,
        description = "A hybrid LLM router that learns, built as a stream on Kafka.",
        footer = {
            "",
            "The launcher adds",
            "  test     All tests.",
            "  bench    The benchmarks: path, streams, crash, start, sink, search, ingest."
        })
public final class Main {
    /** {@code true}: what fails is told with its stack trace. */
    private static final String TRACE_PROPERTY = "millrace.trace";

    private static final List<Class<?>> COMMANDS = List.of(
            UpCommand.class,
            DownCommand.class,
            AskCommand.class,
            RateCommand.class,
            StatusCommand.class,
            LogsCommand.class,
            ConfigCommand.class,
            EvalCommand.class,
            CacheCommand.class,
            PartsCommand.class,
            ServiceCommand.class,
            SourcesCommand.class,
            GapsCommand.class,
            GarbageCommand.class,
            RebuildCommand.class,
            TrainCommand.class,
            CommandLine.HelpCommand.class);

    private Main() {}

    /** Runs a command and exits. */
    public static void main(String[] arguments) {
        Thread.setDefaultUncaughtExceptionHandler((thread, error) -> logger().error("{} died", thread, error));
        CommandLine line = arguments.length == 0 ? commandLine() : commandLine(arguments[0]);
        showVersion(line);
        line.setExecutionExceptionHandler((error, command, result) -> {
            List<String> told = error instanceof ConfigException config ? config.errors() : List.of(oneLine(error));
            told.forEach(each -> Terminal.error("millrace: " + Terminal.inLine(each)));
            if (Boolean.getBoolean(TRACE_PROPERTY)) {
                error.printStackTrace(command.getErr());
            } else if (!isExpected(error)) {
                logger().error("{} failed", command.getCommandName(), error);
            }
            return 1;
        });
        int code = line.execute(arguments);
        System.exit(code);
    }

    /** All commands. */
    static CommandLine commandLine() {
        return of(COMMANDS);
    }

    /** The command of this name alone, because picocli takes a third of a second to read all of them; all, where there is none. */
    private static CommandLine commandLine(String name) {
        return COMMANDS.stream()
                .filter(each -> each != CommandLine.HelpCommand.class
                        && each.getAnnotation(Command.class).name().equals(name))
                .findFirst()
                .map(each -> of(List.of(each)))
                .orElseGet(Main::commandLine);
    }

    private static CommandLine of(List<Class<?>> commands) {
        CommandLine line = new CommandLine(new Main());
        commands.forEach(line::addSubcommand);
        return line.setCaseInsensitiveEnumValuesAllowed(true);
    }

    /** For {@code --version}, which each command has. */
    private static void showVersion(CommandLine line) {
        String version = Main.class.getPackage().getImplementationVersion();
        line.getCommandSpec().version("millrace " + (version == null ? "from class files" : version));
        line.getSubcommands().values().forEach(Main::showVersion);
    }

    private static boolean isExpected(Exception error) {
        return error instanceof UserException
                || error instanceof ConfigException
                || error instanceof IllegalStateException
                || error instanceof IOException
                || error instanceof UncheckedIOException;
    }

    /** What the person at the terminal is told; where in the code it happened is for the log. */
    private static String oneLine(Exception error) {
        String message = error.getMessage();
        String told = switch (error) {
            case UserException user -> String.valueOf(message);
            case IOException io -> DataFolder.reason(io);
            case UncheckedIOException io -> DataFolder.reason(requireNonNull(io.getCause()));
            case IllegalStateException state when message != null -> message;
            default -> "unexpected: " + error + " (MILLRACE_JAVA_OPTS=-D" + TRACE_PROPERTY + "=true shows where)";
        };
        return told.replaceAll("\\s*\\R\\s*", " ");
    }

    /** Not a constant: logging must not be set up before the data folder is known. */
    private static Logger logger() {
        return LoggerFactory.getLogger(Main.class);
    }
}
