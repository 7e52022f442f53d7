package io.millrace.knowledge;

import java.time.Duration;

/**
 * How much of a score age takes, when it is read: nothing is stored, so nothing has to be rewritten as time goes by.
 *
 * @param first age from which {@code firstLoss} is taken
 * @param firstLoss 0..1
 * @param second age from which {@code secondLoss} is taken instead, at least {@code first}
 * @param secondLoss 0..1
 */
public record Aging(Duration first, double firstLoss, Duration second, double secondLoss) {
    /** 10 % from 90 days on, 25 % from 180. */
    public static final Aging DEFAULT = new Aging(Duration.ofDays(90), 0.10, Duration.ofDays(180), 0.25);

    /**
     * What is left of a score, 0..1.
     *
     * @param since milliseconds; 0 when unknown, which costs nothing
     */
    double factor(long since, long now) {
        if (since <= 0) {
            return 1;
        }
        long age = now - since;
        return age >= second.toMillis() ? 1 - secondLoss : age >= first.toMillis() ? 1 - firstLoss : 1;
    }
}
