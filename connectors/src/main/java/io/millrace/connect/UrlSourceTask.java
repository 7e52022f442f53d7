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
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.kafka.connect.storage.OffsetStorageReader;
import org.jsoup.Jsoup;
import org.jsoup.nodes.Document;
import org.jsoup.parser.Parser;
import org.jspecify.annotations.Nullable;

/**
 * Reads pages and feeds, and the pages they link to on the same host as far as {@code depth} says; the items of a feed always. A page
 * is asked for with its ETag and Last-Modified; where a server has neither, its checksum tells whether it changed. Every address is
 * visited once in a pass, so that loops of links end, and at most {@code max.documents} are.
 *
 * <p>An entry of a feed is the page it links to. The text in the feed, often only a summary, is taken where there is no such page to be
 * had and never was.
 */
public final class UrlSourceTask extends KnowledgeTask {
    private static final Set<String> HTML = Set.of("text/html", "application/xhtml+xml");
    private static final int LINKS_KEPT = 500;

    /** What is known of pages; kept between passes, since the stored offsets are flushed behind. */
    private final Map<String, Map<String, Object>> known = new HashMap<>();

    /** What the feeds held last: one that answers that it has not changed does not tell again. Bounded as the feeds are. */
    private final Map<String, List<Feed.Entry>> entries = new HashMap<>();

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
        /** Entries with a text of their own, by the address of their page. */
        private final Map<String, Feed.Entry> texts = new HashMap<>();

        /** What is to be told before the next page is asked for. */
        private final Deque<Step> ready = new ArrayDeque<>();

        private final Set<String> beyond = new HashSet<>();
        private @Nullable Deque<String> left;
        private final Set<String> hosts = new HashSet<>();
        /** Pages that links led to before this pass. */
        private final Set<String> lastLinked;

        private boolean complete = true;
        private boolean feeds;
        private int answered;
        private @Nullable String firstFailure;

        /**
         * A page to get.
         *
         * @param depth how many links further to go from there
         * @param declared whether the source names it; what it does not answer is the source's failure, and not that of a link
         */
        private record Target(URI uri, int depth, boolean declared) {
            String path() {
                return uri.toString();
            }
        }

        Pass(SourceSettings settings, OffsetStorageReader offsets, Fetcher http) throws ScanException {
            this.settings = settings;
            this.offsets = offsets;
            this.http = http;
            for (String location : settings.locations()) {
                try {
                    URI uri = normal(new URI(location));
                    hosts.add(String.valueOf(uri.getHost()));
                    visit(new Target(uri, settings.depth(), true));
                } catch (URISyntaxException e) {
                    throw new ScanException(location + " is no address: " + e.getReason(), e);
                }
            }
            Set<String> last = linked;
            this.lastLinked = last == null ? storedLinks() : last;
        }

        private void visit(Target target) {
            if (isNew(target.path())) {
                waiting.add(target);
            }
        }

