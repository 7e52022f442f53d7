package io.millrace.connect;

import io.millrace.connect.Contents.NotADocumentException;
import io.millrace.connect.Fetcher.Fetched;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.net.URI;
import java.net.URISyntaxException;
import java.nio.charset.Charset;
import java.nio.charset.IllegalCharsetNameException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.kafka.connect.storage.OffsetStorageReader;
import org.jsoup.Jsoup;
import org.jsoup.nodes.Document;
import org.jsoup.nodes.Element;
import org.jsoup.parser.Parser;
import org.jspecify.annotations.Nullable;

/**
 * Reads pages and feeds, and the pages they link to on the same host as far as {@code depth} says; the items of a feed always. A page
 * is asked for with its ETag and Last-Modified; where a server has neither, its checksum tells whether it changed. Every address is
 * visited once in a pass, so that loops of links end, and at most {@code max.documents} are.
 */
public final class UrlSourceTask extends KnowledgeTask {
    private static final Set<String> HTML = Set.of("text/html", "application/xhtml+xml");
    private static final int LINKS_KEPT = 500;

    /** What is known of pages; kept between passes, since the stored offsets are flushed behind. */
    private final Map<String, Map<String, Object>> known = new HashMap<>();

    private @Nullable Fetcher fetcher;

    /** Pages that links led to in the last whole pass and since; before the first one, those of the last process. */
    private @Nullable Set<String> linked;

    private boolean told;

    /**
     * From the second pass on a page that is not {@link #known} was not linked in the pass before: whatever is stored of it, its document
     * may have been deleted since.
     */
    private boolean again;

    @Override
    Scan scan(SourceSettings settings, OffsetStorageReader offsets) throws Scan.ScanException {
        if (fetcher == null) {
            fetcher = new Fetcher(
                    settings.allow().stream()
                            .map(host -> host.toLowerCase(Locale.ROOT))
                            .collect(Collectors.toSet()),
                    settings.maxBytes());
        }
        return new Pass(settings, offsets, fetcher);
    }

    @Override
    public void stop() {
        super.stop();
        Fetcher open = fetcher;
        if (open != null) {
            open.close();
        }
    }

    private final class Pass implements Scan {
        private final SourceSettings settings;
        private final OffsetStorageReader offsets;
        private final Fetcher http;
        private final Deque<Target> waiting = new ArrayDeque<>();
        private final Set<String> visited = new LinkedHashSet<>();
        /** What is there: pages that links lead to, and items of feeds. */
        private final Set<String> pages = new LinkedHashSet<>();

        private final Set<String> items = new HashSet<>();
        private @Nullable Deque<String> left;
        private final Set<String> hosts = new HashSet<>();
        /** Pages that links led to before this pass. */
        private final Set<String> lastLinked;

        private boolean complete = true;
        private boolean feeds;
        private int answered;
        private @Nullable String firstFailure;

        /** A page to get, and how many links further to go from there. */
        private record Target(URI uri, int depth) {}

        Pass(SourceSettings settings, OffsetStorageReader offsets, Fetcher http) throws ScanException {
            this.settings = settings;
            this.offsets = offsets;
            this.http = http;
            for (String location : settings.locations()) {
                try {
                    URI uri = normal(new URI(location));
                    hosts.add(String.valueOf(uri.getHost()));
                    visit(uri, settings.depth());
                } catch (URISyntaxException e) {
                    throw new ScanException(location + " is no address: " + e.getReason(), e);
                }
            }
            Set<String> last = linked;
            this.lastLinked = last == null ? storedLinks() : last;
        }

        private void visit(URI uri, int depth) {
            if (visited.size() >= settings.maxDocuments()) {
                complete = false;
            } else if (visited.add(uri.toString())) {
                waiting.add(new Target(uri, depth));
            }
        }

        private static URI normal(URI uri) throws URISyntaxException {
            String path = uri.getPath() == null || uri.getPath().isEmpty() ? "/" : uri.getRawPath();
            String query = uri.getRawQuery() == null ? "" : "?" + uri.getRawQuery();
            String authority =
                    uri.getRawAuthority() == null ? "" : uri.getRawAuthority().toLowerCase(Locale.ROOT);
            return new URI(uri.getScheme() + "://" + authority + path + query).normalize();
        }

