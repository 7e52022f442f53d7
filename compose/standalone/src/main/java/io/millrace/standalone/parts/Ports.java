package io.millrace.standalone.parts;

import io.millrace.standalone.error.UserException;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.util.HashSet;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;

/**
 * Ports of the embedded parts: free ones, and the same again after a restart if they are still free, so that processes that
 * outlive the parts find them.
 */
final class Ports {
    private static final String FILE = "ports.properties";

    /**
     * Where Linux begins to give ports to outgoing connections, other systems later: one from there could be taken between the look and
     * the start, or while the parts are down.
     */
    private static final int EPHEMERAL = 32_768;

    private static final int LOWEST = 10_240;
    private static final int TRIES = 1_000;

    private final DataFolder data;
    private final Properties known;
    private final Set<Integer> taken = new HashSet<>();

    Ports(DataFolder data) {
        this.data = data;
        this.known = data.load(FILE);
    }

    /** The port of a part. */
    synchronized int of(String name) {
        int port = Math.clamp(DataFolder.number(known, name), 0, 65_535);
        if (port == 0 || taken.contains(port) || !isFree(port)) {
            port = free();
            known.setProperty(name, String.valueOf(port));
            data.store(FILE, known);
        }
        taken.add(port);
        return port;
    }

    private int free() {
        for (int i = 0; i < TRIES; i++) {
            int port = ThreadLocalRandom.current().nextInt(LOWEST, EPHEMERAL);
            if (!taken.contains(port) && isFree(port)) {
                return port;
            }
        }
        throw new UserException("no free port between " + LOWEST + " and " + EPHEMERAL + " on loopback");
    }

    /** Whether a server could listen on this port of loopback now. */
    static boolean isFree(int port) {
        try (ServerSocket socket = new ServerSocket()) {
            socket.setReuseAddress(true);
            socket.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), port));
            return true;
        } catch (IOException e) {
            return false;
        }
    }
}
