package io.millrace.knowledge;

import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Cuts Markdown and plain text into chunks that the embedding model can read whole.
 *
 * <p>A chunk never crosses a heading, and carries the path of headings above it as its title. Paragraphs, lists and fenced code stay
 * whole where they fit; one that does not is cut at lines, then at spaces. Deterministic: the same text gives the same chunks.
 */
public final class Chunker {
    /** Changes whenever the same text may give other chunks. */
    public static final String VERSION = "md1";

    /** About 220 word pieces of English: MiniLM reads 256. */
    static final int TARGET_CHARS = 900;

    private static final Pattern HEADING = Pattern.compile("^(#{1,6})\\s+(.*?)\\s*#*$");
    private static final Pattern FENCE = Pattern.compile("^\\s*(```|~~~).*");
    /** MyST and Docusaurus anchors, and front matter fences, say nothing to a reader. */
    private static final Pattern NOISE = Pattern.compile("^\\([\\w:.-]+\\)=\\s*$");

    /** A piece of a document. */
    public record Chunk(int index, String title, String text) {}

    private Chunker() {}

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
        boolean fenced = false;
        for (String line : text.replace("\r\n", "\n").split("\n", -1)) {
            Matcher heading = HEADING.matcher(line);
            if (!fenced && heading.matches()) {
                endBlock(blocks, block);
                emit(chunks, titleOf(title, path), blocks);
                int level = heading.group(1).length();
                headings[level] = heading.group(2);
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
            if (FENCE.matcher(line).matches()) {
                fenced = !fenced;
            }
            if (line.isBlank() && !fenced) {
                endBlock(blocks, block);
            } else if (fenced || !NOISE.matcher(line).matches()) {
                block.append(line).append('\n');
            }
        }
        endBlock(blocks, block);
        emit(chunks, titleOf(title, path), blocks);
        return List.copyOf(chunks);
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
            int limit = from + TARGET_CHARS;
            int cut = block.lastIndexOf('\n', limit);
            if (cut <= from) {
                cut = block.lastIndexOf(' ', limit);
            }
            if (cut <= from) {
                cut = Character.isHighSurrogate(block.charAt(limit - 1)) ? limit - 1 : limit;
            }
            pieces.add(block.substring(from, cut).strip());
            from = cut;
        }
        pieces.add(block.substring(from).strip());
        pieces.removeIf(String::isEmpty);
        return pieces;
    }
}
