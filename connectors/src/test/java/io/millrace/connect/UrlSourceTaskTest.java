package io.millrace.connect;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.sun.net.httpserver.HttpServer;
import io.millrace.connect.Passes.Pass;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Against a web server of its own. */
class UrlSourceTaskTest {
    /** What is at a path: status, content type, body and ETag, or where it redirects to. */
    private record Page(int status, String type, String body, String etag, String location) {}

    private final Map<String, Page> site = new ConcurrentHashMap<>();
    /** Content-Encoding and body of what is not sent as it is. */
    private final Map<String, Map.Entry<String, byte[]>> packed = new ConcurrentHashMap<>();
    /** Path and status, in order. */
    private final List<String> asked = new CopyOnWriteArrayList<>();

    private HttpServer server = start();
    private String base = "";
    private Passes passes = new Passes(UrlSourceTask::new, "");

    private HttpServer start() {
        try {
            HttpServer made = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
            made.createContext("/", exchange -> {
                String path = exchange.getRequestURI().getPath();
                Page page = site.getOrDefault(path, new Page(404, "text/plain", "", "", ""));
                int status = page.status();
                if (!page.etag().isEmpty()
                        && page.etag().equals(exchange.getRequestHeaders().getFirst("If-None-Match"))) {
                    status = 304;
                }
                asked.add(path + " " + status);
                exchange.getResponseHeaders().add("Content-Type", page.type());
                if (!page.etag().isEmpty()) {
                    exchange.getResponseHeaders().add("ETag", page.etag());
                }
                if (!page.location().isEmpty()) {
                    exchange.getResponseHeaders().add("Location", page.location());
                }
                byte[] body = status == 200 ? page.body().getBytes(StandardCharsets.UTF_8) : new byte[0];
                if (packed.containsKey(path)) {
                    exchange.getResponseHeaders()
                            .add("Content-Encoding", packed.get(path).getKey());
                    body = packed.get(path).getValue();
                }
                exchange.sendResponseHeaders(status, body.length == 0 ? -1 : body.length);
                exchange.getResponseBody().write(body);
                exchange.close();
            });
            made.start();
            return made;
        } catch (IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
    }

    @BeforeEach
    void open() {
        base = "http://127.0.0.1:" + server.getAddress().getPort();
        passes = new Passes(UrlSourceTask::new, base + "/").set(SourceSettings.ALLOW, "127.0.0.1");
    }

    @AfterEach
    void close() {
        passes.restart();
        server.stop(0);
    }

    private void html(String path, String body, String etag) {
        site.put(path, new Page(200, "text/html; charset=utf-8", "<html><body>" + body + "</body></html>", etag, ""));
    }

    private static String link(String path) {
        return "<a href='" + path + "'>link</a>";
    }

    @Test
    void shouldVisitEachPageOfALoopOfLinksOnceAndOnlyAsDeepAsItMay() throws Exception {
        html("/", "top" + link("/a"), "");
        html("/a", "a" + link("/b") + link("/") + link("/a"), "");
        html("/b", "b" + link("/a") + link("/c"), "");
        html("/c", "c", "");

        Pass pass = passes.set(SourceSettings.DEPTH, "2").run();

        assertThat(pass.found()).containsOnlyKeys(base + "/", base + "/a", base + "/b");
        assertThat(asked).containsExactlyInAnyOrder("/ 200", "/a 200", "/b 200");
        assertThat(pass.everything()).hasValue(List.of(base + "/", base + "/a", base + "/b"));
    }

    /** One link of one page must not be the end of a source. */
    @Test
    void shouldGoOnWhenALinkIsNoPathThatAFileCouldHave() throws Exception {
        html("/", "top" + link("/a%00b") + link("/b"), "");
        html("/b", "b", "");

        Pass pass = passes.set(SourceSettings.DEPTH, "1").run();

        assertThat(pass.found()).containsOnlyKeys(base + "/", base + "/b");
    }

    /** Connect finds an offset by the bytes of its partition: they must be the same in the next process. */
    @Test
    void shouldNameAPartitionTheSameInEachProcess() {
        SourceSettings settings = new SourceSettings(Map.of(
                SourceSettings.SOURCE, "s",
                SourceSettings.TOPIC, "raw.s",
                SourceSettings.LOCATION, "http://localhost/",
                SourceSettings.COLLECTION, "c"));

        assertThat(KnowledgeTask.partition(settings, "p").toString()).isEqualTo("{path=p, source=s}");
    }

    @Test
    void shouldEndALoopOfRedirectsAndRefuseThoseToPrivateAddresses() throws Exception {
        html("/", "top" + link("/round") + link("/inside") + link("/file"), "");
        site.put("/round", new Page(302, "text/html", "", "", "/round"));
        site.put("/inside", new Page(302, "text/html", "", "", "http://127.0.0.2:9/secret"));
        site.put("/file", new Page(302, "text/html", "", "", "file:///etc/hostname"));

        Pass pass = passes.set(SourceSettings.DEPTH, "1").run();

        assertThat(pass.found()).containsOnlyKeys(base + "/");
        assertThat(pass.skipped())
                .containsEntry(base + "/round", "more than 5 redirects")
                .containsEntry(
                        base + "/inside",
                        "redirects to http://127.0.0.2:9/secret, 127.0.0.2 has the private address 127.0.0.2;"
                                + " put it into allow if that is meant")
                .containsEntry(base + "/file", "redirects to file:///etc/hostname, which is neither http nor https");
        // what an error hides is not gone
        assertThat(pass.everything()).isEmpty();
    }

    @Test
    void shouldFailWhenTheOnlyPageIsOnAPrivateAddress() {
        passes.set(SourceSettings.ALLOW, "");

        assertThatThrownBy(passes::run)
                .isInstanceOf(Scan.ScanException.class)
                .hasMessageContaining("127.0.0.1 has the private address 127.0.0.1");
        assertThat(asked).isEmpty();
    }

    @Test
    void shouldAskWithTheETagAndFollowTheLinksOfWhatDidNotChange() throws Exception {
        html("/", "top" + link("/a"), "\"1\"");
        html("/a", "a", "");
        passes.set(SourceSettings.DEPTH, "1").run();
        passes.restart();
        asked.clear();

        Pass second = passes.run();

        assertThat(asked).containsExactly("/ 304", "/a 200");
        // without an ETag the checksum tells
        assertThat(second.found()).isEmpty();
        assertThat(second.unchanged()).containsExactlyInAnyOrder(base + "/", base + "/a");
        assertThat(second.everything()).hasValue(List.of(base + "/", base + "/a"));
        site.remove("/a");
        assertThat(passes.run().gone()).containsExactly(base + "/a");
    }

    /** Only so many links are remembered; those behind the rest were deleted when such a page had not changed. */
    @Test
    void shouldLoseNothingBehindAPageWithVeryManyLinks() throws Exception {
        List<String> links = new ArrayList<>();
        for (int i = 0; i < 600; i++) {
            links.add("/p" + i);
            html("/p" + i, "page " + i, "");
        }
        html("/", links.stream().map(UrlSourceTaskTest::link).collect(Collectors.joining()), "\"1\"");
        assertThat(passes.set(SourceSettings.DEPTH, "1").run().found()).hasSize(601);
        passes.restart();

        Pass second = passes.run();

        assertThat(second.found()).isEmpty();
        assertThat(second.everything().orElseThrow())
                .hasSize(601)
                .containsAll(
                        IntStream.range(0, 600).mapToObj(i -> base + "/p" + i).toList());
    }

    @Test
    void shouldReadTheItemsOfFeedsAndKeepThoseThatFallOff() throws Exception {
        passes.set(SourceSettings.LOCATION, base + "/rss\n" + base + "/atom");
        site.put("/rss", new Page(200, "application/rss+xml", rss("/one", "/two"), "", ""));
        site.put(
                "/atom",
                new Page(
                        200,
                        "application/atom+xml",
                        "<feed xmlns='http://www.w3.org/2005/Atom'><link href='/self' rel='self'/><entry><link"
                                + " rel='alternate' href='" + base + "/three'/></entry></feed>",
                        "",
                        ""));
        html("/one", "1", "");
        html("/two", "2", "");
        html("/three", "3", "");
        assertThat(passes.run().found()).containsOnlyKeys(base + "/one", base + "/two", base + "/three");

        site.put("/rss", new Page(200, "application/rss+xml", rss("/two"), "", ""));
        Pass second = passes.run();

        assertThat(second.gone()).isEmpty();
        assertThat(second.everything()).isEmpty();
        site.put("/rss", new Page(200, "application/rss+xml", "<other/>", "", ""));
        assertThat(passes.run().skipped()).containsEntry(base + "/rss", "XML that is no feed");
    }

    /** Which pages there were was known to a process that is gone; with a feed no list of all pages tells what is missing in it. */
    @Test
    void shouldForgetAPageThatLostItsLinkWhileNothingRanAlsoBesideAFeed() throws Exception {
        passes.set(SourceSettings.LOCATION, base + "/\n" + base + "/rss").set(SourceSettings.DEPTH, "2");
        site.put("/rss", new Page(200, "application/rss+xml", rss("/item"), "", ""));
        html("/item", "item", "");
        html("/", "top" + link("/list"), "");
        html("/list", "list" + link("/old") + link("/kept"), "\"1\"");
        html("/old", "old", "\"1\"");
        html("/kept", "kept", "\"1\"");
        passes.run();
        passes.restart();
        html("/list", "list" + link("/kept"), "\"2\"");
        site.put("/rss", new Page(200, "application/rss+xml", rss(), "", ""));

        Pass after = passes.run();

        assertThat(after.gone()).as("what falls off a feed stays").containsExactly(base + "/old");
        assertThat(after.everything()).isEmpty();
        assertThat(passes.run().gone()).isEmpty();
        passes.restart();
        assertThat(passes.run().gone()).isEmpty();
    }

    /** The page without the link is stored, what was behind the link is not taken away yet; and nothing but offsets tells of it. */
    @Test
    void shouldForgetAPageThatLostItsLinkInAPassThatWasCutShortAlsoBesideAFeed() throws Exception {
        passes.set(SourceSettings.LOCATION, base + "/\n" + base + "/rss").set(SourceSettings.DEPTH, "2");
        site.put("/rss", new Page(200, "application/rss+xml", rss(), "", ""));
        html("/", "top" + link("/old") + link("/kept"), "\"1\"");
        html("/old", "old" + link("/older"), "\"1\"");
        html("/older", "older", "\"1\"");
        html("/kept", "kept", "\"1\"");
        passes.run();
        html("/", "top" + link("/kept"), "\"2\"");
        passes.cut(1);
        html("/", "top " + link("/kept"), "\"3\"");
        passes.cut(1);

        assertThat(passes.run().gone()).containsExactly(base + "/old", base + "/older");
        passes.restart();
        assertThat(passes.run().gone()).isEmpty();
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void shouldSendAPageAgainThatIsLinkedAgainAsItWas(boolean whileNothingRan) throws Exception {
        passes.set(SourceSettings.DEPTH, "1");
        html("/", "top" + link("/old"), "\"1\"");
        html("/old", "old", "\"1\"");
        passes.run();
        passes.restart();
        html("/", "top", "\"2\"");
        assertThat(passes.run().gone()).containsExactly(base + "/old");
        if (whileNothingRan) {
            passes.restart();
        }
        html("/", "top" + link("/old"), "\"3\"");

        assertThat(passes.run().found()).containsKey(base + "/old");
        assertThat(passes.run().unchanged()).contains(base + "/old");
    }

    /** A kill between a page that lost a link and what was behind that: its end is not in the offsets, only its page is. */
    @Test
    void shouldNotTrustWhatIsStoredOfAPageThatNobodyLinkedInThePassBefore() throws Exception {
        passes.set(SourceSettings.DEPTH, "1");
        html("/", "top" + link("/old"), "\"1\"");
        html("/old", "old", "\"1\"");
        passes.run();
        html("/", "top", "\"2\"");
        passes.cut(1);
        assertThat(passes.run().everything()).as("the list of all deletes it").hasValue(List.of(base + "/"));
        html("/", "top" + link("/old"), "\"3\"");

        assertThat(passes.run().found()).containsKey(base + "/old");
    }

    private String rss(String... items) {
        return "<rss><channel>"
                + java.util.Arrays.stream(items)
                        .map(item -> "<item><link>" + base + item + "</link></item>")
                        .collect(Collectors.joining())
                + "</channel></rss>";
    }

    @Test
    void shouldTakeNothingAwayWhenTheSiteIsAwayOrBroken() throws Exception {
        html("/", "top" + link("/a"), "");
        html("/a", "a", "");
        passes.set(SourceSettings.DEPTH, "1").run();
        passes.restart();
        site.put("/a", new Page(500, "text/html", "", "", ""));

        Pass broken = passes.run();
        assertThat(broken.skipped()).containsEntry(base + "/a", "HTTP 500");
        assertThat(broken.gone()).isEmpty();
        assertThat(broken.everything()).isEmpty();

        server.stop(0);
        assertThatThrownBy(passes::run).isInstanceOf(Scan.ScanException.class).hasMessageStartingWith(base + "/: ");
    }

    @Test
    void shouldSkipWhatIsTooLargeOrNoText() throws Exception {
        html("/", "top" + link("/large") + link("/image"), "");
        site.put("/large", new Page(200, "text/plain", "x".repeat(2_000), "", ""));
        site.put("/image", new Page(200, "image/png", "png", "", ""));

        Pass pass = passes.set(SourceSettings.DEPTH, "1")
                .set(SourceSettings.MAX_BYTES, "1000")
                .run();

        assertThat(pass.skipped())
                .containsEntry(base + "/large", "more than the 1000 bytes of max_bytes")
                .containsEntry(base + "/image", "image/png is no text");
    }

    /** The server said that nothing changed, and so it stayed. */
    @Test
    void shouldDeleteAPageThatIsTooLargeForASmallerBound() throws Exception {
        html("/", "top" + link("/large"), "");
        site.put("/large", new Page(200, "text/plain", "x".repeat(2_000), "\"v1\"", ""));
        passes.set(SourceSettings.DEPTH, "1").set(SourceSettings.MAX_BYTES, "3000");
        assertThat(passes.run().found()).hasSize(2);
        assertThat(passes.run().found()).isEmpty();
        passes.set(SourceSettings.MAX_BYTES, "1000").restart();

        assertThat(passes.run().gone()).containsExactly(base + "/large");
    }

    /** What was there before was answered from until the next process at the earliest. */
    @Test
    void shouldDeleteAPageThatBecomesTooLargeOrNoText() throws Exception {
        html("/", "top" + link("/large") + link("/image") + link("/away"), "");
        for (String path : List.of("/large", "/image", "/away")) {
            html(path, "text", "");
        }
        passes.set(SourceSettings.DEPTH, "1").set(SourceSettings.MAX_BYTES, "1000");
        assertThat(passes.run().found()).hasSize(4);
        site.put("/large", new Page(200, "text/plain", "x".repeat(2_000), "", ""));
        site.put("/image", new Page(200, "image/png", "png", "", ""));
        site.put("/away", new Page(500, "text/html", "", "", ""));

        Pass pass = passes.run();

        assertThat(pass.gone()).containsExactly(base + "/image", base + "/large");
        assertThat(pass.skipped())
                .containsEntry(base + "/large", "more than the 1000 bytes of max_bytes")
                .containsEntry(base + "/image", "image/png is no text");
        // once is enough
        assertThat(passes.run().gone()).isEmpty();
        html("/image", "text", "");
        assertThat(passes.run().found()).containsOnlyKeys(base + "/image");

        // one that the source names fails it, too
        site.put("/", new Page(200, "image/png", "png", "", ""));
        assertThat(passes.set(SourceSettings.LOCATION, base + "/\n" + base + "/image")
                        .run()
                        .gone())
                .containsExactly(base + "/");
    }

    private void feed(String path, String xml) {
        site.put(path, new Page(200, "application/xml", xml, "", ""));
    }

    /** It was told as success: idle, no document, no reason. */
    @ParameterizedTest
    @ValueSource(ints = {404, 410, 403, 401})
    void shouldFailWhenTheOnlyPageIsNotThere(int status) {
        site.put("/", new Page(status, "text/html", "", "", ""));

        assertThatThrownBy(passes::run).isInstanceOf(Scan.ScanException.class).hasMessage(base + "/: HTTP " + status);
    }

    @Test
    void shouldTellOfAPageThatIsNotThereBesideOneThatIsAndTakeNothingAwayBehindIt() throws Exception {
        passes.set(SourceSettings.LOCATION, base + "/\n" + base + "/other").set(SourceSettings.DEPTH, "1");
        html("/", "top", "");
        html("/other", "other" + link("/a") + link("/missing"), "");
        html("/a", "a", "");
        Pass first = passes.run();
        assertThat(first.skipped()).as("what is merely linked may be missing").isEmpty();
        assertThat(first.found()).containsOnlyKeys(base + "/", base + "/other", base + "/a");
        site.remove("/other");

        Pass second = passes.run();

        assertThat(second.skipped()).containsOnly(Map.entry(base + "/other", "HTTP 404"));
        assertThat(second.gone()).containsExactly(base + "/other");
        assertThat(second.everything()).isEmpty();
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "<rss><channel><item><title>half",
                "<?xml version='1.0'?><rss><channel><item><title>a</title></item></channel>",
                "<feed xmlns='http://www.w3.org/2005/Atom'><entry><id>urn:1</id>",
                "<other/>",
                ""
            })
    void shouldFailWhenTheOnlyFeedCannotBeRead(String broken) {
        feed("/", broken);

        assertThatThrownBy(passes::run)
                .isInstanceOf(Scan.ScanException.class)
                .message()
                .startsWith(base + "/: ")
                .containsAnyOf("the feed breaks off: its ", "XML that is no feed");
    }

    @Test
    void shouldListAFeedThatBreaksOffBesideAPageAndReadItWhenItIsWhole() throws Exception {
        passes.set(SourceSettings.LOCATION, base + "/\n" + base + "/rss");
        html("/", "top", "");
        feed("/rss", "<rss><channel><item><title>half");

        Pass broken = passes.run();
        assertThat(broken.skipped()).containsOnly(Map.entry(base + "/rss", "the feed breaks off: its rss has no end"));
        assertThat(broken.everything()).isEmpty();

        feed("/rss", rss("/item"));
        html("/item", "item", "");
        assertThat(passes.run().found()).containsOnlyKeys(base + "/item");
    }

    /** Stored gzip, as on object stores, comes whether it was asked for or not; it was indexed as it came. */
    @Test
    void shouldUnpackWhatIsSentPacked() throws Exception {
        String text = "<html><body>The sluice is open.</body></html>";
        html("/", link("/gzip") + link("/zlib") + link("/raw") + link("/br") + link("/no"), "");
        for (String path : List.of("/gzip", "/zlib", "/raw", "/br", "/no")) {
            html(path, "", "");
        }
        packed.put("/gzip", Map.entry("gzip", gzip(text.getBytes(StandardCharsets.UTF_8))));
        packed.put("/zlib", Map.entry("deflate", deflate(text, false)));
        packed.put("/raw", Map.entry("Deflate", deflate(text, true)));
        packed.put("/br", Map.entry("br", new byte[] {1, 2, 3}));
        packed.put("/no", Map.entry("gzip", text.getBytes(StandardCharsets.UTF_8)));

        Pass pass = passes.set(SourceSettings.DEPTH, "1").run();

        for (String path : List.of("/gzip", "/zlib", "/raw")) {
            assertThat(pass.found().get(base + path)).as(path).contains("The sluice is open.");
        }
        assertThat(pass.skipped())
                .containsOnlyKeys(base + "/br", base + "/no")
                .containsEntry(base + "/br", "its Content-Encoding br cannot be read");
        assertThat(pass.skipped().get(base + "/no")).contains("Not in GZIP format");
    }

    @Test
    void shouldStopUnpackingABombAtTheLimitOfAPlainBody() throws Exception {
        html("/", link("/bomb") + link("/zbomb") + link("/half"), "");
        for (String path : List.of("/bomb", "/zbomb", "/half")) {
            html(path, "", "");
        }
        packed.put("/bomb", Map.entry("gzip", gzip(new byte[200 << 20])));
        packed.put("/zbomb", Map.entry("deflate", deflate("a".repeat(50 << 20), false)));
        packed.put(
                "/half",
                Map.entry(
                        "gzip", java.util.Arrays.copyOf(gzip("abc".repeat(99).getBytes(StandardCharsets.UTF_8)), 15)));

        Pass pass = passes.set(SourceSettings.DEPTH, "1")
                .set(SourceSettings.MAX_BYTES, "1000")
                .run();

        assertThat(pass.found()).containsOnlyKeys(base + "/");
        assertThat(pass.skipped())
                .containsEntry(base + "/bomb", "more than the 1000 bytes of max_bytes")
                .containsEntry(base + "/zbomb", "more than the 1000 bytes of max_bytes");
        assertThat(pass.skipped().get(base + "/half")).startsWith("broke off: ");
    }

    private static byte[] gzip(byte[] bytes) throws IOException {
        java.io.ByteArrayOutputStream out = new java.io.ByteArrayOutputStream();
        try (java.util.zip.GZIPOutputStream gzip = new java.util.zip.GZIPOutputStream(out)) {
            gzip.write(bytes);
        }
        return out.toByteArray();
    }

    private static byte[] deflate(String text, boolean raw) throws IOException {
        java.io.ByteArrayOutputStream out = new java.io.ByteArrayOutputStream();
        try (java.util.zip.DeflaterOutputStream deflate =
                new java.util.zip.DeflaterOutputStream(out, new java.util.zip.Deflater(-1, raw))) {
            deflate.write(text.getBytes(StandardCharsets.UTF_8));
        }
        return out.toByteArray();
    }

    /** They vanished without a word. */
    @Test
    void shouldTakeTheTextOfEntriesThatHaveNoPage() throws Exception {
        passes.set(SourceSettings.LOCATION, base + "/rss\n" + base + "/atom");
        feed("/rss", """
                <rss xmlns:content="http://purl.org/rss/1.0/modules/content/"><channel>
                <item><title>Lock &amp; key</title><guid isPermaLink="false">item-1</guid>
                  <description>short</description><content:encoded><![CDATA[<p>The lock is shut.</p>]]></content:encoded></item>
                <item><guid isPermaLink="false">item-2</guid><description>&lt;b&gt;The weir&lt;/b&gt; is low.</description></item>
                <item><title>Nothing</title><guid isPermaLink="false">item-3</guid></item>
                <item><title>No id</title><link>mailto:a@example.org</link><description>The ferry runs.</description></item>
                </channel></rss>
                """);
        feed("/atom", """
                <feed xmlns="http://www.w3.org/2005/Atom">
                <entry><id>tag:example.org,2026:1</id><title>Gate</title><summary>short</summary>
                  <content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>The gate is new.</p></div></content></entry>
                <entry><id>tag:example.org,2026:2</id><summary>a &lt; b</summary></entry>
                </feed>
                """);

        Pass pass = passes.run();

        assertThat(pass.found()).hasSize(5);
        assertThat(pass.found().get(base + "/rss#item-1"))
                .isEqualTo("<h1>Lock &amp; key</h1>\n<p>The lock is shut.</p>");
        assertThat(pass.found().get(base + "/rss#item-2")).isEqualTo("<b>The weir</b> is low.");
        assertThat(pass.found().get("tag:example.org,2026:1"))
                .contains("<h1>Gate</h1>")
                .contains("<p>The gate is new.</p>");
        assertThat(pass.found().get("tag:example.org,2026:2")).isEqualTo("a &lt; b");
        assertThat(pass.found().values()).anyMatch(text -> text.contains("The ferry runs."));
        assertThat(pass.skipped())
                .containsOnly(Map.entry(base + "/rss#item-3", "an entry without a link or a text: Nothing"));

        Pass second = passes.run();
        assertThat(second.found()).isEmpty();
        assertThat(second.unchanged()).contains(base + "/rss#item-1", "tag:example.org,2026:1");
    }

    @Test
    void shouldTakeTheTextOfAnEntryWhosePageIsNotToBeHadAndThePageWhenItIs() throws Exception {
        passes.set(SourceSettings.LOCATION, base + "/rss");
        String xml = "<rss><channel>";
        for (String path :
                List.of(base + "/missing", "http://127.0.0.2:9/private", base + "/broken", base + "/image")) {
            xml += "<item><link>" + path + "</link><description>The text of " + path + "</description></item>";
        }
        // the address of a page is its guid where there is no link
        xml += "<item><guid>" + base + "/guid</guid><description>short</description></item>";
        site.put("/rss", new Page(200, "application/rss+xml", xml + "</channel></rss>", "\"1\"", ""));
        site.put("/broken", new Page(500, "text/html", "", "", ""));
        site.put("/image", new Page(200, "image/png", "png", "", ""));
        html("/guid", "the whole page", "");

        Pass first = passes.run();

        assertThat(first.found())
                .containsOnlyKeys(
                        base + "/missing",
                        "http://127.0.0.2:9/private",
                        base + "/broken",
                        base + "/image",
                        base + "/guid")
                .containsEntry(base + "/missing", "The text of " + base + "/missing");
        assertThat(first.found().get(base + "/guid")).contains("the whole page");

        // the feed has not changed, and does not tell its entries again
        asked.clear();
        html("/missing", "here it is", "");
        Pass second = passes.run();
        assertThat(asked).contains("/rss 304");
        assertThat(second.found()).containsOnlyKeys(base + "/missing");
        assertThat(second.found().get(base + "/missing")).contains("here it is");
        assertThat(second.gone()).isEmpty();

        // a page that was read once is more than its summary, unless it is gone
        site.put("/missing", new Page(500, "text/html", "", "", ""));
        Pass third = passes.run();
        assertThat(third.found()).isEmpty();
        assertThat(third.skipped()).containsEntry(base + "/missing", "HTTP 500");
        site.remove("/missing");
        assertThat(passes.run().found()).containsEntry(base + "/missing", "The text of " + base + "/missing");

        // nor does a new process lose them
        passes.restart();
        Pass after = passes.run();
        assertThat(after.found()).isEmpty();
        assertThat(after.gone()).isEmpty();
        assertThat(after.unchanged()).contains(base + "/missing", base + "/broken");
    }

    @Test
    void shouldSayWhatIsBeyondMaxDocuments() throws Exception {
        html("/", "top" + link("/a") + link("/b") + link("/c") + link("/"), "");
        html("/a", "a" + link("/c"), "");

        Pass pass = passes.set(SourceSettings.DEPTH, "2")
                .set(SourceSettings.MAX_DOCUMENTS, "2")
                .run();

        assertThat(pass.found()).containsOnlyKeys(base + "/", base + "/a");
        assertThat(pass.skipped())
                .containsOnly(
                        Map.entry(base + "/b", "more than 2 documents"),
                        Map.entry(base + "/c", "more than 2 documents"));
        assertThat(pass.everything()).isEmpty();
    }
}
