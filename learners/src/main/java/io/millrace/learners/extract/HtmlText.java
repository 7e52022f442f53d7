package io.millrace.learners.extract;

import java.util.Locale;
import org.jsoup.Jsoup;
import org.jsoup.nodes.Document;
import org.jsoup.nodes.Element;
import org.jsoup.nodes.Node;
import org.jsoup.nodes.TextNode;

/**
 * The text of a page as Markdown, since the chunker knows its headings, lists and code: navigation, headers, footers and forms are left
 * out, and where the page says what its main part is, the rest is too.
 */
public final class HtmlText {
    /** A page whose main part holds less than this share of its text has named it wrongly. */
    private static final double MAIN_SHARE = 0.25;

    private static final int DEEPEST = 200;

    private final StringBuilder out = new StringBuilder();

    private HtmlText() {}

    /**
     * A page.
     *
     * @param title empty when it has none
     */
    public record Page(String title, String text) {}

    /** Reads HTML, however broken. */
    public static Page of(String html) {
        Document document = Jsoup.parse(html);
        Element main = document.selectFirst("main, article, [role=main]");
        Element body = document.body();
        boolean named =
                main != null && main.text().length() > MAIN_SHARE * body.text().length();
        Element root = named && main != null ? main : body;
        root.select(
                        "nav, header, footer, aside, form, script, style, noscript, svg, iframe, template, button, a.headerlink")
                .remove();
        HtmlText text = new HtmlText();
        text.children(root, 0);
        return new Page(
                document.title().strip(),
                text.out
                        .toString()
                        // each run once, and not from each of its characters again
                        .replaceAll("(?<![ \\t])[ \\t]++\\n", "\n")
                        .replaceAll("\\n{3,}", "\n\n")
                        .strip());
    }

    private void children(Element element, int depth) {
        for (Node child : element.childNodes()) {
            if (child instanceof TextNode text) {
                append(text.text());
            } else if (child instanceof Element below && depth < DEEPEST) {
                element(below, depth + 1);
            }
        }
    }

    private void element(Element element, int depth) {
        String tag = element.tagName().toLowerCase(Locale.ROOT);
        switch (tag) {
            case "h1", "h2", "h3", "h4", "h5", "h6" -> {
                block();
                out.append("#".repeat(tag.charAt(1) - '0'))
                        .append(' ')
                        .append(element.text().strip());
                block();
            }
            case "pre" -> {
                block();
                String code = element.wholeText().stripTrailing();
                String fence = code.contains("```") ? "~~~~" : "```";
                out.append(fence).append('\n').append(code).append('\n').append(fence);
                block();
            }
            case "code" -> out.append('`').append(element.text()).append('`');
            case "br" -> out.append('\n');
            case "li" -> {
                line();
                out.append("- ");
                children(element, depth);
                line();
            }
            case "tr" -> {
                line();
                for (Element cell : element.children()) {
                    out.append(out.isEmpty() || out.charAt(out.length() - 1) == '\n' ? "" : " | ");
                    out.append(cell.text().strip());
                }
                line();
            }
            case "p",
                    "div",
                    "section",
                    "article",
                    "main",
                    "blockquote",
                    "ul",
                    "ol",
                    "dl",
                    "table",
                    "figure",
                    "details" -> {
                block();
                children(element, depth);
                block();
            }
            case "dt", "dd", "summary", "caption", "figcaption" -> {
                line();
                children(element, depth);
                line();
            }
            default -> children(element, depth);
        }
    }

    private void append(String text) {
        boolean fresh = out.isEmpty() || Character.isWhitespace(out.charAt(out.length() - 1));
        out.append(fresh ? text.stripLeading() : text);
    }

    private void line() {
        if (!out.isEmpty() && out.charAt(out.length() - 1) != '\n') {
            out.append('\n');
        }
    }

    private void block() {
        line();
        if (!out.isEmpty()) {
            out.append('\n');
        }
    }
}
