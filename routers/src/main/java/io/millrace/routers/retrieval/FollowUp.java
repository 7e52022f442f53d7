package io.millrace.routers.retrieval;

import io.millrace.text.DocumentQuestion;
import java.util.Locale;
import java.util.Optional;
import java.util.regex.Pattern;

/**
 * Whether a question can be searched for as it stands. "And how do I undo that?" cannot: what it is about was said in the question
 * before, so it is searched for together with that one.
 *
 * <p>A rule and not a model: it costs nothing, and a false alarm only adds words that were asked for a moment ago.
 */
final class FollowUp {
    /** Fewer words than this are hardly a question of their own. */
    private static final int SHORT = 4;

    private static final Pattern REFERS = Pattern.compile(
            "\\b(?:it|its|they|them|their|theirs|this|that|these|those|he|she|him|her|his|one|ones|former|latter|above|instead|otherwise"
                    + "|previous|same)\\b");
    private static final Pattern CONTINUES = Pattern.compile(
            "^(?:and|but|so|then|or|also|what about|how about|what if|why not|why|how so|more|else)\\b");
    private static final Pattern WORD = Pattern.compile("[\\p{L}\\p{N}]+");

    private FollowUp() {}

    /** What to search for. */
    static String searched(String question, Optional<String> before) {
        String lower = question.strip().toLowerCase(Locale.ROOT);
        boolean depends = REFERS.matcher(lower).find()
                || CONTINUES.matcher(lower).find()
                || WORD.matcher(lower).results().count() < SHORT;
        // a question about documents says all, and with anything before it is none
        return before.isPresent()
                        && depends
                        && !before.get().equals(question)
                        && DocumentQuestion.tryParse(question).isEmpty()
                ? before.get() + "\n" + question
                : question;
    }
}
