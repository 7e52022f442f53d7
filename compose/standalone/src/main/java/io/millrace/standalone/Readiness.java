package io.millrace.standalone;

import io.millrace.service.Service;
import io.millrace.standalone.error.UserException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Waits until services are ready, as long as those that are not come on. */
final class Readiness {
    private static final Logger LOG = LoggerFactory.getLogger(Readiness.class);

    /** Between two lines of progress; a start without anything to catch up with says none. */
    private static final Duration TELL = Duration.ofSeconds(5);

    private static final long LOOK_MS = 10;

    private final Consumer<String> say;

    /** @param say receives progress, where it takes long */
    Readiness(Consumer<String> say) {
        this.say = say;
    }

    /**
     * Waits.
     *
     * @param within how long, counted anew whenever one of them has come on
     * @return those that are not ready; empty when all are
     * @throws UserException when this thread is interrupted
     */
    List<Service> await(List<Service> awaited, Duration within) {
        long began = System.nanoTime();
        long cameOn = began;
        long told = began;
        List<Service> waiting = new ArrayList<>(awaited);
        Map<Service, Long> progress = new HashMap<>();
        while (true) {
            for (Service service : List.copyOf(waiting)) {
                if (service.isReady()) {
                    waiting.remove(service);
                    LOG.info("{} is ready after {} ms", service.name(), (System.nanoTime() - began) / 1_000_000);
                } else if (service.progress() > progress.getOrDefault(service, 0L)) {
                    progress.put(service, service.progress());
                    cameOn = System.nanoTime();
                }
            }
            long now = System.nanoTime();
            if (waiting.isEmpty() || now - cameOn > within.toNanos()) {
                return waiting;
            }
            if (now - told > TELL.toNanos()) {
                told = now;
                waiting.stream()
                        .filter(progress::containsKey)
                        .forEach(service -> say.accept("%s reads the log: %d records so far"
                                .formatted(service.name(), progress.get(service))));
            }
            try {
                Thread.sleep(LOOK_MS);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new UserException("interrupted while services started", e);
            }
        }
    }

    /** Names and what they say of themselves, on one line. */
    static String told(List<Service> services) {
        return services.stream()
                .map(service -> service.name() + " " + service.details())
                .collect(Collectors.joining(", "));
    }
}
