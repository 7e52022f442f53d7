package io.millrace.gateway;

import io.millrace.config.Loopback;
import io.millrace.config.MillraceConfig.Listen;
import io.vertx.core.net.HostAndPort;
import java.util.HashSet;
import java.util.Locale;
import java.util.Set;

/**
 * The names that clients may ask for. There are no keys: that only this machine reaches the port is all that guards it, and a browser
 * on this machine asks for any page. A page whose own name comes to mean 127.0.0.1 (DNS rebinding) is of one origin with us for the
 * browser, and may read and send what it likes; its name in Host is what tells it from the user.
 */
final class HostNames {
    private final Set<String> names;

    HostNames(Listen listen) {
        Set<String> known = new HashSet<>(listen.hosts());
        known.add("localhost");
        known.add(listen.host().toLowerCase(Locale.ROOT));
        this.names = Set.copyOf(known);
    }

    /** Whether it is one of the names, or an address of this machine alone; with whatever port, since proxies have their own. */
    boolean has(HostAndPort authority) {
        String host = authority.host();
        if (names.contains(host)) {
            return true;
        }
        String plain = host.endsWith(".") ? host.substring(0, host.length() - 1) : host;
        return names.contains(plain.toLowerCase(Locale.ROOT)) || Loopback.is(plain);
    }

    static Problem refused() {
        return Problem.field(
                421,
                "host_not_allowed",
                "Host",
                "the header Host names another server than this: ask for localhost or 127.0.0.1, or put the name into listen.hosts");
    }
}
