package io.millrace.standalone;

import io.millrace.config.MillraceConfig;
import io.millrace.log.TopicAdmin;
import io.millrace.log.Topics;
import io.millrace.standalone.parts.DataFolder;
import io.millrace.standalone.parts.Endpoints;
import io.millrace.standalone.parts.Parts;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** The parts alone, for services that run as processes of their own. */
@Command(
        name = "parts",
        description = "Runs Kafka, the schema registry, PostgreSQL and Redis, and nothing else.",
        mixinStandardHelpOptions = true)
final class PartsCommand implements Callable<Integer> {
    @Mixin
    private InstanceOptions options = new InstanceOptions();

    @Override
    public Integer call() {
        Stop stop = new Stop();
        try (DataFolder data = DataFolder.open(options.data())) {
            Confinement.to(data, "parts");
            MillraceConfig config = options.config();
            try (Parts parts = new Parts(data, config, remark -> System.err.println("millrace: " + remark))) {
                Endpoints endpoints = parts.endpoints();
                parts.start(() -> new TopicAdmin(config.log(endpoints.kafka()))
                        .createAndVerify(Topics.all(config.dispatchable())));
                endpoints.write(data, "");
                data.announce(Endpoints.FILE);
                System.out.println("millrace parts ready " + data.root().resolve(Endpoints.FILE));
                stop.await();
            }
        } finally {
            stop.finished();
        }
        return 0;
    }
}
