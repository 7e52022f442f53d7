package io.millrace.knowledge.meaning;

import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.IntConsumer;
import java.util.stream.IntStream;
import java.util.zip.GZIPInputStream;
import java.util.zip.GZIPOutputStream;

/**
 * The verdict whether two questions mean the same, learned from labelled pairs.
 *
 * <p>A fixed cosine cannot tell "petrol in a diesel engine" from "diesel in a petrol engine", nor 28 June from 29 June. Such
 * contradictions are told by rule; the rest is a logistic regression over {@link PairFeatures}: the features proper are standardized and
 * weakly penalized; the vectors of two embedding models, of which there are far more dimensions, strongly.
 *
 * <p>Ten models are each fitted on nine tenths of the pairs (no question in two folds), and their mean is what judges. Its calibration (Platt 1999) and the
 * scores from which a threshold is chosen come from the model that had not seen the pair: a model fitted on all pairs gives the different ones that
 * it has not seen higher scores than these, and served a tenth more of them than was promised; the mean does not. With five folds it served a tenth
 * less than it may, since each of them knew too little more than the others. Immutable; a verdict takes some ten microseconds, and the second vectors of two texts.
 */
public final class SameMeaning {
    private static final int MAGIC = 0x4d534d33;
    private static final int FOLDS = 10;
    private static final double PENALTY = 30;

    /** Of the blocks of vectors, in their order: sums and distances of the first model's vectors, then of the second's. */
    private static final double[] BLOCK_PENALTIES = {20, 5, 20, 5};

    /** Share of the negatives whose scores are kept: no bound above it can be asked for. */
    private static final double KEPT = 0.25;

    private final String embedder;
    private final String second;
    private final WordWeights words;
    /** Of raw features: the scales are folded in. */
    private final double[] weights;

    private final double slope;
    private final double offset;
    /** Highest first. */
    private final double[] negatives;

    private final int negativeCount;

    private SameMeaning(
            String embedder,
            String second,
            WordWeights words,
            double[] weights,
            double slope,
            double offset,
            double[] negatives,
            int negativeCount) {
        this.embedder = embedder;
        this.second = second;
        this.words = words;
        this.weights = weights;
        this.slope = slope;
        this.offset = offset;
        this.negatives = negatives;
        this.negativeCount = negativeCount;
    }

    /** Fingerprint of the embedder whose vectors this was trained with. */
    public String embedder() {
        return embedder;
    }

    /** Fingerprint of the embedder whose vectors are the second opinion. */
    public String second() {
        return second;
    }

    /** Whether two questions are different whatever else is seen of them: far apart, or contradicting each other. Cheap. */
    public static boolean differ(Question a, Question b) {
        return PairFeatures.conflict(a, b);
    }

    /** Probability that two questions mean the same, where pairs are as they were in training; 0 when they {@link #differ}. */
    public double probability(QuestionPair pair) {
        return probability(pair, Logistic.score(weights, PairFeatures.of(pair, words)), slope, offset);
    }

    private static double probability(QuestionPair pair, double score, double slope, double offset) {
        return differ(pair.a(), pair.b()) ? 0 : Logistic.sigmoid(slope * score + offset);
    }

    /**
     * The probability above which to serve, by {@link ErrorBound}.
     *
     * @param maxError share of the pairs with different meanings that may be served, above 0, at most 0.2
     * @return above 1 when the training pairs are too few to promise that
     */
    public double threshold(double maxError) {
        return ErrorBound.threshold(negatives, negativeCount, maxError);
    }

    /**
     * Learns.
     *
     * @param embedder fingerprint of the embedder that made the vectors of the questions
     * @param second fingerprint of the embedder that made the second vectors
     * @param progress is told each fitted model, of {@link #FITS}, maybe from other threads
     * @throws IllegalArgumentException when not both kinds of pairs are there in several groups
     */
    public static SameMeaning train(List<LabelledPair> pairs, String embedder, String second, IntConsumer progress) {
        double[] scores = new double[pairs.size()];
        AtomicInteger done = new AtomicInteger();
        List<double[]> models = IntStream.range(0, FOLDS)
                .parallel()
                .mapToObj(fold -> {
                    double[] model = fit(pairs, fold, scores);
                    progress.accept(done.incrementAndGet());
                    return model;
                })
                .toList();
        double[] mean = new double[models.getFirst().length];
        for (double[] model : models) {
            for (int j = 0; j < mean.length; j++) {
                mean[j] += model[j] / FOLDS;
            }
        }
        double[] platt = calibrate(scores, pairs);
        List<Double> different = new ArrayList<>();
        for (int i = 0; i < scores.length; i++) {
            if (!pairs.get(i).same()) {
                different.add(probability(pairs.get(i).questions(), scores[i], platt[0], platt[1]));
            }
        }
        different.sort(Comparator.reverseOrder());
        double[] negatives = different.stream()
                .limit((long) Math.ceil(KEPT * different.size()))
                .mapToDouble(Double::doubleValue)
                .toArray();
        return new SameMeaning(embedder, second, words(pairs), mean, platt[0], platt[1], negatives, different.size());
    }

    /** Models fitted in one training. */
    public static final int FITS = FOLDS;

    private static int fold(LabelledPair pair) {
        return Math.floorMod((pair.group() * 0x9e3779b9) >>> 7, FOLDS);
    }

