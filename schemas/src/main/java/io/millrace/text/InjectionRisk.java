package io.millrace.text;

import java.util.List;
import java.util.Locale;
import java.util.regex.Pattern;

/**
 * How much a document tries to instruct a model that reads it, 0..1, by known phrases: those of the predecessor (section 3.10 of its
 * facts), and demands for what a model must not tell.
 *
 * <p>Each distinct phrase gives points. An order to ignore all previous instructions, at the beginning of a sentence, is enough alone; what
 * ordinary prose and configurations have too (a line with {@code system:}, "act as if you were an administrator") gives less than a phrase
 * that is hardly used for anything else; any two of the latter are enough.
 *
 * <p>A text <em>about</em> prompt injection quotes such phrases, or has them as code. What stands in quotation marks, code spans and code
 * blocks therefore counts as one phrase, however many it holds; unless there is little else in the text: quotation marks around an
 * attack do not make it harmless.
 */
public final class InjectionRisk {
    /** At or above this a document is kept out of prompts. */
    public static final double QUARANTINE = 0.5;

    /** Points of the highest risk. */
    private static final double MOST = 6;

    private static final int DECISIVE = 3;
    private static final int TELLING = 2;
    private static final int PROSE_TOO = 1;

    /** Where an order begins: at the start of a line or sentence, behind marks of Markdown and HTML and words of address. */
    private static final String START = "(?:^|[.!?]\\s|<!--)[\\s>*_#\"'“‘`(\\[-]{0,16}+(?:\\d+[.)]\\s+)?"
            + "(?:(?:please|now|first|important|attention|note|system|user|hey|hello|hi|dear|ai|llm|assistant|model|chatgpt|you|must|should|will|have\\s+to|need\\s+to)"
            + "\\b[\\s,:!*-]{0,8}){0,5}";

    private static final String BEFORE = "(?:previous|prior|above|preceding|earlier|foregoing|existing|system)";
    private static final String ORDERS =
            "(?:instructions?|prompts?|rules|directions|directives|guidelines|commands|orders|context)";
    private static final String IGNORE =
            "(?:ignore|disregard|forget|override|bypass)\\s+(?:(?:all|any|every|each|of|the|these|those|your|my)\\s+){0,3}"
                    + BEFORE + "(?:\\s+(?:and|or)\\s+" + BEFORE + ")?\\s+(?:system\\s+)?" + ORDERS;
    /** "Ignore the previous instructions if you use Debian" is written for people. */
    private static final String UNCONDITIONAL =
            "(?!\\s*,?\\s+(?:if|unless|when|where|in\\s+case|and\\s+(?:go|skip|jump|proceed|continue))\\b)";

    private static final String WHO =
            "(?:an?\\s+|the\\s+)?(?:\\w+\\s+)?(?:admin(?:istrator)?|root|superuser|developer|owner|system|assistant|ai|model|person|persona|character|chatbot|hacker)\\b";

