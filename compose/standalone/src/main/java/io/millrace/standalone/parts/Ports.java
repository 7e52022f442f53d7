package io.millrace.standalone.parts;

import io.millrace.standalone.error.UserException;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.util.HashSet;
import java.util.Properties;
import java.util.Set;

/**
 * Ports of the embedded parts: free ones, and the same again after a restart if they are still free, so that processes that
 * outlive the parts find them.
 */
final class Ports {
    private static final String FILE = "ports.properties";

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
        while (true) {
            try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
                if (!taken.contains(socket.getLocalPort())) {
                    return socket.getLocalPort();
                }
            } catch (IOException e) {
                throw new UserException("no free port on loopback: " + e.getMessage(), e);
            }
        }
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
