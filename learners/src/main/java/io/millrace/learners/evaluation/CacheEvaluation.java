package io.millrace.learners.evaluation;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.millrace.id.Ids;
import io.millrace.knowledge.Embedder;
import io.millrace.knowledge.meaning.ErrorBound;
import io.millrace.knowledge.meaning.LabelledPair;
import io.millrace.knowledge.meaning.Question;
import io.millrace.knowledge.meaning.QuestionPair;
import io.millrace.knowledge.meaning.SameMeaning;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.MalformedInputException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.function.Predicate;
import java.util.function.ToDoubleFunction;
import java.util.function.ToIntFunction;
import java.util.stream.Collectors;

/**
 * How well the verdict of the semantic cache does on labelled pairs: learned on one half, measured on the other.
 *
 * <p>Pairs that share a question, directly or through other pairs, are in the same half. Which half is a hash of their texts, so the
 * order of the lines is no matter. The threshold of the verdict and that of the cosine to compare with are both chosen on the learning
 * half, by the same rule and for the same bound.
 */
public final class CacheEvaluation {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final int BATCH = 64;

    private CacheEvaluation() {}

    /** A line of the file. */
    public record Pair(String a, String b, boolean same) {}

    /** A file that is not what it should be; the message begins with file:line. */
    public static final class PairsException extends RuntimeException {
        private static final long serialVersionUID = 1L;

        PairsException(Path file, int line, String message) {
            super(file + (line == 0 ? "" : ":" + line) + ": " + message);
        }
    }

    /** How far a step is. */
    @FunctionalInterface
    public interface Progress {
        void show(String what, int done, int all);
    }

    /**
     * Shares, 0..1.
     *
     * @param hitRate of the pairs with the same meaning, those served
     * @param falseHitRate of the pairs with different meanings, those served
     * @param threshold what is above it is served; a probability or a cosine
     */
    public record Point(double hitRate, double falseHitRate, double threshold) {}

    /**
     * What happened to the queries, of those that were asked.
     *
     * @param right served with the answer to a question that is labelled the same, directly or through others
     * @param wrong served with the answer to a question that is labelled different
     * @param unlabelled served with the answer to a question of which no label says whether it is the same
     */
    public record Answered(int right, int wrong, int unlabelled) {
        public int served() {
            return right + wrong + unlabelled;
        }
    }

    /**
     * A full cache that was asked.
     *
     * @param cached questions in it
     * @param asked queries
     * @param partnered queries with a question of the same meaning in the cache, as the labels say
     */
    public record FullCache(int cached, int asked, int partnered, Answered verdict, Answered cosine) {}

    /**
     * What was measured.
     *
     * @param verdict at the operating point
     * @param cosine a fixed cosine, chosen in the same way
     * @param verdictAtBound the share of same pairs served when just {@code maxError} of the different ones of the measured half are
     * @param cosineAtBound the same of a fixed cosine
     * @param calibrationError mean distance of probability and outcome in ten equally large bins
     * @param microseconds of one verdict
     * @param full a cache that was filled with the measured half's questions; empty when none was asked for
     */
    public record Report(
            int trained,
            int measured,
            Point verdict,
            Point cosine,
            double verdictAtBound,
            double cosineAtBound,
            double calibrationError,
            double microseconds,
            Optional<FullCache> full) {}

