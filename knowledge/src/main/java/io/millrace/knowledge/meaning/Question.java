package io.millrace.knowledge.meaning;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** A question taken apart once, so that a comparison with many others costs little. Immutable. */
public final class Question {
    private static final Pattern WORD = Pattern.compile("[\\p{L}\\p{N}]+");
    private static final Pattern SPACE = Pattern.compile("\\s+");
    private static final Pattern NUMBER = Pattern.compile("\\p{Nd}+(?:[.,]\\p{Nd}++)*+");

    /**
     * Paths, identifiers, calls, versions, options: where one letter changes the question. The text is a client's: a group repeats
     * possessively, since it would take stack for each word, and what may be followed by something is bounded, since each letter may begin it.
     */
    private static final Pattern CODE = Pattern.compile(
            "--?[\\w-]{2,}|\\w{1,64}(?:[./\\\\:_]\\w++)++|\\p{Ll}{1,64}+\\p{Lu}\\w*|\\w{1,64}+\\(\\)|\\w{0,64}+[+#]+(?=\\W|$)");

    private static final Pattern NAME = Pattern.compile("(?<=.)\\b\\p{Lu}\\w*");
    private static final Pattern SENTENCE = Pattern.compile("[.?!](?:\\s|$)");

    private static final Set<String> EMPTY_WORDS = Set.of(
            ("a an the of to in on for at by with from as is are was were be been being am do does did have has had can could"
                            + " should would will shall may might must i you he she it we they me my your his her its our their"
                            + " this that these those and or but if so than then there here what which who whom whose when where"
                            + " why how about into out up down over under again any some all more most other such own same too"
                            + " very just s t ve re ll d m don isn doesn didn")
                    .split(" "));

    private final String text;
    final float[] vector;
    final String[] words;
    final String[] stems;
    final Set<String> stemSet;
    final Set<String> content;
    final Set<String> numbers;
    final Set<String> code;
    final Set<String> names;
    final Set<String> wordSet;
    /** Hashes of character trigrams, sorted. */
    final int[] trigrams;

    final int sentences;

    private Question(String text, float[] vector) {
        this.text = text;
        this.vector = vector;
        List<String> found = new ArrayList<>();
        Matcher matcher = WORD.matcher(text.toLowerCase(Locale.ROOT));
        while (matcher.find() && found.size() < MAX_WORDS) {
            found.add(matcher.group());
        }
        words = found.toArray(String[]::new);
        stems = new String[words.length];
        stemSet = new HashSet<>();
        content = new HashSet<>();
        for (int i = 0; i < words.length; i++) {
            stems[i] = stem(words[i]);
            stemSet.add(stems[i]);
            if (!EMPTY_WORDS.contains(words[i])) {
                content.add(stems[i]);
            }
        }
        wordSet = Set.copyOf(found);
        numbers = all(NUMBER, text);
        code = all(CODE, text);
        names = new HashSet<>();
        for (String name : all(NAME, text)) {
            names.add(stem(name.toLowerCase(Locale.ROOT)));
        }
        trigrams = trigrams(" " + String.join(" ", words) + " ");
        sentences = (int) SENTENCE.matcher(text).results().count();
    }

    /** Beyond this many words a comparison is of the beginnings; the embedding reads no more either. */
    static final int MAX_WORDS = 200;

    /** @param vector of unit length, from the embedder that the verifier was trained with */
    public static Question of(String text, float[] vector) {
        return new Question(text, vector);
    }

    /** As it was asked. */
    public String text() {
        return text;
    }

    /** Cosine with another question. */
    public double cosine(Question other) {
        return io.millrace.knowledge.Vectors.cosine(vector, other.vector);
    }

    /** Two texts with the same form are the same question: case and white space aside. */
    public static String form(String text) {
        return SPACE.matcher(text.strip().toLowerCase(Locale.ROOT)).replaceAll(" ");
    }

    private static Set<String> all(Pattern pattern, String text) {
        Set<String> found = new HashSet<>();
        Matcher matcher = pattern.matcher(text);
        while (matcher.find()) {
            found.add(matcher.group());
        }
        return found;
    }

    /** Light on purpose: what it joins wrongly the learned weights would have to take apart again. */
    static String stem(String word) {
        for (String ending : new String[] {"ing", "ies", "ed", "es", "ly", "s"}) {
            if (word.endsWith(ending) && word.length() - ending.length() >= 3) {
                return word.substring(0, word.length() - ending.length()) + (ending.equals("ies") ? "y" : "");
            }
        }
        return word;
    }

    private static int[] trigrams(String text) {
        int[] found = new int[Math.max(0, text.length() - 2)];
        for (int i = 0; i < found.length; i++) {
            found[i] = (text.charAt(i) * 31 + text.charAt(i + 1)) * 31 + text.charAt(i + 2);
        }
        Arrays.sort(found);
        return found;
    }
}
