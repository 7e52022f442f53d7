package io.millrace.standalone;

import io.millrace.config.ConfigLoader;
import io.millrace.config.MillraceConfig;
import io.millrace.log.HttpSchemaRegistry;
import io.millrace.standalone.cli.DataOption;
import io.millrace.standalone.parts.DataFolder;
import io.millrace.standalone.parts.Endpoints;
import io.millrace.standalone.parts.Parts;
import io.millrace.standalone.parts.SchemaBook;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** {@code millrace parts}: the parts alone, for services that run as processes of their own. */
@Command(
        name = "parts",
        description = "Run Kafka, the schema registry, PostgreSQL and Redis, and nothing else.",
        mixinStandardHelpOptions = true)
public final class PartsCommand implements Callable<Integer> {
    @Mixin
    private DataOption options = new DataOption();

    @Override
    public Integer call() {
        MillraceConfig config = ConfigLoader.load(options.configFile(), System.getenv(), Map.of())
                .config();
        try (Stop stop = new Stop();
                DataFolder data =
                        DataFolder.open(options.folder(), config.limits().freeDiskBytes())) {
            Confinement.to(data);
            try (Parts parts = new Parts(data, config, remark -> System.err.println("millrace: " + remark))) {
                parts.start(() -> Services.createTopics(config, parts.endpoints()));
                SchemaBook.note(data, new HttpSchemaRegistry(parts.endpoints().registryUrl()), config);
                parts.endpoints().write(data);
                System.out.println("millrace parts ready " + data.root().resolve(Endpoints.FILE));
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
