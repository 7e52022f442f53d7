package io.millrace.knowledge;

import com.knuddels.jtokkit.Encodings;
import com.knuddels.jtokkit.api.Encoding;
import com.knuddels.jtokkit.api.EncodingType;
import io.millrace.schema.Hit;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.regex.Pattern;

/**
 * The block that goes into a prompt: passages with their headings and paths, numbered as they are cited, within a budget of tokens.
 *
 * <p>Whole passages go in as long as they fit. The first that does not is compressed: of its paragraphs, list items, code blocks and
 * sentences those stay, in their order, that hold most of the question's words for their length; what is left out is marked. So the
 * structure stays, and what is dropped first is what says least about the question.
 *
 * @param text empty when nothing fits
 * @param tokensBefore tokens of all passages
 * @param tokensAfter tokens of the text, at most the budget
 * @param used ids of the passages in it, in its order
 */
public record ContextBlock(String text, int tokensBefore, int tokensAfter, List<String> used) {
    public ContextBlock {
        used = List.copyOf(used);
    }

    /** cl100k: within a few percent of what current models count, and what their prices are quoted in. */
    private static final Encoding ENCODING = Encodings.newLazyEncodingRegistry().getEncoding(EncodingType.CL100K_BASE);

    /** Less of a passage than this is a heading and half a sentence. */
    private static final int WORTH_IT = 40;

    private static final String GAP = "[…]";
    private static final Pattern FENCE = Pattern.compile("```");
    private static final Pattern BLOCKS = Pattern.compile("\\n{2,}");
    private static final Pattern SENTENCES = Pattern.compile("(?<=[.!?])\\s+(?=\\p{Lu})|\\n");

    /** Tokens of a text. */
    public static int tokens(String text) {
        return ENCODING.countTokensOrdinary(text);
    }

    /**
     * Packs hits.
     *
     * @param hits best first; numbered from 1 in this order
     * @param budget most tokens
     */
    public static ContextBlock of(String question, List<Hit> hits, int budget) {
        Set<String> asked = new HashSet<>(Terms.of(question));
        StringBuilder text = new StringBuilder();
        List<String> used = new ArrayList<>();
        int before = 0;
        boolean compressed = false;
        for (int i = 0; i < hits.size(); i++) {
            Hit hit = hits.get(i);
            before += tokens(hit.getText());
            String head = "[" + (i + 1) + "] " + hit.getTitle() + " (" + hit.getPath() + ")\n";
            String separator = text.isEmpty() ? "" : "\n\n";
            if (tokens(text + separator + head + hit.getText()) <= budget) {
                text.append(separator).append(head).append(hit.getText());
                used.add(hit.getPassageId());
            } else if (!compressed) {
                String part = compressed(asked, hit.getText(), budget - tokens(text + separator + head));
                if (!part.isEmpty()) {
                    text.append(separator).append(head).append(part);
                    used.add(hit.getPassageId());
                    compressed = true;
                }
            }
        }
        return new ContextBlock(text.toString(), before, tokens(text.toString()), used);
    }

    private static String compressed(Set<String> asked, String passage, int budget) {
        if (budget < WORTH_IT) {
            return "";
        }
        record Unit(int index, String text, String joint, int tokens, double worth) {}
        List<Unit> units = new ArrayList<>();
        for (String block : blocks(passage)) {
            List<String> parts = block.startsWith("```") || block.startsWith("~~~")
                    ? List.of(block)
                    : SENTENCES.splitAsStream(block).toList();
            for (int i = 0; i < parts.size(); i++) {
                String part = parts.get(i).strip();
                if (!part.isEmpty()) {
                    Set<String> held = new HashSet<>(Terms.of(part));
                    held.retainAll(asked);
                    int cost = tokens(part) + 2;
                    // a unit without a word of the question is worth a little, so that room is used
                    units.add(new Unit(units.size(), part, i == 0 ? "\n\n" : "\n", cost, (held.size() + 0.05) / cost));
                }
            }
        }
        List<Unit> byWorth = new ArrayList<>(units);
        byWorth.sort(Comparator.comparingDouble(Unit::worth).reversed());
        Set<Integer> taken = new HashSet<>();
        int left = budget - 2 * tokens(GAP) - 2;
        for (Unit unit : byWorth) {
            int cost = unit.tokens + tokens(GAP) + 1;
            if (cost <= left) {
                taken.add(unit.index);
                left -= cost;
            }
        }
        StringBuilder text = new StringBuilder();
        boolean gap = false;
        for (Unit unit : units) {
            if (!taken.contains(unit.index)) {
                gap = true;
                continue;
            }
            String joint = text.isEmpty() ? "" : unit.joint;
            text.append(joint).append(gap ? GAP + " " : "").append(unit.text);
            gap = false;
        }
        return text.isEmpty() ? "" : gap ? text + " " + GAP : text.toString();
    }

    /** Paragraphs, with fenced code in one piece. */
    private static List<String> blocks(String passage) {
        List<String> blocks = new ArrayList<>();
        StringBuilder fenced = new StringBuilder();
        for (String block : BLOCKS.splitAsStream(passage.strip()).toList()) {
            boolean fence = FENCE.matcher(block).results().count() % 2 == 1;
            if (!fenced.isEmpty()) {
                fenced.append("\n\n").append(block);
                if (fence) {
                    blocks.add(fenced.toString());
                    fenced.setLength(0);
                }
            } else if (fence && block.startsWith("```")) {
                fenced.append(block);
            } else {
                blocks.add(block);
            }
        }
        if (!fenced.isEmpty()) {
            blocks.add(fenced.toString());
        }
        return blocks;
    }
}