    private static WordWeights words(List<LabelledPair> pairs) {
        Set<Question> all = new LinkedHashSet<>();
        for (LabelledPair pair : pairs) {
            all.add(pair.questions().a());
            all.add(pair.questions().b());
        }
        return WordWeights.count(all);
    }

    /** A model that has not seen one fold, nor how rare its words are; scores that fold. */
    private static double[] fit(List<LabelledPair> pairs, int held, double[] scores) {
        WordWeights words =
                words(pairs.stream().filter(pair -> fold(pair) != held).toList());
        List<double[]> seen = new ArrayList<>(pairs.size());
        boolean[] same = new boolean[pairs.size()];
        int positives = 0;
        for (LabelledPair pair : pairs) {
            if (fold(pair) != held) {
                same[seen.size()] = pair.same();
                positives += pair.same() ? 1 : 0;
                seen.add(PairFeatures.of(pair.questions(), words));
            }
        }
        if (positives == 0 || positives == seen.size()) {
            throw new IllegalArgumentException("pairs of both kinds are needed, in several groups");
        }
        double[] model = fit(seen, Arrays.copyOf(same, seen.size()));
        for (int i = 0; i < scores.length; i++) {
            if (fold(pairs.get(i)) == held) {
                scores[i] = Logistic.score(model, PairFeatures.of(pairs.get(i).questions(), words));
            }
        }
        return model;
    }

    /** @param seen is standardized in place */
    private static double[] fit(List<double[]> seen, boolean[] same) {
        int size = seen.getFirst().length;
        double[] mean = new double[size];
        double[] scale = new double[size];
        for (double[] x : seen) {
            for (int j = 0; j < size; j++) {
                mean[j] += x[j] / seen.size();
            }
        }
        for (double[] x : seen) {
            for (int j = 0; j < size; j++) {
                scale[j] += (x[j] - mean[j]) * (x[j] - mean[j]) / seen.size();
            }
        }
        int dimension = (size - PairFeatures.SCALARS) / BLOCK_PENALTIES.length;
        double[] penalty = Logistic.filled(size, PENALTY);
        for (int j = 0; j < size; j++) {
            boolean vector = j >= PairFeatures.SCALARS;
            // dimensions keep their proportions: what hardly varies is hardly told apart
            scale[j] = vector ? 1 : Math.max(1e-6, Math.sqrt(scale[j]));
            if (vector) {
                penalty[j] = BLOCK_PENALTIES[(j - PairFeatures.SCALARS) / dimension];
            }
        }
        for (double[] x : seen) {
            for (int j = 0; j < size; j++) {
                x[j] = (x[j] - mean[j]) / scale[j];
            }
        }
        double[] fitted = Logistic.fit(seen, same, penalty);
        for (int j = 0; j < size; j++) {
            fitted[j] /= scale[j];
            fitted[size] -= fitted[j] * mean[j];
        }
        return fitted;
    }

    private static double[] calibrate(double[] scores, List<LabelledPair> pairs) {
        List<double[]> x =
                Arrays.stream(scores).mapToObj(score -> new double[] {score}).toList();
        boolean[] same = new boolean[scores.length];
        for (int i = 0; i < same.length; i++) {
            same[i] = pairs.get(i).same();
        }
        double[] fitted = Logistic.fit(x, same, new double[] {1e-3});
        if (fitted[0] <= 0) {
            throw new IllegalArgumentException("nothing could be learned from these pairs");
        }
        return fitted;
    }

    /** The verifier that comes with the product. */
    public static SameMeaning shipped() {
        try (InputStream in = Objects.requireNonNull(
                SameMeaning.class.getResourceAsStream("same-meaning.bin"), "same-meaning.bin is missing")) {
            return read(in);
        } catch (IOException e) {
            throw new UncheckedIOException("same-meaning.bin cannot be read", e);
        }
    }

    /** As a file. Weights are kept as floats. */
    public byte[] toBytes() {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try (DataOutputStream out = new DataOutputStream(new GZIPOutputStream(bytes))) {
            out.writeInt(MAGIC);
            out.writeUTF(embedder);
            out.writeUTF(second);
            out.writeInt(weights.length);
            for (double weight : weights) {
                out.writeFloat((float) weight);
            }
            out.writeDouble(slope);
            out.writeDouble(offset);
            out.writeInt(negativeCount);
            out.writeInt(negatives.length);
            for (double negative : negatives) {
                out.writeFloat((float) negative);
            }
            words.write(out);
        } catch (IOException e) {
            throw new UncheckedIOException("an array cannot fail to be written", e);
        }
        return bytes.toByteArray();
    }

    /**
     * From a file.
     *
     * @throws IOException when it is not such a file
     */
    public static SameMeaning read(InputStream from) throws IOException {
        try (DataInputStream in = new DataInputStream(new GZIPInputStream(from))) {
            if (in.readInt() != MAGIC) {
                throw new IOException("is not a verifier of this version");
            }
            String embedder = in.readUTF();
            String second = in.readUTF();
            double[] weights = new double[in.readInt()];
            for (int j = 0; j < weights.length; j++) {
                weights[j] = in.readFloat();
            }
            double slope = in.readDouble();
            double offset = in.readDouble();
            int count = in.readInt();
            double[] negatives = new double[in.readInt()];
            for (int i = 0; i < negatives.length; i++) {
                negatives[i] = in.readFloat();
            }
            return new SameMeaning(embedder, second, WordWeights.read(in), weights, slope, offset, negatives, count);
        }
    }
}
