package io.millrace.knowledge.meaning;

import java.util.Arrays;
import java.util.List;

/**
 * Logistic regression with a quadratic penalty of its own for each weight, fitted by Newton's method with conjugate gradients (Lin, Weng
 * and Keerthi 2008): exact to what matters in a second for some thousand examples of some hundred features, and the same bytes for the
 * same input.
 */
final class Logistic {
    private static final int STEPS = 30;
    private static final int INNER_STEPS = 60;

    private Logistic() {}

    /**
     * Fits.
     *
     * @param x examples
     * @param y whether an example is positive
     * @param penalty of each weight; the last weight, of the constant, has none
     * @return weights, the constant last
     */
    static double[] fit(List<double[]> x, boolean[] y, double[] penalty) {
        int n = penalty.length + 1;
        double[] w = new double[n];
        double[] scores = new double[x.size()];
        double[] curvature = new double[x.size()];
        double loss = loss(x, y, penalty, w, scores);
        for (int step = 0; step < STEPS; step++) {
            double[] gradient = new double[n];
            for (int j = 0; j < penalty.length; j++) {
                gradient[j] = penalty[j] * w[j];
            }
            for (int i = 0; i < x.size(); i++) {
                double p = sigmoid(scores[i]);
                curvature[i] = p * (1 - p);
                add(x.get(i), p - (y[i] ? 1 : 0), gradient);
            }
            double[] direction = solve(x, curvature, penalty, gradient);
            double slope = dot(gradient, direction);
            double size = 1;
            double[] next = w;
            double reached = loss;
            for (int cut = 0; cut < 20; cut++, size /= 2) {
                next = w.clone();
                for (int j = 0; j < n; j++) {
                    next[j] -= size * direction[j];
                }
                reached = loss(x, y, penalty, next, scores);
                if (reached <= loss - 1e-4 * size * slope) {
                    break;
                }
            }
            if (!(reached < loss)) {
                break;
            }
            w = next;
            boolean done = loss - reached < 1e-7 * loss;
            loss = reached;
            if (done) {
                break;
            }
        }
        return w;
    }

    static double score(double[] w, double[] x) {
        double sum = w[w.length - 1];
        for (int j = 0; j < x.length; j++) {
            sum += w[j] * x[j];
        }
        return sum;
    }

    static double sigmoid(double score) {
        return 1 / (1 + Math.exp(-score));
    }

    private static double loss(List<double[]> x, boolean[] y, double[] penalty, double[] w, double[] scores) {
        double sum = 0;
        for (int j = 0; j < penalty.length; j++) {
            sum += penalty[j] * w[j] * w[j] / 2;
        }
        for (int i = 0; i < x.size(); i++) {
            scores[i] = score(w, x.get(i));
            double margin = y[i] ? scores[i] : -scores[i];
            sum += margin > 0 ? Math.log1p(Math.exp(-margin)) : Math.log1p(Math.exp(margin)) - margin;
        }
        return sum;
    }

    /** Conjugate gradients on the Hessian, which is never written down. */
    private static double[] solve(List<double[]> x, double[] curvature, double[] penalty, double[] gradient) {
        double[] solution = new double[gradient.length];
        double[] residual = gradient.clone();
        double[] direction = residual.clone();
        double size = dot(residual, residual);
        double enough = size * 1e-6;
        for (int step = 0; step < INNER_STEPS && size > enough; step++) {
            double[] image = new double[gradient.length];
            for (int j = 0; j < penalty.length; j++) {
                image[j] = penalty[j] * direction[j];
            }
            for (int i = 0; i < curvature.length; i++) {
                add(x.get(i), curvature[i] * score(direction, x.get(i)), image);
            }
            double along = dot(direction, image);
            if (along <= 0) {
                break;
            }
            double length = size / along;
            for (int j = 0; j < solution.length; j++) {
                solution[j] += length * direction[j];
                residual[j] -= length * image[j];
            }
            double next = dot(residual, residual);
            for (int j = 0; j < direction.length; j++) {
                direction[j] = residual[j] + next / size * direction[j];
            }
            size = next;
        }
        return solution;
    }

    private static void add(double[] x, double factor, double[] to) {
        for (int j = 0; j < x.length; j++) {
            to[j] += factor * x[j];
        }
        to[to.length - 1] += factor;
    }

    private static double dot(double[] a, double[] b) {
        double sum = 0;
        for (int j = 0; j < a.length; j++) {
            sum += a[j] * b[j];
        }
        return sum;
    }

    static double[] filled(int size, double value) {
        double[] filled = new double[size];
        Arrays.fill(filled, value);
        return filled;
    }
}
