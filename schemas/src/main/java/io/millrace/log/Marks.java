package io.millrace.log;

import java.util.Arrays;

/** Scratch: where the time goes. */
public final class Marks {
    private static final long[] AT = new long[20];
    private static final double[][] ROWS = new double[20000][];
    private static int n;

    private Marks() {}

    public static synchronized void mark(int stage) {
        if (stage == 0) {
            if (AT[17] != 0 && n < ROWS.length) {
                double[] row = new double[20];
                for (int i = 0; i < 20; i++) {
                    row[i] = AT[i] == 0 ? -1 : (AT[i] - AT[0]) / 1e3;
                }
                ROWS[n++] = row;
                if (n == ROWS.length) {
                    print();
                    n = 0;
                }
            }
            Arrays.fill(AT, 0);
        }
        if (AT[stage] == 0) {
            AT[stage] = System.nanoTime();
        }
    }

    private static void print() {
        StringBuilder out = new StringBuilder();
        for (int s = 0; s < 20; s++) {
            int k = s;
            double[] v = Arrays.stream(ROWS)
                    .limit(n)
                    .mapToDouble(r -> r[k])
                    .filter(d -> d >= 0)
                    .sorted()
                    .toArray();
            if (v.length > 0) {
                out.append(String.format(
                        "%d p50 %.0f p10 %.0f p90 %.0f%n", s, v[v.length / 2], v[v.length / 10], v[v.length * 9 / 10]));
            }
        }
        System.err.println(out);
    }
}