    private static final List<Phrase> PHRASES = List.of(
            phrase(
                    DECISIVE,
                    START + IGNORE + "\\b" + UNCONDITIONAL,
                    "ignore",
                    "disregard",
                    "forget",
                    "override",
                    "bypass"),
            phrase(TELLING, "\\b" + IGNORE, "ignore", "disregard", "forget", "override", "bypass"),
            phrase(TELLING, "disregard\\s+(?:the\\s+)?" + BEFORE, "disregard"),
            phrase(TELLING, START + "new\\s+instructions\\s*:", "instructions"),
            phrase(PROSE_TOO, START + "system\\s*:", "system"),
            phrase(TELLING, "<\\|im_start\\|>\\s*system", "im_start"),
            phrase(TELLING, "\\[INST\\]", "[inst]"),
            phrase(TELLING, "override\\s+(?:your\\s+)?(?:previous\\s+)?instructions", "override"),
            phrase(
                    TELLING,
                    "forget\\s+(?:everything|all)\\s+(?:(?:that\\s+)?you(?:'ve|\\s+have|\\s+were)?\\s+(?:been\\s+)?told|above|before)",
                    "forget"),
            phrase(
                    TELLING,
                    "you\\s+are\\s+now\\s+(?:an?\\s+)?(?:different|new|another|unrestricted|jailbroken)\\b",
                    "now"),
            phrase(TELLING, "your\\s+(?:new\\s+role\\s+is|role\\s+is\\s+now)\\b", "role"),
            phrase(PROSE_TOO, "your\\s+role\\s+is\\s+to\\b", "role"),
            phrase(TELLING, "from\\s+now\\s+on,?\\s+you\\s+(?:are|will|must)\\b", "now"),
            phrase(
                    TELLING,
                    "(?:output|print|reveal|repeat|show|display|leak|disclose|expose|tell\\s+me|give\\s+me|send\\s+me)\\s+(?:\\w+\\s+){0,3}?"
                            + "your\\s+(?:\\w+\\s+)?(?:system|initial|hidden|secret|original)\\s+(?:prompt|instructions|message)",
                    "your"),
            phrase(
                    PROSE_TOO,
                    START
                            + "(?:reveal|disclose|leak)\\s+(?:all\\s+)?(?:the|your|any)\\s+(?:secrets|passwords|credentials)",
                    "reveal",
                    "disclose",
                    "leak"),
            phrase(PROSE_TOO, "\\bpretend\\s+(?:that\\s+)?(?:you\\s+are|you're|to\\s+be)\\s+" + WHO, "pretend"),
            phrase(PROSE_TOO, "\\bact\\s+as\\s+(?:(?:if|though)\\s+you\\s+(?:are|were)\\s+)" + WHO, "act as"));

    private static final Pattern BLOCK = Pattern.compile("(?ms)^[ \\t>]*(`{3,}|~{3,}).*?(?:^[ \\t>]*\\1|\\z)");

    /** Code spans and quotations, each within its paragraph. */
    private static final Pattern SPAN = Pattern.compile(String.join(
            "|",
            "(`{1,32}+)" + upTo("`") + "\\1",
            "(?<!\\w)\"" + upTo("\"") + "\"(?!\\w)",
            "(?<!\\w)'" + upTo("'") + "'(?!\\w)",
            "“" + upTo("”") + "”",
            "„" + upTo("“”") + "[“”]",
            "‘" + upTo("’") + "’",
            "«" + upTo("»") + "»"));

    /** Stands for what was quoted, so that what is around it does not become one sentence. */
    private static final String QUOTED = "…";

    private static final Pattern WORD = Pattern.compile("[\\p{L}\\p{N}]+");

    private InjectionRisk() {}

    /**
     * @param words one of which stands in every text that matches, in lower case: looking for it takes a hundredth of the time
     */
    private record Phrase(int points, Pattern pattern, List<String> words) {}

    /** The risk of a text. */
    public static double of(String text) {
        int points = points(text);
        if (points >= DECISIVE) {
            String own = SPAN.matcher(BLOCK.matcher(text).replaceAll(QUOTED)).replaceAll(QUOTED);
            if (2 * words(own) >= words(text) - words(own)) {
                points = Math.max(TELLING, points(own));
            }
        }
        return Math.min(1, points / MOST);
    }

    private static int points(String text) {
        String lower = text.toLowerCase(Locale.ROOT);
        int points = 0;
        for (Phrase phrase : PHRASES) {
            if (phrase.words.stream().anyMatch(lower::contains)
                    && phrase.pattern.matcher(text).find()) {
                points += phrase.points;
            }
        }
        return points;
    }

    private static long words(String text) {
        return WORD.matcher(text).results().count();
    }

    /** Within a paragraph: up to a mark, and over the ends of some lines, but not over an empty one. Not far: a mark may have no partner. */
    private static String upTo(String mark) {
        String line = "[^\\n" + mark + "]{1,200}+";
        return line + "(?:\\n" + line + "){0,4}+";
    }

    private static Phrase phrase(int points, String regex, String... words) {
        return new Phrase(points, Pattern.compile(regex, Pattern.CASE_INSENSITIVE | Pattern.MULTILINE), List.of(words));
    }
}
