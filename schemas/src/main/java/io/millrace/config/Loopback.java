package io.millrace.config;

import java.net.InetAddress;

/** Which hosts are this machine alone. */
public final class Loopback {
    private Loopback() {}

    /**
     * Whether a host is {@code localhost} or a loopback address as it is written, IPv6 with or without brackets. Other names are not
     * looked up: they may mean another address the next time, and 127.example.com is one.
     */
    public static boolean is(String host) {
        if (host.equals("localhost")) {
            return true;
        }
        try {
            return InetAddress.ofLiteral(plain(host)).isLoopbackAddress();
        } catch (IllegalArgumentException e) {
            return false;
        }
    }

    /** A host without the brackets that IPv6 addresses have in URLs. */
    static String plain(String host) {
        return host.startsWith("[") && host.endsWith("]") ? host.substring(1, host.length() - 1) : host;
    }
}
