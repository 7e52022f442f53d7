package io.millrace.routers.cache;

import io.millrace.log.Log;
import io.millrace.log.LogRecord;
import io.millrace.log.LogTail;
import io.millrace.log.Topic;
import io.millrace.log.Topics;
import io.millrace.schema.Feedback;
import io.millrace.schema.Interaction;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.function.Consumer;
import org.apache.avro.specific.SpecificRecord;

/**
 * The pairs of questions of which people said that they are different. The log has them; Redis holds them for the semantic cache, with
 * a mark that says that all are there. Where the mark is missing, Redis has lost what it knew, and nothing is served by meaning until
 * they are read from the log again.
 */
public final class Bans {
    /** As long as the log keeps the feedback. */
    public static final Duration KEEP = Duration.ofDays(400);

    /** There while all bans are. */
    public static final String MARK = "millrace:different-known";

    private Bans() {}

    /** Where it is kept that the questions of a pair are different. */
    static String key(String pair) {
        return "millrace:different:" + pair;
    }

    /** What somebody said of an answer. */
    enum Verdict {
        REJECTED,
        APPROVED,
        NONE;

        static Verdict of(Feedback feedback) {
            int rating = feedback.getRating() == null ? 0 : feedback.getRating();
            if (feedback.getEnvelope().getSynthetic()
                    || feedback.getInteractionId().isEmpty()) {
                return NONE;
            }
            if (rating < 0
                    || feedback.getOutcome().equals("failure")
                    || !feedback.getCorrection().isBlank()) {
                return REJECTED;
            }
            return rating > 0 ? APPROVED : NONE;
        }
    }

    private record Said(Verdict verdict, long at) {}

    /**
     * Reads them from {@code feedback} and {@code interactions}, from the beginning to the present end: seconds for a million records.
     *
     * @return keys in Redis, and until when each is to be kept, in milliseconds since the epoch
     * @throws IllegalStateException when a topic cannot be read
     */
    public static Map<String, Long> read(Log log) throws InterruptedException {
        Map<String, List<Said>> ofInteraction = new HashMap<>();
        read(log, Topics.FEEDBACK, record -> {
            Feedback feedback = record.value();
            if (feedback != null && Verdict.of(feedback) != Verdict.NONE) {
                ofInteraction
                        .computeIfAbsent(feedback.getInteractionId(), id -> new ArrayList<>())
                        .add(new Said(Verdict.of(feedback), record.timestamp()));
            }
        });
        if (ofInteraction.isEmpty()) {
            return Map.of();
        }
        Map<String, List<Said>> ofPair = new HashMap<>();
        read(log, Topics.INTERACTIONS, record -> {
            Interaction interaction = record.value();
            if (interaction != null && !interaction.getCachedPair().isEmpty()) {
                // a record that is there twice counts once
                List<Said> said = ofInteraction.remove(interaction.getInteractionId());
                if (said != null) {
                    ofPair.computeIfAbsent(interaction.getCachedPair(), pair -> new ArrayList<>())
                            .addAll(said);
                }
            }
        });
        Map<String, Long> bans = new HashMap<>();
        long now = System.currentTimeMillis();
        ofPair.forEach((pair, said) -> {
            // the sort is stable: what was said of one interaction stays in the order of its partition
            said.sort(Comparator.comparingLong(Said::at));
            long until = said.getLast().at + KEEP.toMillis();
            if (said.getLast().verdict == Verdict.REJECTED && until > now) {
                bans.put(key(pair), until);
            }
        });
        return bans;
    }

    private static <V extends SpecificRecord> void read(Log log, Topic<V> topic, Consumer<LogRecord<V>> handler)
            throws InterruptedException {
        try (LogTail<V> tail = new LogTail<>("bans", topic, LogTail.From.BEGINNING, log, handler::accept)) {
            tail.start().caughtUp().get();
        } catch (ExecutionException e) {
            throw new IllegalStateException(topic.name() + " cannot be read: " + e.getCause(), e);
        }
    }
}
