package io.millrace.knowledge.meaning;

import io.millrace.knowledge.Vectors;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.IntStream;

/**
 * What is seen of two questions, the same whichever comes first: closeness in meaning (the cosine, with bends where it counts), shared
 * words by rarity, what only one of them says, numbers, names, code, negation, comparatives, opposites, the kind of question, order,
 * spelling; closeness in the eyes of a second embedding model; and the vectors of both models themselves, as their sum (of what topic)
 * and their distance by dimension (in what they differ).
 */
final class PairFeatures {
    /** Scalars come first; then four blocks as wide as the vectors: sums and distances of the first model's, then of the second's. */
    static final int SCALARS = 57;

    private static final int BLOCKS = 4;

    /** Questions farther apart are different: nothing among 18,000 labelled pairs that came near to being served was below 0.75. */
    private static final double LEAST_COSINE = 0.7;

    private static final Set<String> NEGATION = Set.of(
            "not no never none without cannot nobody nothing neither nor don doesn didn isn aren wasn weren won wouldn shouldn couldn dont doesnt cant"
                    .split(" "));
    private static final Set<String> COMPARISON = Set.of(
            "best better worst worse most least more less bigger smaller higher lower cheaper cheapest fastest largest biggest top good bad first last max min maximum minimum before after only without"
                    .split(" "));
    private static final Map<String, Set<String>> OPPOSITES = opposites(
            "best worst better worse good bad more less more fewer less greater most least most fewest max min maximum minimum before after"
                    + " earlier later early late increase decrease raise lower rise fall over under above below over below above under"
                    + " inside outside upper lower higher lower highest lowest bigger smaller larger smaller biggest smallest largest"
                    + " smallest longer shorter taller shorter older younger faster slower fastest slowest cheaper pricier cheapest"
                    + " priciest stronger weaker easier harder"
                    + " buy sell male female men women man woman boy girl boys girls start stop enable disable add remove"
                    + " install uninstall open close lose gain advantages disadvantages pros cons win lost first last"
                    + " left right up down old new cheap expensive high low hot cold black white import export upload download"
                    + " encrypt decrypt create delete include exclude public private input output");
    /** What makes the opposite of a word that goes on with it. */
    private static final List<String> PREFIXES = List.of("un", "in", "im", "il", "ir", "dis", "non", "de");
    /** Between two words that may as well be the other way round. */
    private static final Set<String> EVEN = Set.of("and", "or", "vs", "versus", "the", "a", "an");

    private static final Map<String, Integer> KINDS = Map.ofEntries(
            Map.entry("what", 0),
            Map.entry("which", 0),
            Map.entry("how", 1),
            Map.entry("why", 2),
            Map.entry("who", 3),
            Map.entry("when", 4),
            Map.entry("where", 5),
            Map.entry("is", 6),
            Map.entry("are", 6),
            Map.entry("can", 6),
            Map.entry("do", 6),
            Map.entry("does", 6),
            Map.entry("should", 6),
            Map.entry("will", 6),
            Map.entry("did", 6),
            Map.entry("was", 6),
            Map.entry("has", 6),
            Map.entry("have", 6),
            Map.entry("would", 6),
            Map.entry("could", 6));

    private PairFeatures() {}

    static int size(int dimension) {
        return SCALARS + BLOCKS * dimension;
    }