        /** Whether this is seen for the first time in this pass, and may still be taken. */
        private boolean isNew(String path) {
            if (visited.contains(path)) {
                return false;
            }
            if (visited.size() < settings.maxDocuments()) {
                return visited.add(path);
            }
            complete = false;
            if (beyond.size() < settings.maxDocuments() && beyond.add(path)) {
                ready.add(new Step.Skipped(path, "more than " + settings.maxDocuments() + " documents"));
            }
            return false;
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
            Step told = ready.poll();
            if (told != null) {
                return Optional.of(told);
            }
            Target target = waiting.poll();
            if (target == null) {
                if (answered == 0 && firstFailure != null) {
                    throw new ScanException(firstFailure);
                }
                return Optional.ofNullable(unlinked().poll()).map(this::gone);
            }
            Map<String, Object> before = before(target.path());
            boolean same = settings.definition().equals(before.get("definition"))
                    // with a smaller bound what did not change may be too large
                    && Integer.toString(settings.maxBytes()).equals(before.get("max_bytes"))
                    && (!"feed".equals(before.get("kind")) || entries.containsKey(target.path()));
            try {
                Fetched fetched = http.get(
                        target.uri(),
                        same ? String.valueOf(before.getOrDefault("etag", "")) : "",
                        same ? String.valueOf(before.getOrDefault("modified", "")) : "");
                return Optional.of(
                        switch (fetched) {
                            case Fetched.Page page -> arrived(target, page, before);
                            case Fetched.Unchanged unchanged -> unchanged(target, before);
                            case Fetched.Gone gone -> gone(target, gone);
                            case Fetched.TooLarge large -> noDocument(target, large.reason(), before);
                            case Fetched.Failed failed -> failed(target, failed.reason(), before);
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
                Map<String, Object> before = before(target.path());
                if (!"page".equals(before.get("kind")) || !settings.definition().equals(before.get("definition"))) {
                    continue;
                }
                led.add(target.path());
                if (target.depth() > 0) {
                    int depth = target.depth() - 1;
                    ledTo(before)
                            .map(URI::create)
                            .filter(link -> isWanted(link, false) && seen.add(link.toString()))
                            .forEach(link -> next.add(new Target(link, depth, false)));
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

        private Step failed(Target target, String reason, Map<String, Object> before) {
            Step skipped = failed(target.path(), reason);
            Feed.Entry entry = texts.get(target.path());
            // a page that was read once stays: it is more than its summary
            return entry == null || "page".equals(before.get("kind")) ? skipped : text(target.path(), entry);
        }

        /** What is there is no document, or none any more. */
        private Step noDocument(Target target, String reason, Map<String, Object> before) {
            Step left = unreadable(target, reason);
            Object kind = before.get("kind");
            if (!(left instanceof Step.Skipped) || !("page".equals(kind) || "entry".equals(kind))) {
                // the feed has a text of it, or it never was one
                return left;
            }
            ready.add(left);
            return gone(target.path());
        }

        /** An answer that cannot be read. */
        private Step unreadable(Target target, String reason) {
            if (target.declared()) {
                return failed(target.path(), reason);
            }
            Feed.Entry entry = texts.get(target.path());
            return entry == null ? new Step.Skipped(target.path(), reason) : text(target.path(), entry);
        }

        private Step gone(Target target, Fetched.Gone gone) {
            Feed.Entry entry = texts.get(target.path());
            if (target.declared()) {
                ready.add(failed(target.path(), "HTTP " + gone.status()));
            } else if (entry != null) {
                return text(target.path(), entry);
            }
            return gone(target.path());
        }

        private Step gone(String path) {
            known.put(path, Map.of());
            return new Step.Gone(path, partition(settings, path), Map.of("gone", "true"));
        }

        private Step unchanged(Target target, Map<String, Object> before) {
            answered++;
            if ("feed".equals(before.get("kind"))) {
                follow(entries.getOrDefault(target.path(), List.of()));
                return new Step.Unchanged(target.path());
            }
            pages.add(target.path());
            String.valueOf(before.getOrDefault("links", "")).lines().forEach(link -> follow(target, URI.create(link)));
            return new Step.Unchanged(target.path());
        }

        private Step arrived(Target target, Fetched.Page page, Map<String, Object> before) {
            String path = target.path();
            try {
                Map<String, Object> document = Scan.document(settings, path);
                document.put("source_url", path);
                Set<String> links = new LinkedHashSet<>();
                boolean feed = false;
                if (HTML.contains(page.mediaType())) {
                    Document html = parsed(page, Parser.htmlParser());
                    html.select("a[href]")
                            .forEach(link -> address(link.absUrl("href")).ifPresent(to -> links.add(to.toString())));
                    html.select("script, style, noscript, svg, iframe, template")
                            .remove();
                    document.put("content", html.outerHtml());
                    document.put("content_type", "text/html");
                } else if (Contents.isPacked(page.mediaType())) {
                    Contents.packed(page.mediaType(), page.body(), document);
                } else if (page.mediaType().endsWith("xml")) {
                    feed = true;
                    List<Feed.Entry> found = Feed.entries(path, parsed(page, Feed.parser()));
                    entries.put(path, found);
                    follow(found);
                } else if (page.mediaType().startsWith("text/")
                        || page.mediaType().endsWith("json")) {
                    document.put("content", Contents.text(page.body()));
                    document.put("content_type", page.mediaType());
                } else {
                    return noDocument(target, page.mediaType() + " is no text", before);
                }
                answered++;
                for (String link : links) {
                    follow(target, URI.create(link));
                }
                Map<String, Object> offset = new HashMap<>();
                offset.put("definition", settings.definition());
                offset.put("max_bytes", Integer.toString(settings.maxBytes()));
                // a page whose links are not all remembered is read each time, or the pages behind the rest were gone
                boolean remembered = links.size() <= LINKS_KEPT;
                offset.put("etag", remembered ? page.etag() : "");
                offset.put("modified", remembered ? page.modified() : "");
                offset.put("checksum", checksum(page.body()));
                offset.put("kind", feed ? "feed" : "page");
                offset.put("links", links.stream().limit(LINKS_KEPT).collect(Collectors.joining("\n")));
                offset.put("lost", lost(before, links));
                if (feed) {
                    feeds = true;
                    known.put(path, offset);
                    return new Step.Unchanged(path);
                }
                pages.add(path);
                return read(path, document, offset);
            } catch (NotADocumentException e) {
                return noDocument(target, String.valueOf(e.getMessage()), before);
            } catch (IOException e) {
                return unreadable(target, String.valueOf(e.getMessage()));
            }
        }

        /** A document that was read, unless it is the one that was read before. */
        private Step read(String path, Map<String, Object> document, Map<String, Object> offset) {
            Map<String, Object> before = before(path);
            known.put(path, offset);
            return Stream.of("checksum", "definition", "max_bytes", "kind")
                            .allMatch(field -> Objects.equals(offset.get(field), before.get(field)))
                    ? new Step.Unchanged(path)
                    : new Step.Found(path, document, partition(settings, path), offset);
        }

        /** The document of an entry's own text. */
        private Step text(String path, Feed.Entry entry) {
            Map<String, Object> document = Scan.document(settings, path);
            document.put("source_url", entry.link().isEmpty() ? entry.feed() : entry.link());
            document.put("content", entry.html());
            document.put("content_type", "text/html");
            return read(
                    path,
                    document,
                    Map.of(
                            "definition", settings.definition(),
                            "checksum", checksum(entry.html().getBytes(StandardCharsets.UTF_8)),
                            "kind", "entry"));
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

        private void follow(Target from, URI link) {
            if (from.depth() > 0 && isWanted(link, false)) {
                visit(new Target(link, from.depth() - 1, false));
            }
        }

        /** Goes on to the pages of a feed's entries, and takes the text of those without one. */
        private void follow(List<Feed.Entry> found) {
            for (Feed.Entry entry : found) {
                Optional<URI> link = address(entry.link());
                if (link.isPresent()) {
                    if (isWanted(link.get(), true)) {
                        String page = link.get().toString();
                        items.add(page);
                        if (!entry.text().isEmpty()) {
                            texts.putIfAbsent(page, entry);
                        }
                        visit(new Target(link.get(), 0, false));
                    }
                } else if (entry.text().isEmpty()) {
                    ready.add(new Step.Skipped(entry.path(), "an entry without a link or a text: " + entry.title()));
                } else if (isNew(entry.path())) {
                    ready.add(text(entry.path(), entry));
                }
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

        /** A link that can be followed; what else pages and feeds have in its place is their own mistake. */
        private static Optional<URI> address(String link) {
            try {
                URI uri = normal(new URI(link));
                boolean web = "http".equals(uri.getScheme()) || "https".equals(uri.getScheme());
                return web && uri.getHost() != null ? Optional.of(uri) : Optional.empty();
            } catch (URISyntaxException e) {
                return Optional.empty();
            }
        }

        private static Document parsed(Fetched.Page page, Parser parser) throws IOException {
            String charset = isCharset(page.charset()) ? page.charset() : null;
            return Jsoup.parse(
                    new ByteArrayInputStream(page.body()), charset, page.uri().toString(), parser);
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
            return complete && !feeds && !told ? Optional.of(pages) : Optional.empty();
        }

        @Override
        public Map<String, Object> mark() {
            // here, for a pass whose list is too long to be sent did not tell
            told |= complete && !feeds;
            return Map.of("definition", settings.definition());
        }
    }

    /** Of 128 bits. */
    static String checksum(byte[] body) {
        try {
            return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(body), 0, 16);
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every JDK has SHA-256", e);
        }
    }

    private static boolean isCharset(String name) {
        try {
            return !name.isEmpty() && Charset.isSupported(name);
        } catch (IllegalCharsetNameException e) {
            return false;
        }
    }
}
