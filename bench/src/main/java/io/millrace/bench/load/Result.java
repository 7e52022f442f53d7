package io.millrace.bench.load;

import java.util.Locale;
import org.HdrHistogram.Histogram;

/**
 * What became of some requests.
 *
 * @param name of the target
 * @param completed answers with status 200
 * @param errors everything else
 * @param seconds measured time
 * @param latencies of the completed ones, microseconds
 */
public record Result(String name, long completed, long errors, double seconds, Histogram latencies) {
    /** Answers a second. */
    public double rate() {
        return completed / seconds;
    }

    /** A percentile, milliseconds. */
    public double ms(double percentile) {
        return latencies.getValueAtPercentile(percentile) / 1e3;
    }

    /** One line of a table. */
    public String line() {
        return String.format(
                Locale.ROOT,
                "%-22s %9.0f /s   p50 %8.2f ms   p90 %8.2f   p99 %8.2f   max %8.2f   errors %d",
                name,
                rate(),
                ms(50),
                ms(90),
                ms(99),
                latencies.getMaxValue() / 1e3,
                errors);
    }
}
