package io.millrace.standalone.parts;

import java.nio.file.Path;
import java.util.List;

/** Real parts without a supervisor, so that a test can take one away for as long as it wants, and bring it back on its port. */
public final class LooseParts implements AutoCloseable {
    private final DataFolder data;
    private final PostgresPart postgres;
    private final RegistryPart registry;
    private final BrokerPart broker;
    private final RedisPart redis;
    private final ConnectPart connect;

    /** Starts all. */
    public LooseParts(Path folder) {
        data = DataFolder.open(folder, 1L << 20);
        Ports ports = new Ports(data);
        postgres = new PostgresPart(data, ports.of("postgres"), remark -> {});
        registry = new RegistryPart(
                data,
                ports.of("registry"),
                ports.of("registry-management"),
                new RegistryPart.Database(
                        postgres.url(PostgresPart.REGISTRY_DATABASE), PostgresPart.USER, postgres.password()));
        broker = new BrokerPart(data, ports.of("kafka"), ports.of("kafka-controller"));
        redis = new RedisPart(data, ports.of("redis"), remark -> {});
        connect = new ConnectPart(data, ports.of("connect"), "", broker.bootstrapServers());
        List.of(postgres, registry, broker, redis).forEach(Part::start);
        endpoints().write(data);
    }

    public Endpoints endpoints() {
        return new Endpoints(
                broker.bootstrapServers(),
                registry.url(),
                postgres.url(PostgresPart.DATABASE),
                PostgresPart.USER,
                postgres.password(),
                redis.url());
    }

    public Part postgres() {
        return postgres;
    }

    public Part registry() {
        return registry;
    }

    public Part broker() {
        return broker;
    }

    public Part redis() {
        return redis;
    }

    /** Started by the first knowledge source. */
    public ConnectPart connect() {
        return connect;
    }

    @Override
    public void close() {
        List.of(connect, registry, redis, broker, postgres).forEach(Part::stop);
        data.close();
    }
}
