package io.millrace.standalone.cli;

import picocli.CommandLine.Command;

/** {@code millrace eval}: measures over open formats; needs no running instance. */
@Command(
        name = "eval",
        description = "Measure on data of your own; needs no running instance.",
        mixinStandardHelpOptions = true,
        synopsisSubcommandLabel = "COMMAND",
        subcommands = {EvalRetrievalCommand.class, EvalCacheCommand.class})
public final class EvalCommand {}
