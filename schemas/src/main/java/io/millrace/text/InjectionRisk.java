package io.millrace.text;

import java.util.List;
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

    private static final List<Pattern> PHRASES = List.of(
            phrase("ignore\\s+(?:all\\s+)?(?:previous|prior|above)\\s+instructions"),
            phrase("disregard\\s+(?:the\\s+)?(?:above|previous|prior)"),
            phrase("^\\s*new\\s+instructions\\s*:"),
            phrase("^\\s*system\\s*:"),
            phrase("<\\|im_start\\|>\\s*system"),
            phrase("\\[INST\\]"),
            phrase("override\\s+(?:your\\s+)?(?:previous\\s+)?instructions"),
            phrase("forget\\s+(?:everything|all)\\s+(?:you(?:'ve|\\s+have)?\\s+been\\s+told|above|before)"),
            phrase("you\\s+are\\s+now\\s+(?:a\\s+)?(?:different|new|another)\\s+(?:assistant|ai|model|persona)"),
            phrase("your\\s+(?:new\\s+)?role\\s+is\\s+(?:now\\s+)?to"),
            phrase("from\\s+now\\s+on,?\\s+you\\s+(?:are|will|must)"));

    private InjectionRisk() {}

    /** The risk of a text. */
    public static double of(String text) {
        long found =
                PHRASES.stream().filter(phrase -> phrase.matcher(text).find()).count();
        return Math.min(1, found / ENOUGH);
    }

    private static Pattern phrase(String regex) {
        return Pattern.compile(regex, Pattern.CASE_INSENSITIVE | Pattern.MULTILINE);
    }
}
