package io.millrace.text;

import java.util.List;
import java.util.Locale;
import java.util.regex.Pattern;

/**
 * How much a document tries to instruct a model that reads it: the share of known phrases, 0..1.
 *
 * <p>The phrases are the predecessor's (section 3.10 of its facts) without those that ordinary prose uses ("act as a", "pretend to
 * be"). Two distinct ones quarantine; one alone may be a text about prompt injection.
 */
public final class InjectionRisk {
    /** At or above this a document is kept out of prompts. */
    public static final double QUARANTINE = 0.5;

    private static final double ENOUGH = 3;

    private static final List<Phrase> PHRASES = List.of(
            phrase("ignore", "ignore\\s+(?:all\\s+)?(?:previous|prior|above)\\s+instructions"),
            phrase("disregard", "disregard\\s+(?:the\\s+)?(?:above|previous|prior)"),
            phrase("instructions", "^\\s*new\\s+instructions\\s*:"),
            phrase("system", "^\\s*system\\s*:"),
            phrase("im_start", "<\\|im_start\\|>\\s*system"),
            phrase("[inst]", "\\[INST\\]"),
            phrase("override", "override\\s+(?:your\\s+)?(?:previous\\s+)?instructions"),
            phrase("forget", "forget\\s+(?:everything|all)\\s+(?:you(?:'ve|\\s+have)?\\s+been\\s+told|above|before)"),
            phrase("now", "you\\s+are\\s+now\\s+(?:a\\s+)?(?:different|new|another)\\s+(?:assistant|ai|model|persona)"),
            phrase("role", "your\\s+(?:new\\s+)?role\\s+is\\s+(?:now\\s+)?to"),
            phrase("now", "from\\s+now\\s+on,?\\s+you\\s+(?:are|will|must)"));

    private InjectionRisk() {}

    /**
     * @param word that stands in every text that matches, in lower case: looking for it takes a hundredth of the time
     */
    private record Phrase(String word, Pattern pattern) {}

    /** The risk of a text. */
    public static double of(String text) {
        String lower = text.toLowerCase(Locale.ROOT);
        long found = PHRASES.stream()
                .filter(phrase -> lower.contains(phrase.word)
                        && phrase.pattern.matcher(text).find())
                .count();
        return Math.min(1, found / ENOUGH);
    }

    private static Phrase phrase(String word, String regex) {
        return new Phrase(word, Pattern.compile(regex, Pattern.CASE_INSENSITIVE | Pattern.MULTILINE));
    }
}
