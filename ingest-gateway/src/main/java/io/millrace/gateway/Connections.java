package io.millrace.gateway;

import com.sun.management.UnixOperatingSystemMXBean;
import io.micrometer.core.instrument.Counter;
import io.micrometer.core.instrument.Gauge;
import io.micrometer.core.instrument.MeterRegistry;
import io.vertx.core.http.HttpConnection;
import java.lang.management.ManagementFactory;
import java.util.concurrent.atomic.AtomicInteger;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The connections that clients keep, fewer than there are files to open. Each is one, and a broker in this process that can open no more
 * ends it: idle clients alone would do that. What is too many is closed at once.
 */
final class Connections {
    private static final Logger LOG = LoggerFactory.getLogger(Connections.class);

    /** What a small instance has open: log, index, database, jars. */
    private static final int OTHERS = 900;

    private static final int LEAST = 64;

    private final int most;
    private final AtomicInteger open = new AtomicInteger();
    private final Counter full;
    private final Counter slow;
    private volatile boolean told;

    Connections(MeterRegistry metrics) {
        long files = ManagementFactory.getOperatingSystemMXBean() instanceof UnixOperatingSystemMXBean system
                ? system.getMaxFileDescriptorCount()
                : Integer.MAX_VALUE;
        // a quarter is left to a log that grows
        most = Math.clamp((files - OTHERS) / 4 * 3, LEAST, Integer.MAX_VALUE);
        Gauge.builder("millrace.gateway.connections", open, AtomicInteger::doubleValue)
                .description("Connections of clients")
                .register(metrics);
        full = closed(metrics, "full");
        slow = closed(metrics, "slow");
    }

    private static Counter closed(MeterRegistry metrics, String reason) {
        return Counter.builder("millrace.gateway.connections.closed")
                .description(
                        "Connections that were closed because there were too many, or because a request did not come whole")
                .tag("reason", reason)
                .register(metrics);
    }

    /** One was closed because its request did not come whole in time. */
    void late() {
        slow.increment();
    }

    /** Counts a connection until it is closed; false when it is one too many, and closed. */
    boolean admit(HttpConnection connection) {
        connection.closeHandler(closed -> {
            if (open.decrementAndGet() < most) {
                told = false;
            }
        });
        if (open.incrementAndGet() <= most) {
            return true;
        }
        if (!told) {
            told = true;
            LOG.warn("{} connections are open, and there are files for no more (ulimit -n): others are closed", most);
        }
        full.increment();
        connection.close();
        return false;
    }
}