        @Override
        public Optional<Step> next() throws ScanException {
            Target target = waiting.poll();
            if (target == null) {
                if (answered == 0 && firstFailure != null) {
                    throw new ScanException(firstFailure);
                }
                return Optional.ofNullable(unlinked().poll()).map(this::gone);
            }
            String path = target.uri().toString();
            Map<String, Object> before = before(path);
            boolean same = settings.definition().equals(before.get("definition"));
            try {
                Fetched fetched = http.get(
                        target.uri(),
                        same ? String.valueOf(before.getOrDefault("etag", "")) : "",
                        same ? String.valueOf(before.getOrDefault("modified", "")) : "");
                return Optional.of(
                        switch (fetched) {
                            case Fetched.Page page -> arrived(target, page, before);
                            case Fetched.Unchanged unchanged -> unchanged(target, before);
                            case Fetched.Gone gone -> gone(path);
                            case Fetched.Failed failed -> failed(path, failed.reason());
                        });
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new ScanException("interrupted", e);
            }
        }

        /** Pages of the last pass that no link leads to any more. */
        private Deque<String> unlinked() {
            Deque<String> known = left;
            if (known == null) {
                known = new ArrayDeque<>();
                if (complete) {
                    lastLinked.stream().filter(page -> !visited.contains(page)).forEach(known::add);
                }
                left = known;
            }
            return known;
        }

        private Map<String, Object> before(String path) {
            return known.computeIfAbsent(path, page -> {
                Map<String, Object> stored = again ? null : offsets.offset(partition(settings, page));
                return stored == null ? Map.of() : stored;
            });
        }

        /** Pages that the links of the last process's pages lead to: while nothing ran, one may have lost the last that led to it. */
        private Set<String> storedLinks() {
            Set<String> seen = new HashSet<>(visited);
            Set<String> led = new LinkedHashSet<>();
            Deque<Target> next = new ArrayDeque<>(waiting);
            for (Target target = next.poll(); target != null; target = next.poll()) {
                Map<String, Object> before = before(target.uri().toString());
                if (!"page".equals(before.get("kind")) || !settings.definition().equals(before.get("definition"))) {
                    continue;
                }
                led.add(target.uri().toString());
                if (target.depth() > 0) {
                    int depth = target.depth() - 1;
                    ledTo(before)
                            .map(URI::create)
                            .filter(link -> isWanted(link, false) && seen.add(link.toString()))
                            .forEach(link -> next.add(new Target(link, depth)));
                }
            }
            return led;
        }

        private Step failed(String path, String reason) {
            complete = false;
            if (firstFailure == null) {
                firstFailure = path + ": " + reason;
            }
            return new Step.Skipped(path, reason);
        }

        private Step gone(String path) {
            answered++;
            known.put(path, Map.of());
            return new Step.Gone(path, partition(settings, path), Map.of("gone", "true"));
        }

        private Step unchanged(Target target, Map<String, Object> before) {
            answered++;
            String path = target.uri().toString();
            boolean feed = "feed".equals(before.get("kind"));
            feeds |= feed;
            if (!feed) {
                pages.add(path);
            }
            if (feed || target.depth() > 0) {
                String.valueOf(before.getOrDefault("links", ""))
                        .lines()
                        .forEach(link -> follow(target, URI.create(link), feed));
            }
            return new Step.Unchanged(path);
        }

        private Step arrived(Target target, Fetched.Page page, Map<String, Object> before) {
            answered++;
            String path = target.uri().toString();
            try {
                Map<String, Object> document = Scan.document(settings, path);
                document.put("source_url", path);
                Set<String> links = new LinkedHashSet<>();
                boolean feed = false;
                if (HTML.contains(page.mediaType())) {
                    Document html = html(page);
                    html.select("a[href]").forEach(link -> link(links, link.absUrl("href")));
                    html.select("script, style, noscript, svg, iframe, template")
                            .remove();
                    document.put("content", html.outerHtml());
                    document.put("content_type", "text/html");
                } else if (Contents.isPacked(page.mediaType())) {
                    Contents.packed(page.mediaType(), page.body(), document);
                } else if (page.mediaType().endsWith("xml")) {
                    feed = true;
                    feed(page).forEach(link -> link(links, link));
                } else if (page.mediaType().startsWith("text/")
                        || page.mediaType().endsWith("json")) {
                    document.put("content", Contents.text(page.body()));
                    document.put("content_type", page.mediaType());
                } else {
                    return new Step.Skipped(path, page.mediaType() + " is no text");
                }
                for (String link : links) {
                    if (feed || target.depth() > 0) {
                        follow(target, URI.create(link), feed);
                    }
                }
                Map<String, Object> offset = new HashMap<>();
                offset.put("definition", settings.definition());
                // a page whose links are not all remembered is read each time, or the pages behind the rest were gone
                boolean remembered = links.size() <= LINKS_KEPT;
                offset.put("etag", remembered ? page.etag() : "");
                offset.put("modified", remembered ? page.modified() : "");
                offset.put("checksum", checksum(page.body()));
                offset.put("kind", feed ? "feed" : "page");
                offset.put("links", links.stream().limit(LINKS_KEPT).collect(Collectors.joining("\n")));
                offset.put("lost", lost(before, links));
                boolean same = offset.get("checksum").equals(before.get("checksum"))
                        && offset.get("definition").equals(before.get("definition"));
                known.put(path, offset);
                if (feed) {
                    feeds = true;
                    return new Step.Unchanged(path);
                }
                pages.add(path);
                return same
                        ? new Step.Unchanged(path)
                        : new Step.Found(path, document, partition(settings, path), offset);
            } catch (NotADocumentException | IOException e) {
                return new Step.Skipped(path, String.valueOf(e.getMessage()));
            }
        }