    static double[] of(QuestionPair pair, WordWeights weights) {
        Question a = pair.a();
        Question b = pair.b();
        double[] x = new double[size(a.vector.length)];
        int i = 0;
        double cosine = a.cosine(b);
        x[i++] = cosine;
        x[i++] = Math.max(0, cosine - 0.8);
        x[i++] = Math.max(0, cosine - 0.9);
        x[i++] = Math.max(0, cosine - 0.95);

        Difference stems = Difference.of(a.stemSet, b.stemSet, weights);
        x[i++] = ratio(stems.common, stems.common + stems.onlyA + stems.onlyB);
        x[i++] = ratio(stems.commonWeight, stems.commonWeight + stems.weightA + stems.weightB);
        double coverA = ratio(stems.commonWeight, stems.commonWeight + stems.weightA);
        double coverB = ratio(stems.commonWeight, stems.commonWeight + stems.weightB);
        x[i++] = Math.min(coverA, coverB);
        x[i++] = Math.max(coverA, coverB);
        x[i++] = Math.max(stems.rarestA, stems.rarestB);
        x[i++] = Math.min(stems.rarestA, stems.rarestB);
        x[i++] = stems.weightA + stems.weightB;
        x[i++] = Math.min(stems.weightA, stems.weightB);
        x[i++] = cosine * Math.min(coverA, coverB);

        Difference content = Difference.of(a.content, b.content, weights);
        x[i++] = ratio(content.common, content.common + content.onlyA + content.onlyB);
        x[i++] = Math.min(content.onlyA, content.onlyB);
        x[i++] = Math.max(content.onlyA, content.onlyB);
        // one says all that the other does, and something more
        x[i++] = (content.onlyA == 0) == (content.onlyB == 0) ? 0 : 1;
        x[i++] = content.onlyA + content.onlyB == 0 ? 1 : 0;

        int shorter = Math.min(a.words.length, b.words.length);
        int longer = Math.max(a.words.length, b.words.length);
        x[i++] = Math.log1p(shorter);
        x[i++] = Math.log1p(longer);
        x[i++] = ratio(shorter, longer);
        x[i++] = longer - shorter;

        x[i++] = onlyOne(a.numbers, b.numbers);
        x[i++] = a.numbers.isEmpty() || b.numbers.isEmpty() ? 0 : a.numbers.equals(b.numbers) ? 1 : -1;
        x[i++] = onlyOne(a.code, b.code);
        x[i++] = has(a.wordSet, NEGATION) == has(b.wordSet, NEGATION) ? 0 : 1;
        x[i++] = comparisons(a.wordSet, b.wordSet) + comparisons(b.wordSet, a.wordSet);
        x[i++] = opposed(a.wordSet, b.wordSet) || opposed(b.wordSet, a.wordSet) ? 1 : 0;
        int missingA = missing(a.names, b.stemSet);
        int missingB = missing(b.names, a.stemSet);
        x[i++] = missingA + missingB;
        x[i++] = Math.min(missingA, missingB);
        x[i++] = a.names.stream().filter(b.names::contains).count();

        int kindA = kind(a);
        int kindB = kind(b);
        x[i++] = kindA == kindB ? 1 : 0;
        x[i++] = Math.min(kindA, kindB) == 0 && Math.max(kindA, kindB) == 1 ? 1 : 0;
        x[i++] = (kindA == 2) == (kindB == 2) ? 0 : 1;
        x[i++] = (kindA == 6) == (kindB == 6) ? 0 : 1;
        x[i++] = same(a.stems, b.stems, 0) ? 1 : 0;
        x[i++] = same(a.stems, b.stems, 0) && same(a.stems, b.stems, 1) ? 1 : 0;
        x[i++] = a.stems.length > 0
                        && b.stems.length > 0
                        && a.stems[a.stems.length - 1].equals(b.stems[b.stems.length - 1])
                ? 1
                : 0;
        x[i++] = a.sentences == b.sentences ? 0 : 1;
        x[i++] = spelling(a.trigrams, b.trigrams);
        int sequence = commonSequence(a.stems, b.stems);
        x[i++] = ratio(sequence, shorter);
        x[i++] = ratio(sequence, longer);
        x[i++] = Math.max(0, content.common - commonContentSequence(a, b));
        x[i++] = content.onlyA + content.onlyB == 0 ? stems.common - sequence : 0;
        x[i++] = cosine * ratio(sequence, longer);
        x[i++] = a.names.isEmpty() && b.names.isEmpty() ? 1 : 0;
        double second = Vectors.cosine(pair.secondA, pair.secondB);
        x[i++] = second;
        x[i++] = Math.max(0, second - 0.75);
        x[i++] = Math.max(0, second - 0.85);
        x[i++] = Math.max(0, second - 0.92);
        x[i++] = second - cosine;
        x[i++] = second * cosine;
        x[i++] = second * ratio(stems.common, stems.common + stems.onlyA + stems.onlyB);
        x[i++] = second * ratio(stems.commonWeight, stems.commonWeight + stems.weightA + stems.weightB);
        x[i++] = second * Math.min(coverA, coverB);
        x[i++] = second * Math.min(stems.rarestA, stems.rarestB);
        x[i++] = second * cosine * Math.min(coverA, coverB);
        if (i != SCALARS) {
            throw new IllegalStateException("there are " + i + " features and not " + SCALARS);
        }
        sumAndDistance(a.vector, b.vector, x, i);
        sumAndDistance(pair.secondA, pair.secondB, x, i + 2 * a.vector.length);
        return x;
    }

