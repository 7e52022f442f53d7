package io.millrace.standalone;

import io.millrace.config.MillraceConfig;
import io.millrace.standalone.parts.DataFolder;
import io.millrace.standalone.parts.StartupException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** What every command that runs something takes. */
final class InstanceOptions {
    @Option(
            names = "--data",
            paramLabel = "DIR",
            description = "Data folder; default $$XDG_DATA_HOME/millrace or ~/.local/share/millrace.")
    private @Nullable Path data;

    @Option(
            names = "--config",
            paramLabel = "FILE",
            description = "Configuration; default millrace.yaml in the data folder.")
    private @Nullable Path config;

    Path data() {
        return data == null ? DataFolder.standard() : data.toAbsolutePath().normalize();
    }

    MillraceConfig config() {
        if (config != null && !Files.isReadable(config)) {
            throw new StartupException("the configuration " + config + " cannot be read");
        }
        return MillraceConfig.defaults();
    }
}
