package io.millrace.connect;

import java.io.IOException;
import java.io.InputStream;
import java.io.PushbackInputStream;
import java.net.Inet4Address;
import java.net.InetAddress;
import java.net.URI;
import java.net.UnknownHostException;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.zip.GZIPInputStream;
import java.util.zip.Inflater;
import java.util.zip.InflaterInputStream;

/**
 * Gets pages, and nothing that only this machine or its network can reach: every address of a host, of the first one and of every
 * redirect, must be public, unless the host is allow-listed. What is looked up is what is connected to, since the JVM caches addresses
 * for 30 s.
 */
final class Fetcher implements AutoCloseable {
    private static final int REDIRECTS = 5;
    private static final Duration CONNECT = Duration.ofSeconds(10);
    private static final Duration ANSWER = Duration.ofSeconds(30);
    private static final Duration BODY = Duration.ofSeconds(60);
    private static final Set<String> CODINGS = Set.of("", "identity", "gzip", "x-gzip", "deflate");

    private final HttpClient http = HttpClient.newBuilder()
            .followRedirects(HttpClient.Redirect.NEVER)
            .connectTimeout(CONNECT)
            .version(HttpClient.Version.HTTP_1_1)
            // its own would refuse, with another error, what begins while this is closed
            .executor(Thread::startVirtualThread)
            .build();
    private final ExecutorService reading = Executors.newVirtualThreadPerTaskExecutor();
    private final Set<String> allowed;
    private final int maxBytes;

    /** @param allowed hosts, in lower case, that may have private addresses */
    Fetcher(Set<String> allowed, int maxBytes) {
        this.allowed = Set.copyOf(allowed);
        this.maxBytes = maxBytes;
    }

    /** What came of it. */
    sealed interface Fetched {
        /**
         * A page.
         *
         * @param uri after redirects
         * @param mediaType in lower case, without parameters
         * @param charset as the server says, or empty
         */
        @SuppressWarnings("ArrayRecordComponent") // a body that one reader gets and nobody compares
        record Page(URI uri, byte[] body, String mediaType, String charset, String etag, String modified)
                implements Fetched {}

        /** As it was. */
        record Unchanged() implements Fetched {}

        /** 404 or 410. */
        record Gone(int status) implements Fetched {}

        /** More than may be taken. */
        record TooLarge(String reason) implements Fetched {}

        /** It will not do. */
        record Failed(String reason) implements Fetched {}
    }

    /** Gets a page, unless it is as these two say. */
    Fetched get(URI first, String etag, String modified) throws InterruptedException {
        URI uri = first;
        for (int hop = 0; hop <= REDIRECTS; hop++) {
            Optional<String> refusal = refusal(uri);
            if (refusal.isPresent()) {
                return new Fetched.Failed((hop == 0 ? "" : "redirects to " + uri + ", ") + refusal.get());
            }
            HttpRequest.Builder request = HttpRequest.newBuilder(uri)
                    .timeout(ANSWER)
                    .header("User-Agent", "millrace (knowledge source)")
                    // without it a server may choose one that cannot be read here
                    .header("Accept-Encoding", "gzip")
                    .header("Accept", "text/html, application/xhtml+xml, application/xml, text/*;q=0.9, */*;q=0.5");
            if (!etag.isEmpty()) {
                request.header("If-None-Match", etag);
            }
            if (!modified.isEmpty()) {
                request.header("If-Modified-Since", modified);
            }
            try {
                HttpResponse<InputStream> response =
                        http.send(request.build(), HttpResponse.BodyHandlers.ofInputStream());
                try (InputStream body = response.body()) {
                    int status = response.statusCode();
                    if (status == 304) {
                        return new Fetched.Unchanged();
                    }
                    if (status == 404 || status == 410) {
                        return new Fetched.Gone(status);
                    }
                    Optional<String> location = response.headers().firstValue("Location");
                    if (status >= 300 && status < 400 && location.isPresent()) {
                        uri = uri.resolve(location.get().strip());
                        continue;
                    }
                    if (status != 200) {
                        return new Fetched.Failed("HTTP " + status);
                    }
                    return page(uri, response, body);
                }
            } catch (IllegalArgumentException e) {
                return new Fetched.Failed("redirects to what is no address: " + e.getMessage());
            } catch (IOException e) {
                return new Fetched.Failed(e.getMessage() == null ? e.toString() : e.getMessage());
            }
        }
        return new Fetched.Failed("more than " + REDIRECTS + " redirects");
    }

