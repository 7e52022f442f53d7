package io.millrace.standalone;

import io.millrace.config.ConfigLoader;
import io.millrace.config.ConfigLoader.Loaded;
import io.millrace.config.MillraceConfig;
import io.millrace.gateway.Gateway;
import io.millrace.learners.sources.ConnectWorker;
import io.millrace.standalone.cli.DataOption;
import io.millrace.standalone.error.UserException;
import io.millrace.standalone.parts.DataFolder;
import io.millrace.standalone.parts.Endpoints;
import io.millrace.standalone.parts.Undisturbed;
import java.net.URI;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code millrace service}: some services in a process of their own, against parts that run elsewhere. */
@Command(
        name = "service",
        description = "Run some services against the configured endpoints, or those of `millrace parts`.",
        mixinStandardHelpOptions = true)
public final class ServiceCommand implements Callable<Integer> {
    @Mixin
    private DataOption options = new DataOption();

    @Parameters(
            paramLabel = "ROLE",
            split = ",",
            arity = "1..*",
            description = "Roles, see the message for a wrong one.")
    private List<String> roles = List.of();

    @Option(
            names = "--name",
            paramLabel = "NAME",
            description = "Name of this process, and of its folder below the data folder; default: its roles.")
    private @Nullable String name;

    @Option(names = "--port", paramLabel = "PORT", description = "Port of the gateway; 0 takes a free one.")
    private @Nullable Integer port;

    /** A worker of our own runs with the parts, in their process. */
    private static ConnectWorker connect(MillraceConfig config) {
        return () -> {
            if (config.connect().url().isEmpty()) {
                throw new IllegalStateException("connect.url is not set: a service needs a Kafka Connect cluster");
            }
            return URI.create(config.connect().url());
        };
    }

    @Override
    public Integer call() {
        TreeSet<String> chosen = new TreeSet<>(roles);
        if (!Roles.ALL.containsAll(chosen)) {
            chosen.removeAll(Roles.ALL);
            throw new UserException("there is no role " + chosen + "; there are " + new TreeSet<>(Roles.ALL));
        }
        Map<String, String> flags = new HashMap<>();
        if (port != null) {
            flags.put("listen.port", port.toString());
        }
        Loaded loaded = ConfigLoader.load(options.configFile(), System.getenv(), flags);
        Endpoints endpoints = Endpoints.of(loaded.config(), options.folder());
        String process = name == null ? String.join("-", chosen) : name;
        try (Stop stop = new Stop();
                // the index and the states of this process; a second one of the same name would share them
                DataFolder folder = DataFolder.open(
                        options.folder().resolve("processes").resolve(process),
                        loaded.config().limits().freeDiskBytes())) {
            Confinement.to(folder);
            // whose files are private, as all of a data folder is
            if (chosen.contains("archive")) {
                DataFolder.create(options.folder().resolve(DataFolder.ARCHIVE));
            }
            Services.createTopics(loaded.config(), endpoints);
            try (Services services = Undisturbed.get(() -> new Services(
                    loaded.config(),
                    endpoints,
                    folder.root(),
                    options.folder(),
                    chosen,
                    loaded::view,
                    connect(loaded.config())))) {
                services.start(System.out::println);
                Optional<String> url = services.gateway()
                        .map(Gateway::port)
                        .map(bound -> Standalone.url(loaded.config().listen(), bound));
                folder.announce(url.orElse(""));
                System.out.println("millrace " + process + " ready " + url.orElse(""));
                stop.await();
            } catch (RuntimeException e) {
                // whatever it broke off was broken off by the signal
                if (!stop.isAsked()) {
                    throw e;
                }
            }
        }
        return 0;
    }
}