    private static void sumAndDistance(float[] a, float[] b, double[] to, int at) {
        for (int d = 0; d < a.length; d++) {
            to[at + d] = a[d] + b[d];
            to[at + a.length + d] = Math.abs(a[d] - b[d]);
        }
    }

    /**
     * What no likeness makes up for: other numbers, other code, opposites, a "not" that is all the difference, or two words that changed
     * places ("petrol in a diesel engine"). Such pairs are too rare among labelled ones for weights to learn how much they say. Far apart is different too.
     */
    static boolean conflict(Question a, Question b) {
        return a.cosine(b) < LEAST_COSINE
                || (!a.numbers.isEmpty() && !b.numbers.isEmpty() && !a.numbers.equals(b.numbers))
                || (!a.code.isEmpty() && !b.code.isEmpty() && !a.code.equals(b.code))
                || opposed(a.wordSet, b.wordSet)
                || opposed(b.wordSet, a.wordSet)
                || denied(a, b)
                || changedPlaces(a.stems, b.stems);
    }

    /**
     * Whether one says no where the other says yes, of the same thing: by a word ("should I not grease it") or a prefix ("unsafe"), and
     * not by both, as in "not able" and "unable". Where other words differ too, one may ask for the cause of what the other wants:
     * that is for the weights to say.
     */
    private static boolean denied(Question a, Question b) {
        Set<String> onlyA = only(a.content, b.content);
        Set<String> onlyB = only(b.content, a.content);
        boolean prefixed =
                onlyA.size() == 1 && onlyB.size() == 1 && (isPrefixed(onlyA, onlyB) || isPrefixed(onlyB, onlyA));
        boolean negated = isNegated(a) != isNegated(b);
        return prefixed ? !negated : negated && onlyA.isEmpty() && onlyB.isEmpty();
    }

    /** Of "can't" the words are "can" and "t". */
    private static boolean isNegated(Question question) {
        return question.wordSet.contains("t") || has(question.wordSet, NEGATION);
    }

    /** Content words of one that the other has not; without words that deny. */
    private static Set<String> only(Set<String> of, Set<String> from) {
        Set<String> only = new HashSet<>(of);
        only.removeAll(from);
        only.removeAll(NEGATION);
        return only;
    }

    private static boolean isPrefixed(Set<String> longer, Set<String> plain) {
        String word = longer.iterator().next();
        String stem = plain.iterator().next();
        return stem.length() >= 3 && PREFIXES.stream().anyMatch(prefix -> word.equals(prefix + stem));
    }

    /** Whether two words stand in each other's place and all else is as it was; "A and B" may be turned round, and neighbours too. */
    private static boolean changedPlaces(String[] a, String[] b) {
        if (a.length != b.length) {
            return false;
        }
        int[] differ = IntStream.range(0, a.length)
                .filter(i -> !a[i].equals(b[i]))
                .limit(3)
                .toArray();
        return differ.length == 2
                && a[differ[0]].equals(b[differ[1]])
                && a[differ[1]].equals(b[differ[0]])
                && IntStream.range(differ[0] + 1, differ[1]).anyMatch(i -> !EVEN.contains(a[i]));
    }