        /**
         * Links that a page had before, to pages that are still there: they go at the end of the pass, and a process that ends before that
         * would not know of them.
         */
        private String lost(Map<String, Object> before, Set<String> links) {
            return ledTo(before)
                    .filter(link ->
                            !links.contains(link) && "page".equals(before(link).get("kind")))
                    .distinct()
                    .limit(LINKS_KEPT)
                    .collect(Collectors.joining("\n"));
        }

        /** All pages that a stored page leads to, or led to when their removal may not be written yet. */
        private static Stream<String> ledTo(Map<String, Object> before) {
            return Stream.of("links", "lost")
                    .flatMap(field ->
                            String.valueOf(before.getOrDefault(field, "")).lines());
        }

        private void follow(Target from, URI link, boolean item) {
            if (isWanted(link, item)) {
                if (item) {
                    items.add(link.toString());
                }
                visit(link, item ? 0 : from.depth() - 1);
            }
        }

        private boolean isWanted(URI link, boolean item) {
            boolean near = item || hosts.contains(String.valueOf(link.getHost()));
            return near && settings.patterns().take(relative(link));
        }

        /** What the patterns of a source are held against: the path below the host. */
        private static String relative(URI link) {
            String path = link.getPath() == null ? "" : link.getPath().replaceAll("^/+", "");
            return path.isEmpty() ? "index" : path;
        }

        private static void link(Set<String> links, String link) {
            try {
                URI uri = normal(new URI(link));
                if (uri.getHost() != null && ("http".equals(uri.getScheme()) || "https".equals(uri.getScheme()))) {
                    links.add(uri.toString());
                }
            } catch (URISyntaxException e) {
                // the page's own mistake
            }
        }

        private static Document html(Fetched.Page page) throws IOException {
            String charset = isCharset(page.charset()) ? page.charset() : null;
            return Jsoup.parse(
                    new ByteArrayInputStream(page.body()), charset, page.uri().toString());
        }

        /** Links of the items of RSS and Atom. */
        private static List<String> feed(Fetched.Page page) throws NotADocumentException {
            Document xml = Jsoup.parse(
                    new String(page.body(), StandardCharsets.UTF_8), page.uri().toString(), Parser.xmlParser());
            if (xml.selectFirst("rss, feed, RDF, rdf|RDF") == null) {
                throw new NotADocumentException("XML that is no feed");
            }
            return xml.select("item > link, entry > link").stream()
                    .filter(link -> !link.hasAttr("rel") || link.attr("rel").equals("alternate"))
                    .map(UrlSourceTask::target)
                    .filter(link -> !link.isEmpty())
                    .distinct()
                    .toList();
        }

        private static String checksum(byte[] body) {
            try {
                return HexFormat.of()
                        .formatHex(MessageDigest.getInstance("SHA-256").digest(body), 0, 16);
            } catch (NoSuchAlgorithmException e) {
                throw new IllegalStateException("every JDK has SHA-256", e);
            }
        }

        @Override
        public int found() {
            return visited.size();
        }

        /**
         * Once, since from then on it is known what was there; only when all pages were reached, since what an error hides is not gone;
         * never with feeds, whose items fall off and stay worth knowing.
         */
        @Override
        public Optional<Iterable<String>> everything() {
            Set<String> now = new LinkedHashSet<>(pages);
            now.removeAll(items);
            if (!complete) {
                now.addAll(lastLinked);
            }
            linked = now;
            again = true;
            boolean all = complete && !feeds && !told;
            told |= all;
            return all ? Optional.of(pages) : Optional.empty();
        }

        @Override
        public Map<String, Object> mark() {
            return Map.of("definition", settings.definition());
        }
    }

    private static boolean isCharset(String name) {
        try {
            return !name.isEmpty() && Charset.isSupported(name);
        } catch (IllegalCharsetNameException e) {
            return false;
        }
    }

    private static String target(Element link) {
        return link.hasAttr("href") ? link.absUrl("href") : link.text().strip();
    }
}
