package io.millrace.knowledge;

import io.millrace.schema.Passage;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.Map;

/**
 * What is known of a passage beside its text, and reorders hits.
 *
 * @param since when its content was last known to be right, milliseconds; 0 when unknown
 * @param lastUsed when it last served, milliseconds; 0 when unknown
 * @param successRate 0..1; 0 when unknown
 * @param verified somebody checked it
 * @param feedbackLinked good feedback was given to an answer that it served
 */
public record Facts(long since, long lastUsed, double successRate, boolean verified, boolean feedbackLinked) {
    /** Nothing is known. */
    public static final Facts NONE = new Facts(0, 0, 0, false, false);

    /** What a passage says of itself: the payload fields of the seeds, in its metadata. */
    static Facts of(Passage passage) {
        Map<String, String> metadata = passage.getMetadata();
        long since = time(metadata, "ingested_at", "last_validated", "last_updated");
        return new Facts(
                since == 0 ? passage.getModifiedAt() : since,
                time(metadata, "last_accessed_at", "last_accessed", "last_used"),
                Filter.successRate(passage),
                isTrue(metadata, "verified") || isTrue(metadata, "solution_verified"),
                isTrue(metadata, "feedback_linked"));
    }

    private static boolean isTrue(Map<String, String> metadata, String name) {
        return "true".equalsIgnoreCase(metadata.get(name));
    }

    /** The first that can be read, milliseconds. */
    private static long time(Map<String, String> metadata, String... names) {
        for (String name : names) {
            String text = metadata.get(name);
            if (text != null) {
                try {
                    return text.length() == 10
                            ? LocalDate.parse(text)
                                    .atStartOfDay()
                                    .toInstant(ZoneOffset.UTC)
                                    .toEpochMilli()
                            : Instant.parse(text).toEpochMilli();
                } catch (DateTimeException e) {
                    // somebody's own format: as good as no date
                }
            }
        }
        return 0;
    }
}
