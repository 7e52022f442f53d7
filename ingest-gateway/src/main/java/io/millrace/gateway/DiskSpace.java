package io.millrace.gateway;

import io.millrace.service.Service;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Whether there is room for what would be accepted. A broker whose disk is full stops for good, and takes what it runs with along; so the gateway takes
 * nothing more before that, and what was accepted has room to end.
 */
public final class DiskSpace implements Service {
    private static final Logger LOG = LoggerFactory.getLogger(DiskSpace.class);
    private static final long EVERY_MS = 500;

    private final Path folder;
    private final long needed;
    private final ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor(
            Thread.ofPlatform().name("disk-space").daemon().factory());
    private volatile long free = Long.MAX_VALUE;

    /**
     * @param folder on the disk in question; it must exist when this is started
     * @param needed bytes
     */
    public DiskSpace(Path folder, long needed) {
        this.folder = folder;
        this.needed = needed;
    }

    @Override
    public String name() {
        return "disk";
    }

    @Override
    public void start() {
        timer.scheduleWithFixedDelay(this::look, 0, EVERY_MS, TimeUnit.MILLISECONDS);
    }

    private void look() {
        try {
            long now = Files.getFileStore(folder).getUsableSpace();
            if (now < needed != free < needed) {
                LOG.warn("{} MiB are free on the disk of {}, {} are needed", now >> 20, folder, needed >> 20);
            }
            free = now;
        } catch (IOException | RuntimeException e) {
            LOG.debug("the free space of {} cannot be told", folder, e);
        }
    }

    @Override
    public boolean isReady() {
        return free >= needed;
    }

    @Override
    public Map<String, String> details() {
        return isReady() ? Map.of() : Map.of("disk", "nearly full: " + wanting());
    }

    private String wanting() {
        return (free >> 20) + " MiB are free and " + (needed >> 20) + " MiB needed (limits.free-disk)";
    }

    /** Throws a 503 when there is too little. */
    void require() {
        if (!isReady()) {
            throw Problem.unavailable("disk_full", "the disk is nearly full: " + wanting());
        }
    }

    @Override
    public void close() {
        timer.shutdownNow();
    }
}
