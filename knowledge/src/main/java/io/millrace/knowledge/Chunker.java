package io.millrace.knowledge;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Cuts Markdown and plain text into chunks that the embedding model can read whole.
 *
 * <p>A chunk never crosses a heading, and carries the path of headings above it as its title. Paragraphs, lists and fenced code stay
 * whole where they fit; one that does not is cut at lines, then at spaces. A text of headings alone is text. Deterministic: the same text gives the same chunks.
 */
public final class Chunker {
    /**
     * Changes whenever the same text may give other chunks. It is part of the passages' ids: what is on the log is cut anew at the next start,
     * and the passages of the version before go.
     */
    public static final String VERSION = "md3";

    /** About 220 word pieces of English: MiniLM reads 256. */
    static final int TARGET_CHARS = 900;

    private static final int LONGEST_HEADING = 300;

    private static final Pattern HEADING = Pattern.compile("(#{1,6})\\s(.*)");
    private static final Pattern FENCE = Pattern.compile("\\s*+(`{3,}+|~{3,}+)(.*)");
    /** MyST and Docusaurus anchors, and front matter fences, say nothing to a reader. */
    private static final Pattern NOISE = Pattern.compile("^\\([\\w:.-]+\\)=\\s*$");

    /** A piece of a document. */
    public record Chunk(int index, String title, String text) {}

    private Chunker() {}

    /**
     * A heading of Markdown.
     *
     * @param level 1..6
     * @param text without the hashes that may close it; may be empty
     */
    public record Heading(int level, String text) {}

    /**
     * The heading that a line is; empty when it is none, or longer than {@value #LONGEST_HEADING} characters: every chunk below it would
     * carry that. Hashes at its end close it when they follow a space (CommonMark 0.31.2, 4.2); others are its own, as in C#.
     */
    public static Optional<Heading> heading(String line) {
        Matcher matcher = HEADING.matcher(line);
        if (!matcher.matches()) {
            return Optional.empty();
        }
        String text = matcher.group(2).strip();
        int end = text.length();
        while (end > 0 && text.charAt(end - 1) == '#') {
            end--;
        }
        if (end == 0 || Character.isWhitespace(text.charAt(end - 1))) {
            text = text.substring(0, end).stripTrailing();
        }
        return text.length() > LONGEST_HEADING
                ? Optional.empty()
                : Optional.of(new Heading(matcher.group(1).length(), text));
    }

    /**
     * The chunks of a text.
     *
     * @param title title of the document, used until the first heading
     */
    public static List<Chunk> chunk(String title, String text) {
        List<Chunk> chunks = new ArrayList<>();
        List<String> path = new ArrayList<>();
        String[] headings = new String[7];
        StringBuilder block = new StringBuilder();
        List<String> blocks = new ArrayList<>();
        List<String> alone = new ArrayList<>();
        String fence = "";
        for (String line : text.replace("\r\n", "\n").split("\n", -1)) {
            boolean fenced = !fence.isEmpty();
            Optional<Heading> heading = fenced ? Optional.empty() : heading(line);
            if (heading.isPresent()) {
                endBlock(blocks, block);
                emit(chunks, titleOf(title, path), blocks);
                int level = heading.get().level();
                if (chunks.isEmpty()) {
                    alone.add(heading.get().text());
                }
                headings[level] = heading.get().text();
                path.clear();
                for (int i = 1; i <= level; i++) {
                    String above = headings[i];
                    if (above != null) {
                        path.add(above);
                    }
                }
                for (int i = level + 1; i < headings.length; i++) {
                    headings[i] = "";
                }
                path.removeIf(String::isEmpty);
                continue;
            }
            fence = fence(fence, line);
            fenced = !fence.isEmpty();
            if (line.isBlank() && !fenced) {
                endBlock(blocks, block);
            } else if (fenced || !NOISE.matcher(line).matches()) {
                block.append(line).append('\n');
            }
        }
        endBlock(blocks, block);
        emit(chunks, titleOf(title, path), blocks);
        if (chunks.isEmpty()) {
            // such as a file of comments: it could not be found, and its source would wait for it
            alone.removeIf(String::isEmpty);
            emit(chunks, title, alone);
        }
        return List.copyOf(chunks);
    }

    /**
     * The fence that is open behind a line. Only one of the same character that is as long and has nothing behind it closes it
     * (CommonMark 0.31.2, 4.5): what it holds may be Markdown with fences.
     *
     * @param open before the line; empty for none
     */
    private static String fence(String open, String line) {
        Matcher matcher = FENCE.matcher(line);
        if (!matcher.matches()) {
            return open;
        }
        String fence = matcher.group(1);
        if (open.isEmpty()) {
            // ```code``` in one line is no fence
            return fence.startsWith("`") && matcher.group(2).contains("`") ? "" : fence;
        }
        return fence.startsWith(open) && matcher.group(2).isBlank() ? "" : open;
    }

    private static String titleOf(String title, List<String> path) {
        if (path.isEmpty()) {
            return title;
        }
        String joined = String.join(" › ", path);
        return path.get(0).equals(title) || title.isEmpty() ? joined : title + " › " + joined;
    }

    private static void endBlock(List<String> blocks, StringBuilder block) {
        if (!block.isEmpty()) {
            blocks.add(block.toString().stripTrailing());
            block.setLength(0);
        }
    }

    /** Packs blocks into chunks and empties the list. */
    private static void emit(List<Chunk> chunks, String title, List<String> blocks) {
        StringBuilder chunk = new StringBuilder();
        for (String block : blocks) {
            for (String piece : split(block)) {
                if (!chunk.isEmpty() && chunk.length() + piece.length() + 2 > TARGET_CHARS) {
                    chunks.add(new Chunk(chunks.size(), title, chunk.toString()));
                    chunk.setLength(0);
                }
                if (!chunk.isEmpty()) {
                    chunk.append("\n\n");
                }
                chunk.append(piece);
            }
        }
        if (!chunk.isEmpty()) {
            chunks.add(new Chunk(chunks.size(), title, chunk.toString()));
        }
        blocks.clear();
    }

    private static List<String> split(String block) {
        if (block.length() <= TARGET_CHARS) {
            return List.of(block);
        }
        List<String> pieces = new ArrayList<>();
        int from = 0;
        while (block.length() - from > TARGET_CHARS) {
            // not back to the block's beginning each time
            String rest = block.substring(from, from + TARGET_CHARS + 1);
            int cut = rest.lastIndexOf('\n');
            if (cut <= 0) {
                cut = rest.lastIndexOf(' ');
            }
            if (cut <= 0) {
                cut = Character.isHighSurrogate(rest.charAt(TARGET_CHARS - 1)) ? TARGET_CHARS - 1 : TARGET_CHARS;
            }
            pieces.add(rest.substring(0, cut).strip());
            from += cut;
        }
        pieces.add(block.substring(from).strip());
        pieces.removeIf(String::isEmpty);
        return pieces;
    }
}