    /**
     * Reads lines of {@code {"a","b","same"}}.
     *
     * @throws PairsException when the file is missing, holds nothing, or a line is wrong
     */
    public static List<Pair> read(Path file) {
        List<Pair> pairs = new ArrayList<>();
        int number = 0;
        try (BufferedReader lines = Files.newBufferedReader(file)) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                number++;
                if (!line.isBlank()) {
                    pairs.add(pair(file, number, line));
                }
            }
        } catch (NoSuchFileException e) {
            throw new PairsException(file, 0, "is not there");
        } catch (MalformedInputException e) {
            throw new PairsException(file, number + 1, "is not UTF-8 from about here on");
        } catch (IOException e) {
            throw new PairsException(file, number, "cannot be read: " + e.getMessage());
        }
        if (pairs.isEmpty()) {
            throw new PairsException(file, 0, "holds no pair");
        }
        return pairs;
    }

    private static Pair pair(Path file, int number, String line) {
        JsonNode node;
        try {
            node = JSON.readTree(line);
        } catch (JsonProcessingException e) {
            throw new PairsException(file, number, "is not JSON: " + e.getOriginalMessage());
        }
        if (!node.isObject()) {
            throw new PairsException(file, number, "is not a JSON object");
        }
        for (String name : List.of("a", "b")) {
            if (!node.path(name).isTextual() || node.path(name).textValue().isBlank()) {
                throw new PairsException(file, number, name + " is missing, empty or not a string");
            }
        }
        if (!node.path("same").isBoolean()) {
            throw new PairsException(file, number, "same is missing or neither true nor false");
        }
        return new Pair(
                node.path("a").textValue(),
                node.path("b").textValue(),
                node.path("same").booleanValue());
    }

    /**
     * Embeds the questions of pairs and groups those that share one.
     *
     * @param second the model whose opinion is asked too
     */
    public static List<LabelledPair> label(List<Pair> pairs, Embedder embedder, Embedder second, Progress progress) {
        Map<String, Question> questions = new LinkedHashMap<>();
        Map<String, String> parents = new HashMap<>();
        Set<String> distinct = new LinkedHashSet<>();
        for (Pair pair : pairs) {
            for (String text : List.of(pair.a(), pair.b())) {
                distinct.add(text);
                parents.putIfAbsent(text, text);
                // case and white space make no other question
                parents.putIfAbsent(Question.form(text), Question.form(text));
                join(parents, text, Question.form(text));
            }
            join(parents, pair.a(), pair.b());
        }
        embed(distinct, embedder, "embedded", progress)
                .forEach((text, vector) -> questions.put(text, Question.of(text, vector)));
        Map<String, float[]> others = embed(distinct, second, "embedded again", progress);
        return pairs.stream()
                .map(pair -> new LabelledPair(
                        QuestionPair.of(
                                question(questions, pair.a()),
                                question(questions, pair.b()),
                                texts -> texts.stream()
                                        .map(text -> Objects.requireNonNull(others.get(text)))
                                        .toList()),
                        pair.same(),
                        (int) Long.parseLong(
                                Ids.checksum(root(parents, pair.a())).substring(0, 8), 16)))
                .toList();
    }

    private static Question question(Map<String, Question> questions, String text) {
        return Objects.requireNonNull(questions.get(text));
    }

    private static Map<String, float[]> embed(Set<String> distinct, Embedder embedder, String what, Progress progress) {
        Map<String, float[]> vectors = HashMap.newHashMap(distinct.size());
        List<String> texts = List.copyOf(distinct);
        for (int at = 0; at < texts.size(); at += BATCH) {
            List<String> batch = texts.subList(at, Math.min(texts.size(), at + BATCH));
            List<float[]> made = embedder.embed(batch);
            for (int i = 0; i < batch.size(); i++) {
                vectors.put(batch.get(i), made.get(i));
            }
            progress.show(what, at + batch.size(), texts.size());
        }
        return vectors;
    }

    private static String root(Map<String, String> parents, String of) {
        String at = of;
        for (String up = parents.getOrDefault(at, at); !up.equals(at); up = parents.getOrDefault(at, at)) {
            at = up;
        }
        return at;
    }

    /** The smaller text stands for both, so that the order of lines does not matter. */
    private static void join(Map<String, String> parents, String a, String b) {
        String rootA = root(parents, a);
        String rootB = root(parents, b);
        if (rootA.compareTo(rootB) < 0) {
            parents.put(rootB, rootA);
        } else {
            parents.put(rootA, rootB);
        }
    }

    /**
     * One of many ways to halve the pairs.
     *
     * @param number from 0 on
     * @param side 0 or 1: which half is learned from
     */
    public record Split(int number, int side) {
        private boolean isLearned(LabelledPair pair) {
            int half = number == 0
                    ? pair.group() & 1
                    : new SplittableRandom(((long) number << 32) ^ pair.group()).nextInt(2);
            return half == side;
        }
    }

    /**
     * Learns on one half and measures on the other.
     *
     * @param maxError bound of the share of different pairs that are served, above 0, at most 0.2
     * @param capacity questions of a cache that is filled and asked too; 0 for none
     * @throws IllegalArgumentException when a half has not enough pairs of both kinds
     */
    public static Report run(
            List<LabelledPair> pairs,
            Embedder embedder,
            Embedder second,
            double maxError,
            int capacity,
            Split split,
            Progress progress) {
        List<LabelledPair> train = pairs.stream().filter(split::isLearned).toList();
        List<LabelledPair> test =
                pairs.stream().filter(pair -> !split.isLearned(pair)).toList();
        if (test.stream().allMatch(LabelledPair::same)
                || test.stream().noneMatch(LabelledPair::same)
                || train.stream().allMatch(LabelledPair::same)) {
            throw new IllegalArgumentException("both halves need pairs of both kinds");
        }
        SameMeaning verifier = SameMeaning.train(
                train,
                embedder.fingerprint(),
                second.fingerprint(),
                done -> progress.show("trained", done, SameMeaning.FITS));
        ToDoubleFunction<LabelledPair> cosine =
                pair -> pair.questions().a().cosine(pair.questions().b());
        double[] different = scores(train, false, cosine);
        double fixed = ErrorBound.threshold(different, different.length, maxError);
        long began = System.nanoTime();
        ToDoubleFunction<LabelledPair> verdict = pair -> verifier.probability(pair.questions());
        int verdicts = test.stream().mapToDouble(verdict).toArray().length;
        double microseconds = (System.nanoTime() - began) / 1e3 / verdicts;
        return new Report(
                train.size(),
                test.size(),
                point(test, verdict, verifier.threshold(maxError)),
                point(test, cosine, fixed),
                atBound(test, verdict, maxError),
                atBound(test, cosine, maxError),
                calibrationError(test, verdict),
                microseconds,
                capacity == 0
                        ? Optional.empty()
                        : Optional.of(
                                full(test, capacity, verifier, verifier.threshold(maxError), fixed, second, progress)));
    }

    /**
     * One question of each of the groups of the same meaning is cached, as many as there is room for; the others are asked, and
     * those that are the same as no other. As in the product, only the nearest question that does not contradict by rule is judged.
     */
    private static FullCache full(
            List<LabelledPair> test,
            int capacity,
            SameMeaning verifier,
            double threshold,
            double fixed,
            Embedder second,
            Progress progress) {
        Map<String, Question> questions = new HashMap<>();
        Map<String, String> same = new HashMap<>();
        Set<String> twins = new HashSet<>();
        for (LabelledPair pair : test) {
            for (Question question :
                    List.of(pair.questions().a(), pair.questions().b())) {
                questions.putIfAbsent(Question.form(question.text()), question);
            }
            if (pair.same()) {
                twins.add(Question.form(pair.questions().a().text()));
                twins.add(Question.form(pair.questions().b().text()));
                join(
                        same,
                        Question.form(pair.questions().a().text()),
                        Question.form(pair.questions().b().text()));
            }
        }
        Set<String> different = test.stream()
                .filter(pair -> !pair.same())
                .map(pair -> meanings(
                        root(same, Question.form(pair.questions().a().text())),
                        root(same, Question.form(pair.questions().b().text()))))
                .collect(Collectors.toSet());
        // by hash: the order of the lines is no matter
        List<String> shuffled = questions.keySet().stream()
                .sorted(Comparator.comparing(Ids::checksum).thenComparing(Comparator.naturalOrder()))
                .toList();
        Map<String, Question> cached = new LinkedHashMap<>();
        for (String form : shuffled) {
            if (twins.contains(form) && cached.size() < capacity) {
                cached.putIfAbsent(root(same, form), Objects.requireNonNull(questions.get(form)));
            }
        }
        int[] verdicts = new int[3];
        int[] cosines = new int[3];
        int asked = 0;
        int partnered = 0;
        for (String form : shuffled) {
            Question question = Objects.requireNonNull(questions.get(form));
            String meaning = root(same, form);
            if (cached.get(meaning) == question) {
                continue;
            }
            asked++;
            partnered += cached.containsKey(meaning) ? 1 : 0;
            ToIntFunction<String> kind =
                    other -> other.equals(meaning) ? 0 : different.contains(meanings(meaning, other)) ? 1 : 2;
            nearest(cached, question, other -> true)
                    .filter(other -> question.cosine(other.getValue()) > fixed)
                    .ifPresent(other -> cosines[kind.applyAsInt(other.getKey())]++);
            nearest(cached, question, other -> !SameMeaning.differ(question, other))
                    .filter(other -> verifier.probability(QuestionPair.of(question, other.getValue(), second::embed))
                            > threshold)
                    .ifPresent(other -> verdicts[kind.applyAsInt(other.getKey())]++);
            progress.show("asked", asked, questions.size() - cached.size());
        }
        return new FullCache(
                cached.size(),
                asked,
                partnered,
                new Answered(verdicts[0], verdicts[1], verdicts[2]),
                new Answered(cosines[0], cosines[1], cosines[2]));
    }

    private static Optional<Map.Entry<String, Question>> nearest(
            Map<String, Question> cached, Question question, Predicate<Question> candidate) {
        return cached.entrySet().stream()
                .filter(other -> candidate.test(other.getValue()))
                .max(Comparator.comparingDouble(other -> question.cosine(other.getValue())));
    }

    /** Names two meanings, whichever was first. */
    private static String meanings(String a, String b) {
        return a.compareTo(b) < 0 ? a + "\n" + b : b + "\n" + a;
    }

    private static Point point(List<LabelledPair> test, ToDoubleFunction<LabelledPair> score, double threshold) {
        return new Point(
                share(scores(test, true, score), threshold), share(scores(test, false, score), threshold), threshold);
    }

    private static double atBound(List<LabelledPair> test, ToDoubleFunction<LabelledPair> score, double maxError) {
        double[] different = scores(test, false, score);
        return share(scores(test, true, score), different[(int) (maxError * different.length)]);
    }

    private static double share(double[] scores, double above) {
        int count = 0;
        for (double score : scores) {
            count += score > above ? 1 : 0;
        }
        return (double) count / scores.length;
    }

    /** Highest first. */
    private static double[] scores(List<LabelledPair> pairs, boolean same, ToDoubleFunction<LabelledPair> score) {
        double[] sorted = pairs.stream()
                .filter(pair -> pair.same() == same)
                .mapToDouble(score)
                .map(value -> -value)
                .sorted()
                .toArray();
        for (int i = 0; i < sorted.length; i++) {
            sorted[i] = -sorted[i];
        }
        return sorted;
    }

    private static double calibrationError(List<LabelledPair> test, ToDoubleFunction<LabelledPair> verdict) {
        record Seen(double probability, boolean same) {}
        List<Seen> seen = test.stream()
                .map(pair -> new Seen(verdict.applyAsDouble(pair), pair.same()))
                .sorted(Comparator.comparingDouble(Seen::probability))
                .toList();
        double error = 0;
        for (int bin = 0; bin < 10; bin++) {
            List<Seen> part = seen.subList(seen.size() * bin / 10, seen.size() * (bin + 1) / 10);
            double expected = part.stream().mapToDouble(Seen::probability).sum();
            long happened = part.stream().filter(Seen::same).count();
            error += Math.abs(expected - happened) / seen.size();
        }
        return error;
    }
}
