package io.millrace.standalone.cli;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** Where the data folder and the configuration are. */
public final class DataOption {
    @Option(names = "--data", paramLabel = "DIR", description = "Data folder. Default: $XDG_DATA_HOME/millrace.")
    private @Nullable Path data;

    @Option(
            names = "--config",
            paramLabel = "FILE",
            description = "Configuration. Default: millrace.yaml in the data folder, if there is one.")
    private @Nullable Path config;

    /** The data folder. */
    public Path folder() {
        if (data != null) {
            return data.toAbsolutePath().normalize();
        }
        String named = System.getenv("MILLRACE_DATA");
        if (named != null && !named.isEmpty()) {
            return Path.of(named).toAbsolutePath();
        }
        String xdg = System.getenv("XDG_DATA_HOME");
        Path base = xdg == null || xdg.isEmpty()
                ? Path.of(System.getProperty("user.home"), ".local", "share")
                : Path.of(xdg);
        return base.resolve("millrace");
    }

    /** The configuration file; empty when there is none and none was named. */
    public Optional<Path> configFile() {
        if (config != null) {
            return Optional.of(config);
        }
        return Optional.of(folder().resolve("millrace.yaml")).filter(Files::exists);
    }
}
