package io.millrace.connect;

import io.millrace.connect.Contents.NotADocumentException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.stream.Stream;
import org.jsoup.nodes.Document;
import org.jsoup.nodes.Element;
import org.jsoup.nodes.Entities;
import org.jsoup.parser.Parser;

/** RSS and Atom, read leniently: what many write is not quite XML. One that breaks off is told, since what is missing is not known. */
final class Feed {
    /** Where the text of an entry may be, the whole of it before a summary. */
    private static final List<String> TEXTS = List.of("content:encoded", "content", "description", "summary");

    private Feed() {}

    /**
     * What a feed tells of.
     *
     * @param feed its address
     * @param link to its page, or empty
     * @param id what the feed knows it by, or empty
     * @param text its own, as HTML, or empty
     */
    record Entry(String feed, String link, String id, String title, String text) {
        /** What it is known by without a page. An id that is no address is one of its feed only. */
        String path() {
            String name = id.isEmpty() ? UrlSourceTask.checksum((title + text).getBytes(StandardCharsets.UTF_8)) : id;
            return name.contains(":") ? name : feed + "#" + name;
        }

        /** Its document. */
        String html() {
            return (title.isBlank() ? "" : "<h1>" + Entities.escape(title) + "</h1>\n") + text;
        }
    }

    /** A parser that knows where elements end. */
    static Parser parser() {
        return Parser.xmlParser().setTrackPosition(true);
    }

    /** @param feed its address */
    static List<Entry> entries(String feed, Document xml) throws NotADocumentException {
        Element root = xml.selectFirst("rss, feed, RDF, rdf|RDF");
        if (root == null) {
            throw new NotADocumentException("XML that is no feed");
        }
        if (root.endSourceRange().isImplicit()) {
            throw new NotADocumentException("the feed breaks off: its " + root.tagName() + " has no end");
        }
        return root.select("item, entry").stream()
                .map(item -> new Entry(feed, link(item), id(item), title(item), text(item)))
                .toList();
    }

    private static Stream<Element> children(Element item, String name) {
        return item.children().stream().filter(child -> child.normalName().equals(name));
    }

    private static String link(Element item) {
        return children(item, "link")
                .filter(link -> !link.hasAttr("rel") || link.attr("rel").equals("alternate"))
                .map(link ->
                        link.hasAttr("href") ? link.absUrl("href") : link.text().strip())
                .filter(link -> !link.isEmpty())
                .findFirst()
                .or(() -> permalink(item))
                .orElse("");
    }

    /** The guid of RSS is the address of the page, unless it says otherwise. */
    private static Optional<String> permalink(Element item) {
        return children(item, "guid")
                .filter(guid -> !guid.attr("isPermaLink").equals("false"))
                .map(guid -> guid.text().strip())
                .filter(guid -> guid.startsWith("http://") || guid.startsWith("https://"))
                .findFirst();
    }

    private static String id(Element item) {
        return Stream.of("guid", "id")
                .flatMap(name -> children(item, name))
                .map(id -> id.text().strip())
                .filter(id -> !id.isEmpty())
                .findFirst()
                .orElse("");
    }

    private static String title(Element item) {
        return children(item, "title").map(Element::text).findFirst().orElse("");
    }

    private static String text(Element item) {
        boolean atom = item.normalName().equals("entry");
        return TEXTS.stream()
                .flatMap(name -> children(item, name))
                .map(text -> html(text, atom))
                .filter(text -> !text.isBlank())
                .findFirst()
                .orElse("");
    }

    /** RSS has HTML in its texts, Atom says what it has. */
    private static String html(Element text, boolean atom) {
        return switch (text.attr("type").toLowerCase(Locale.ROOT)) {
            case "xhtml" -> text.html();
            case "html", "text/html" -> text.wholeText();
            case "", "text", "text/plain" -> atom ? Entities.escape(text.wholeText()) : text.wholeText();
            default -> "";
        };
    }
}
