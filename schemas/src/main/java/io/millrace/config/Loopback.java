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
        boolean bracketed = host.startsWith("[") && host.endsWith("]");
        try {
            return InetAddress.ofLiteral(bracketed ? host.substring(1, host.length() - 1) : host)
                    .isLoopbackAddress();
        } catch (IllegalArgumentException e) {
            return false;
        }
    }
}
