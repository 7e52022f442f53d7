package io.millrace.gateway;

import io.millrace.config.MillraceConfig;
import java.util.List;
import java.util.function.Supplier;

/**
 * What the gateway needs from others, beside the log.
 *
 * @param search the knowledge
 * @param postgres where interactions are projected to; asked on first use, so that the server may start later
 * @param redis URL for idempotency keys that outlive this process; empty: they are kept in this process only
 * @param registry URL of the schema registry, shown in {@code /status}; empty: not shown as reachable
 * @param config the effective configuration
 * @param services states of the services of this process, the gateway's own included or not
 */
public record GatewayPorts(
        SearchPort search,
        Supplier<MillraceConfig.Postgres> postgres,
        String redis,
        String registry,
        ConfigView config,
        Supplier<List<ServiceState>> services) {}