    private record Difference(
            int common,
            int onlyA,
            int onlyB,
            double commonWeight,
            double weightA,
            double weightB,
            double rarestA,
            double rarestB) {
        static Difference of(Set<String> a, Set<String> b, WordWeights weights) {
            int common = 0;
            double commonWeight = 0;
            double weightA = 0;
            double weightB = 0;
            double rarestA = 0;
            double rarestB = 0;
            for (String stem : a) {
                double weight = weights.weight(stem);
                if (b.contains(stem)) {
                    common++;
                    commonWeight += weight;
                } else {
                    weightA += weight;
                    rarestA = Math.max(rarestA, weight);
                }
            }
            for (String stem : b) {
                if (!a.contains(stem)) {
                    double weight = weights.weight(stem);
                    weightB += weight;
                    rarestB = Math.max(rarestB, weight);
                }
            }
            return new Difference(
                    common, a.size() - common, b.size() - common, commonWeight, weightA, weightB, rarestA, rarestB);
        }
    }

    private static double ratio(double part, double whole) {
        return whole <= 0 ? 1 : part / whole;
    }

    private static int onlyOne(Set<String> a, Set<String> b) {
        return missing(a, b) + missing(b, a);
    }

    private static int missing(Set<String> of, Set<String> from) {
        int count = 0;
        for (String one : of) {
            count += from.contains(one) ? 0 : 1;
        }
        return count;
    }

    private static boolean has(Set<String> words, Set<String> any) {
        for (String word : words) {
            if (any.contains(word)) {
                return true;
            }
        }
        return false;
    }

    private static int comparisons(Set<String> of, Set<String> from) {
        int count = 0;
        for (String word : of) {
            count += COMPARISON.contains(word) && !from.contains(word) ? 1 : 0;
        }
        return count;
    }

    private static boolean opposed(Set<String> a, Set<String> b) {
        for (String word : a) {
            for (String opposite : OPPOSITES.getOrDefault(word, Set.of())) {
                if (b.contains(opposite) && !(b.contains(word) && a.contains(opposite))) {
                    return true;
                }
            }
        }
        return false;
    }

    private static Map<String, Set<String>> opposites(String pairs) {
        String[] words = pairs.split(" ", -1);
        Map<String, Set<String>> both = new HashMap<>();
        for (int i = 0; i + 1 < words.length; i += 2) {
            both.computeIfAbsent(words[i], word -> new HashSet<>()).add(words[i + 1]);
            both.computeIfAbsent(words[i + 1], word -> new HashSet<>()).add(words[i]);
        }
        return both;
    }

    private static int kind(Question question) {
        for (int i = 0; i < Math.min(3, question.words.length); i++) {
            Integer kind = KINDS.get(question.words[i]);
            if (kind != null) {
                return kind;
            }
        }
        return 7;
    }

    private static boolean same(String[] a, String[] b, int at) {
        return a.length > at && b.length > at && a[at].equals(b[at]);
    }

    /** Dice's coefficient of two sorted multisets. */
    private static double spelling(int[] a, int[] b) {
        int common = 0;
        for (int i = 0, j = 0; i < a.length && j < b.length; ) {
            if (a[i] == b[j]) {
                common++;
                i++;
                j++;
            } else if (a[i] < b[j]) {
                i++;
            } else {
                j++;
            }
        }
        return ratio(2.0 * common, a.length + b.length);
    }

    private static int commonContentSequence(Question a, Question b) {
        return commonSequence(common(a, b), common(b, a));
    }

    private static String[] common(Question of, Question with) {
        return List.of(of.stems).stream()
                .filter(stem -> of.content.contains(stem) && with.content.contains(stem))
                .distinct()
                .toArray(String[]::new);
    }

    /** Length of the longest common subsequence. */
    private static int commonSequence(String[] a, String[] b) {
        int[] row = new int[b.length + 1];
        for (String word : a) {
            int corner = 0;
            for (int j = 0; j < b.length; j++) {
                int above = row[j + 1];
                row[j + 1] = word.equals(b[j]) ? corner + 1 : Math.max(above, row[j]);
                corner = above;
            }
        }
        return row[b.length];
    }
}