    private Fetched page(URI uri, HttpResponse<InputStream> response, InputStream body)
            throws IOException, InterruptedException {
        String coding = response.headers()
                .firstValue("Content-Encoding")
                .orElse("")
                .strip()
                .toLowerCase(Locale.ROOT);
        if (!CODINGS.contains(coding)) {
            return new Fetched.Failed("its Content-Encoding " + coding + " cannot be read");
        }
        byte[] bytes;
        var read = reading.submit(() -> decoded(body, coding).readNBytes(maxBytes + 1));
        try {
            bytes = read.get(BODY.toSeconds(), TimeUnit.SECONDS);
        } catch (TimeoutException e) {
            body.close();
            return new Fetched.Failed("not read within " + BODY.toSeconds() + " s");
        } catch (java.util.concurrent.ExecutionException e) {
            return new Fetched.Failed("broke off: " + e.getCause());
        }
        if (bytes.length > maxBytes) {
            return new Fetched.TooLarge("more than the " + maxBytes + " bytes of max_bytes");
        }
        String type = response.headers().firstValue("Content-Type").orElse("text/html");
        int parameters = type.indexOf(';');
        String mediaType =
                (parameters < 0 ? type : type.substring(0, parameters)).strip().toLowerCase(Locale.ROOT);
        int charset = type.toLowerCase(Locale.ROOT).indexOf("charset=");
        return new Fetched.Page(
                uri,
                bytes,
                mediaType,
                charset < 0
                        ? ""
                        : type.substring(charset + 8).replaceAll("[\";].*", "").strip(),
                response.headers().firstValue("ETag").orElse(""),
                response.headers().firstValue("Last-Modified").orElse(""));
    }

    /** Stored files come packed whether that was asked for or not. What is unpacked counts for {@code max_bytes}, so that a bomb stops. */
    private static InputStream decoded(InputStream body, String coding) throws IOException {
        return switch (coding) {
            case "gzip", "x-gzip" -> new GZIPInputStream(body);
            case "deflate" -> inflated(body);
            default -> body;
        };
    }

    /** Deflate is meant to have a header of zlib (RFC 9110, 8.4.1.2), and some servers leave it out. */
    private static InputStream inflated(InputStream body) throws IOException {
        PushbackInputStream ahead = new PushbackInputStream(body, 2);
        byte[] first = ahead.readNBytes(2);
        ahead.unread(first);
        boolean header =
                first.length == 2 && (first[0] & 0x0f) == 8 && ((first[0] & 0xff) << 8 | (first[1] & 0xff)) % 31 == 0;
        return new InflaterInputStream(ahead, new Inflater(!header));
    }

    /** Why this may not be asked for; empty when it may. */
    private Optional<String> refusal(URI uri) {
        String scheme = uri.getScheme() == null ? "" : uri.getScheme().toLowerCase(Locale.ROOT);
        if (!scheme.equals("http") && !scheme.equals("https")) {
            return Optional.of("which is neither http nor https");
        }
        String host = uri.getHost();
        if (host == null) {
            return Optional.of("which has no host");
        }
        if (allowed.contains(host.toLowerCase(Locale.ROOT))) {
            return Optional.empty();
        }
        try {
            for (InetAddress address : InetAddress.getAllByName(host)) {
                if (isPrivate(address)) {
                    return Optional.of(host + " has the private address " + address.getHostAddress()
                            + "; put it into allow if that is meant");
                }
            }
            return Optional.empty();
        } catch (UnknownHostException e) {
            return Optional.of(host + " is not known");
        }
    }

    static boolean isPrivate(InetAddress address) {
        if (address.isAnyLocalAddress()
                || address.isLoopbackAddress()
                || address.isLinkLocalAddress()
                || address.isSiteLocalAddress()
                || address.isMulticastAddress()) {
            return true;
        }
        byte[] b = address.getAddress();
        if (address instanceof Inet4Address) {
            int first = b[0] & 0xff;
            int second = b[1] & 0xff;
            // this network; carrier-grade NAT; protocol assignments; benchmarking; reserved and broadcast
            return first == 0
                    || (first == 100 && second >= 64 && second < 128)
                    || (first == 192 && second == 0 && b[2] == 0)
                    || (first == 198 && (second == 18 || second == 19))
                    || first >= 240;
        }
        // unique local; NAT64 and 6to4, which carry an IPv4 address
        return (b[0] & 0xfe) == 0xfc
                || (b[0] == 0 && b[1] == 0x64 && (b[2] & 0xff) == 0xff && (b[3] & 0xff) == 0x9b)
                || (b[0] == 0x20 && b[1] == 0x02);
    }

    @Override
    public void close() {
        reading.shutdownNow();
        http.shutdownNow();
    }
}
